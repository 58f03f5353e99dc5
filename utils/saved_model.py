"""The model saved in a run's folder, changed in place: calibrated, its thresholds folded in or taken out again.

Each change removes the run's ONNX files, which were made from the model before it; `utils.export` makes them anew.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from utils.export import remove_onnx
from utils.head import fold_thresholds, scale_logits, unfold_thresholds
from utils.results import THRESHOLDS_FILE, read_json, write_json


def calibrate_saved_model(run_dir: Path, scale: np.ndarray, shift: np.ndarray) -> None:
    """Put a calibration (see `utils.calibration`) into the output layer of the model saved in `run_dir`."""
    model = AutoModelForSequenceClassification.from_pretrained(run_dir, dtype=torch.float32)
    scale_logits(model, scale, shift)
    _save(model, run_dir)


def fold_saved_model(run_dir: Path) -> None:
    """Fold the thresholds of thresholds.json into the model saved beside it, and record it there and in config.json.

    Predictions and scores of the run stay those of the unfolded model; its decisions at the thresholds are those of
    the folded one at 0.5. Folding a folded model again changes nothing.
    """
    stored = read_json(run_dir / THRESHOLDS_FILE)
    model = AutoModelForSequenceClassification.from_pretrained(run_dir, dtype=torch.float32)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    fold_thresholds(model, np.array([stored["thresholds"][name] for name in names]))
    _save(model, run_dir)
    write_json(run_dir / THRESHOLDS_FILE, stored | {"folded": True, "undo": "add log(t / (1 - t)) to each bias"})


def unfold_saved_model(run_dir: Path) -> None:
    """Undo `fold_saved_model`: the model answers probabilities again, to be cut at its thresholds."""
    stored = read_json(run_dir / THRESHOLDS_FILE)
    model = AutoModelForSequenceClassification.from_pretrained(run_dir, dtype=torch.float32)
    unfold_thresholds(model)
    _save(model, run_dir)
    stored.pop("undo", None)
    write_json(run_dir / THRESHOLDS_FILE, stored | {"folded": False})


def _save(model: PreTrainedModel, run_dir: Path) -> None:
    remove_onnx(run_dir)
    model.save_pretrained(run_dir)
