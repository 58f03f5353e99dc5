"""What decides, put into the model itself: calibration and thresholds, as changes of its output layer.

Folding makes 0.5 right in clients that know nothing of thresholds. `pipeline("text-classification")`, the Hub's widget,
a JavaScript client and an inference server all decide at 0.5, or leave the decision to people who will. A probability
p = sigmoid(z) reaches the threshold t exactly where sigmoid(z − logit t) reaches 0.5; so the bias b − logit t in place
of b makes the same decisions at 0.5.

An output layer without a bias (GPT-2, Qwen, Llama) has no place for a shift: thresholds stay beside such a model, and
of the calibrations it takes the one that only scales.

config.json and thresholds.json both say whether a model is folded, and must say the same.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from scipy.special import logit
from transformers import PretrainedConfig, PreTrainedModel

from utils.console import InputError
from utils.model.head import has_bias, label_list, output_layer
from utils.run_folder import (
    AFTER_TRAINING,
    CALIBRATION_FILE,
    CONFIG_FILE,
    THRESHOLDS_FILE,
    UNCALIBRATED,
    UNCALIBRATED_LAYER,
    Predictions,
    RunFolder,
    write_bytes,
    write_json,
)

CONFIG_KEY = "folded_thresholds"  # in config.json: label name → the threshold that was folded; b + logit t undoes it


class Calibration(NamedTuple):
    """What a model's logits z went through: scale · z + shift, each of shape (labels,); see
    `utils.evaluation.calibration`."""

    method: str
    scale: np.ndarray
    shift: np.ndarray


def scale_logits(model: PreTrainedModel, scale: np.ndarray, shift: np.ndarray) -> None:
    """Make the model answer sigmoid(scale · z + shift) where it answered sigmoid(z); each of shape (labels,).

    Raises:
        InputError: there is a shift, and no bias to take it.
    """
    layer, factor = output_layer(model), torch.as_tensor(scale, dtype=torch.float64)
    if np.any(shift):
        require_bias(model)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.double() * factor[:, None])
        if has_bias(model):
            layer.bias.copy_(layer.bias.double() * factor + torch.as_tensor(shift, dtype=torch.float64))


def require_bias(model: PreTrainedModel) -> None:
    """Raise `InputError` for a model whose logits cannot be shifted."""
    if not has_bias(model):
        raise InputError(
            f"{type(model).__name__} has an output layer without bias, which has no place for thresholds or a shift; "
            f"thresholds stand beside such a model, in {THRESHOLDS_FILE}."
        )


def fold_thresholds(model: PreTrainedModel, thresholds: np.ndarray) -> None:
    """Subtract the thresholds' log-odds from the output layer's bias and record them in the model's configuration.

    Thresholds that are folded already stay as they are, to the last bit; others are taken out first.

    Args:
        model: its output layer has one unit per label, and a bias.
        thresholds: shape (labels,), in (0, 1), in the order of the labels.

    Raises:
        InputError: its output layer has no bias.
    """
    require_bias(model)
    unfold_thresholds(model)
    _shift(model, -logit(thresholds))
    values = np.asarray(thresholds, dtype=float).tolist()
    setattr(model.config, CONFIG_KEY, dict(zip(label_list(model.config), values, strict=True)))


def folded_thresholds(config: PretrainedConfig) -> np.ndarray | None:
    """The thresholds that are folded into a model, one per label; None where there are none."""
    folded = getattr(config, CONFIG_KEY, None)
    return np.array([folded[name] for name in label_list(config)]) if folded else None


def unfold_thresholds(model: PreTrainedModel) -> np.ndarray | None:
    """Undo `fold_thresholds`; returns the thresholds, or None where nothing was folded."""
    thresholds = folded_thresholds(model.config)
    if thresholds is None:
        return None
    _shift(model, logit(thresholds))
    delattr(model.config, CONFIG_KEY)
    return thresholds


def _shift(model: PreTrainedModel, amount: np.ndarray) -> None:
    with torch.no_grad():
        bias = output_layer(model).bias
        bias.copy_(bias.double() + torch.as_tensor(amount, dtype=torch.float64))


def save_calibrated(
    run: RunFolder,
    model: PreTrainedModel,
    scale: np.ndarray,
    shift: np.ndarray,
    method: str = "platt",
    uncalibrated: Mapping[str, Predictions] | None = None,
) -> None:
    """Calibrate `model`, which `run` holds, and save it there; what was made from the uncalibrated one is removed.

    Args:
        model: as it was trained, neither calibrated nor folded.
        scale, shift, method: see `Calibration`.
        uncalibrated: what it answered before, by split.
    """
    with run.change(outdated=AFTER_TRAINING) as folder:
        write_calibrated(model, Calibration(method, scale, shift), uncalibrated or {}, folder)
        model.save_pretrained(folder)


def write_calibrated(
    model: PreTrainedModel, calibration: Calibration, uncalibrated: Mapping[str, Predictions], folder: Path
) -> None:
    """Calibrate `model`, and write to `folder` what was done, and what is needed to undo it or to do it otherwise.

    That is its output layer, and `uncalibrated`, its predictions by split: as both were before. The method `none` does
    nothing and leaves no record.
    """
    names, (method, scale, shift) = label_list(model.config), calibration
    if method == "none":
        return
    layer = {name: tensor.contiguous() for name, tensor in output_layer(model).state_dict().items()}
    write_bytes(folder / UNCALIBRATED_LAYER, safetensors.torch.save(layer))
    for split, predictions in uncalibrated.items():
        RunFolder(folder).write_predictions(split, names, predictions, UNCALIBRATED)
    content = {
        "method": method,
        "split": "validation",
        "calibrated": "scale * z + shift, for each label's logit z; thresholds come after that",
        "scale": dict(zip(names, scale.tolist(), strict=True)),
        "shift": dict(zip(names, shift.tolist(), strict=True)),
    }
    write_json(folder / CALIBRATION_FILE, content)
    scale_logits(model, scale, shift)


def read_calibration(run: RunFolder, names: Sequence[str]) -> Calibration:
    """How the run's model was calibrated; the method is `none` for a run without a record."""
    if not (run.path / CALIBRATION_FILE).is_file():
        return Calibration("none", np.ones(len(names)), np.zeros(len(names)))
    stored = run.read(CALIBRATION_FILE)
    scale, shift = (np.array([stored[key][name] for name in names]) for key in ("scale", "shift"))
    return Calibration(stored["method"], scale, shift)


