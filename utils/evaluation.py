"""The saved model on validation and test, as a user will load it: every process predicts its share, in fp32."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import DatasetDict

from utils.calibration import calibrate, fit_calibration
from utils.classifiers import BaselineClassifier, EncoderClassifier, load_classifier
from utils.console import is_main_process, say
from utils.data import label_names
from utils.labels import multi_hot
from utils.progress import Progress
from utils.results import Predictions
from utils.saved_model import calibrate_saved_model


def predict_together(classifier: EncoderClassifier | BaselineClassifier, texts: Sequence[str]) -> np.ndarray:
    """As `classifier.predict`, but every process answers for its share, and gets the answers to all of them."""
    state = PartialState()
    progress = Progress(len(texts), shown=state.is_main_process, share=state.num_processes)
    with state.split_between_processes(list(texts)) as share:
        answers = list(classifier.predict(share, progress.advance)) if share else []
    progress.close()
    return np.stack(gather_object(answers))


def predict_splits(run_dir: Path, splits: DatasetDict, device: str | torch.device) -> dict[str, Predictions]:
    """Predictions of `eval` and, where there is one, `test`, by the model saved in `run_dir`.

    Empty in every process but the main one. Rows are in the dataset's order, each once, for any number of processes.
    """
    classifier, _ = load_classifier(str(run_dir), device=device)
    predictions = {}
    for name, split in (("eval", "validation"), ("test", "test")):
        if split not in splits:
            continue
        texts = list(splits[split]["text"])
        say(f"predicting {len(texts):,} {split} comments …")
        probabilities = predict_together(classifier, texts)
        if is_main_process():
            gold = multi_hot(splits[split]["labels"], len(label_names(splits)))
            predictions[name] = Predictions(texts, gold, probabilities)
    return predictions


def calibrate_run(run_dir: Path, predictions: dict[str, Predictions], method: str) -> dict[str, Predictions]:
    """Fit a calibration on `eval`, put it into the saved model, and return the predictions of that model."""
    if method == "none":
        return predictions
    fitted = fit_calibration(predictions["eval"].gold, predictions["eval"].probabilities, method)
    calibrate_saved_model(run_dir, *fitted)
    return {
        name: judged._replace(probabilities=calibrate(judged.probabilities, *fitted))
        for name, judged in predictions.items()
    }
