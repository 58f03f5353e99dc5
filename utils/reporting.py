"""Who else is told of a training: TensorBoard, trackio, Weights & Biases, and what else the Trainer reports to."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

_PACKAGES = {"azure_ml": "azureml-mlflow", "comet_ml": "comet-ml", "flyte": "flytekit"}  # that are not called as it is


def reporting_problems(reporters: Sequence[str]) -> list[str]:
    """A sentence for each of `--report_to` that cannot be reported to: unknown, not installed, or without a login."""
    from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

    available = get_available_reporting_integrations()
    problems = []
    for name in reporters:
        if name not in INTEGRATION_TO_CALLBACK:
            near = difflib.get_close_matches(name, INTEGRATION_TO_CALLBACK, n=1)
            meant = (
                f"; did you mean {near[0]}?"
                if near
                else f"; accepted: none, all, {', '.join(INTEGRATION_TO_CALLBACK)}."
            )
            problems.append(f"--report_to {name} is not known{meant}")
        elif name not in available:
            package = _PACKAGES.get(name, name)
            problems.append(f"--report_to {name} needs a package that is missing; `pip install {package}` brings it.")
        elif name == "wandb" and not _wandb_can_log():
            problems.append(
                "--report_to wandb has no login; run `wandb login`, set WANDB_API_KEY, or WANDB_MODE=offline to log "
                "without one."
            )
    return problems


def _wandb_can_log() -> bool:
    import wandb

    try:
        if wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
            return True
        return bool(wandb.login(prompt=False, verify=False))
    except TypeError:  # versions in which login always asks
        return bool(wandb.api.api_key)
    except wandb.errors.Error:  # a key of a form that no key has
        return False


def keep_logs_in(folder: Path) -> None:
    """Have TensorBoard, trackio and Weights & Biases write below `folder`; to be called before they are imported."""
    places = {"TENSORBOARD_LOGGING_DIR": "tensorboard", "TRACKIO_DIR": "trackio", "WANDB_DIR": ""}
    os.environ.update({variable: str(folder.resolve() / place) for variable, place in places.items()})