def as_trained(run: RunFolder, model: PreTrainedModel) -> None:
    """Take thresholds and calibration out of `model`, which `run` holds.

    The calibration leaves no trace: the output layer is put back as `write_calibrated` kept it.

    Raises:
        InputError: what it kept is missing or broken.
    """
    unfold_thresholds(model)
    if (run.path / CALIBRATION_FILE).is_file():
        try:
            output_layer(model).load_state_dict(safetensors.torch.load_file(run.path / UNCALIBRATED_LAYER))
        except Exception as error:  # missing, cut short, of another shape: each has an exception of its own
            raise InputError(
                f"{run} cannot be uncalibrated: {UNCALIBRATED_LAYER} is missing or broken; train it again."
            ) from error


def write_folded(run: RunFolder, model: PreTrainedModel, folded: bool, folder: Path) -> None:
    """Fold the run's thresholds into `model`, which `run` holds, or take them out; write it and its record to `folder`.

    Predictions and scores of the run stay those of the unfolded model; its decisions at the thresholds are those of
    the folded one at 0.5. Folding a folded model again changes nothing.

    Args:
        run: has the thresholds.
        folder: what is written goes here.
    """
    stored = run.read(THRESHOLDS_FILE)
    stored.pop("undo", None)
    if folded:
        fold_thresholds(model, np.array([stored["thresholds"][name] for name in label_list(model.config)]))
        stored |= {"folded": True, "undo": "add log(t / (1 - t)) to each bias"}
    else:
        unfold_thresholds(model)
        stored |= {"folded": False}
    model.save_pretrained(folder)
    write_json(folder / THRESHOLDS_FILE, stored)


def stored_thresholds(name: str, folder: Path, config: PretrainedConfig | None) -> dict[str, float]:
    """The threshold of each label at which the model in `folder` decides: 0.5 where it is folded; none without a file.

    Args:
        name: what the user calls the model.
        config: its configuration, as config.json has it; None for a baseline.

    Raises:
        InputError: thresholds.json is broken, or contradicts config.json.
    """
    path = folder / THRESHOLDS_FILE
    if not path.is_file():
        return {}
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        thresholds = {label: float(threshold) for label, threshold in stored["thresholds"].items()}
        folded = bool(stored.get("folded"))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a thresholds file as run_finetune.py writes it ({error!r}).") from error
    if outside := [(label, threshold) for label, threshold in thresholds.items() if not 0 < threshold < 1]:
        raise InputError(
            f"{path} has the threshold {outside[0][1]} for {outside[0][0]!r}; accepted: numbers between 0 and 1."
        )
    if config is not None:
        in_config = getattr(config, CONFIG_KEY, None)
        if list(thresholds) != label_list(config):
            raise InputError(f"{name}: {THRESHOLDS_FILE} and {CONFIG_FILE} name different labels.")
        if folded != bool(in_config):
            says, denies = (THRESHOLDS_FILE, CONFIG_FILE) if folded else (CONFIG_FILE, THRESHOLDS_FILE)
            raise InputError(
                f"{name} contradicts itself: {says} says that the thresholds are folded into the model, {denies} that "
                "they are not; take files that belong together, as one run or one commit has them."
            )
        if in_config and in_config != thresholds:
            raise InputError(
                f"{name} contradicts itself: {THRESHOLDS_FILE} and {CONFIG_FILE} hold different thresholds; take files "
                "that belong together, as one run or one commit has them."
            )
    return dict.fromkeys(thresholds, 0.5) if folded else thresholds
