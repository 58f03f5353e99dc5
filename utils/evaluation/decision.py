"""How a finished run decides, as its own files say it: read, changed, and recorded again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedModel

from utils.console import InputError
from utils.evaluation.calibration import fittable
from utils.evaluation.predict import calibration_for
from utils.model.folding import Calibration, read_calibration
from utils.model.head import has_bias
from utils.run_folder import (
    METRIC_PREFIX,
    PREDICTIONS,
    RESULTS_FILE,
    RUN_FILE,
    THRESHOLDS_FILE,
    UNCALIBRATED,
    Predictions,
    RunFolder,
    write_json,
)


class Decision(NamedTuple):
    """What decides, after training, which labels a comment gets; each called like the argument that asks for it."""

    threshold_strategy: str
    threshold_metric: str
    set_threshold: Mapping[str, float]  # by hand: label → threshold
    calibration: str
    fold_thresholds: bool

    @classmethod
    def of(cls, run: RunFolder) -> "Decision":
        """How `run` decides now."""
        stored, record = run.read(THRESHOLDS_FILE), run.read(RUN_FILE)
        calibration = current_arguments(record).get("calibration", "none")
        by_hand = stored.get("set_by_hand", {})
        return cls(stored["strategy"], stored["metric"], by_hand, calibration, stored["folded"])


def record_changes(run: RunFolder, decision: Decision, folder: Path) -> None:
    """Have run.json say under `changed` what of `decision` is not what the run was trained with.

    Args:
        run: a finished run, which is being changed.
        folder: where its new run.json is written, or stands already.
    """
    record = (RunFolder(folder) if (folder / RUN_FILE).is_file() else run).read(RUN_FILE)
    trained = {"set_threshold": {}, "calibration": "none", "fold_thresholds": False} | record["arguments"]
    changed = {name: value for name, value in decision._asdict().items() if value != trained.get(name)}
    record.pop("changed", None)
    write_json(folder / RUN_FILE, record | ({"changed": changed} if changed else {}))


def current_arguments(record: Mapping[str, Any]) -> dict[str, Any]:
    """A run's arguments by name, those that were changed after training as they are now.

    Args:
        record: run.json.
    """
    return record["arguments"] | record.get("changed", {})


def how_it_decides(stored: Mapping[str, Any]) -> str:
    """Where a run's thresholds come from, and where they are now, as its pictures and its card say it.

    Args:
        stored: thresholds.json.
    """
    by_hand = len(stored.get("set_by_hand", {}))
    folding = "; published at 0.5 by folding" if is_moved_by_folding(stored) else ""
    thresholds = list(stored["thresholds"].values())
    if not any(stored.get("positives", {"": 1}).values()):
        said = "threshold 0.5, for validation has no label to fit on"
    elif stored["strategy"] == "fixed":
        said = "threshold 0.5"
    elif len(thresholds) == 1:
        return f"threshold {thresholds[0]:.2f}, {'set by hand' if by_hand else 'fitted on validation'}{folding}"
    elif stored["strategy"] == "global" and not by_hand:
        said = f"one threshold for all labels, {thresholds[0]:.2f}, fitted on validation"
    else:
        said = "thresholds fitted on validation"
    said += f", {by_hand:,} of {len(thresholds):,} set by hand" if by_hand else ""
    return said + folding


def is_moved_by_folding(stored: Mapping[str, Any]) -> bool:
    """Whether the published model's scores are others than the probabilities that the run has stored.

    Args:
        stored: thresholds.json.
    """
    return bool(stored["folded"]) and set(stored["thresholds"].values()) != {0.5}


def training_results(run: RunFolder) -> dict[str, float]:
    """What all_results.json says of the training itself: its loss, its time."""
    prefixes = tuple(f"{prefix}_" for prefix in METRIC_PREFIX.values())
    return {name: value for name, value in run.read(RESULTS_FILE).items() if not name.startswith(prefixes)}


def stored_predictions(run: RunFolder) -> tuple[list[str], dict[str, Predictions], Calibration]:
    """Label names, the predictions of the model before any calibration, and the calibration that it has.

    Raises:
        InputError: a file is missing.
    """
    names, _ = run.read_predictions("validation")
    calibration = read_calibration(run, names)
    folder = PREDICTIONS if calibration.method == "none" else UNCALIBRATED
    splits = [split for split in METRIC_PREFIX if run.has_predictions(split)]
    return names, {split: run.read_predictions(split, folder)[1] for split in splits}, calibration


def other_calibration(
    run: RunFolder, model: PreTrainedModel | None, wanted: str, has: Calibration, uncalibrated: Predictions
) -> Calibration:
    """The calibration called `wanted`: that which the run has, or else one fitted on validation, if there is one.

    Args:
        model: the run's; None for a baseline.
        has: that of the run.
        uncalibrated: predictions of the validation split.

    Raises:
        InputError: the run has one that was not recorded, and so cannot be replaced.
    """
    named = Decision.of(run).calibration
    if wanted == named or model is None:
        return has
    if named != has.method and has_bias(model) and fittable(uncalibrated.gold).any():
        raise InputError(
            f"{run} was calibrated ({named}) without a record of how, by an older version of these scripts; thresholds "
            "and folding can be changed, the calibration cannot."
        )
    return calibration_for(model, uncalibrated, wanted)


def put_by_hand(names: Sequence[str], thresholds: np.ndarray, by_hand: Mapping[str, float]) -> np.ndarray:
    """`thresholds`, those in `by_hand` replaced."""
    return np.array([by_hand.get(name, value) for name, value in zip(names, thresholds.tolist(), strict=True)])
