"""What the saved model answers on validation and test, as a user will load it, and calibrated where that is asked for.

Every process predicts its share, in fp32.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import DatasetDict
from transformers import PreTrainedModel

from utils.console import say
from utils.data.labels import multi_hot
from utils.data.splits import label_names
from utils.evaluation.calibration import calibrate_predictions, fit_calibration, fittable
from utils.machine import is_main_process
from utils.model.classifiers import Classifier, EncoderClassifier, load_encoder
from utils.model.folding import Calibration, save_calibrated
from utils.model.head import has_bias
from utils.progress import Progress
from utils.run_folder import METRIC_PREFIX, Predictions, RunFolder


def predict_together(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    """As `classifier.predict`, but every process answers for its share, and gets the answers to all of them."""
    state = PartialState()
    progress = Progress(len(texts), shown=state.is_main_process, share=state.num_processes)
    with state.split_between_processes(list(texts)) as share:
        answers = list(classifier.predict(share, progress.advance)) if share else []
    progress.close()
    return np.stack(gather_object(answers))


def predict_splits(
    run: RunFolder, splits: DatasetDict, device: str | torch.device, trust_remote_code: bool = False
) -> tuple[EncoderClassifier, dict[str, Predictions]]:
    """The model saved in `run`, and its predictions of `validation` and, where there is one, `test`.

    Predictions are empty in every process but the main one. Rows are in the dataset's order, each once, for any number
    of processes. The model comes back on the CPU. `trust_remote_code`: see `utils.model.loading.read_config`.
    """
    classifier = load_encoder(run, device, trust_remote_code)
    predictions = {}
    for split in METRIC_PREFIX:
        if split not in splits:
            continue
        texts = list(splits[split]["text"])
        say(f"predicting {len(texts):,} {split} comments …")
        probabilities = predict_together(classifier, texts)
        if is_main_process():
            gold = multi_hot(splits[split]["labels"], len(label_names(splits)))
            predictions[split] = Predictions(texts, gold, probabilities)
    return classifier.to("cpu"), predictions


def calibrate_run(
    run: RunFolder, classifier: EncoderClassifier, predictions: Mapping[str, Predictions], method: str
) -> dict[str, Predictions]:
    """Fit a calibration on `validation`, put it into the run's model, and return the predictions of that model.

    Args:
        run: holds the model; it is saved there again.
        classifier: the model, which is changed too.
        method: `none`, `temperature` or `platt`; see `utils.evaluation.calibration`. Where validation has no label
            to fit one on, the model stays as it is, which is said.
    """
    calibration = calibration_for(classifier.model, predictions["validation"], method)
    if calibration.method == "none":
        return dict(predictions)
    save_calibrated(run, classifier.model, calibration.scale, calibration.shift, calibration.method, predictions)
    return calibrate_predictions(predictions, calibration)


def calibration_for(model: PreTrainedModel, validation: Predictions, method: str) -> Calibration:
    """A calibration fitted on `validation`; `none`, and a line that says why, where model or rows have none."""
    if method == "platt" and not has_bias(model):
        say("The model's output layer has no bias; --calibration platt is off for it (temperature needs none).")
        method = "none"
    if method != "none" and not fittable(validation.gold).any():
        say("--calibration was left out: no label has both rows with it and rows without it in validation")
        method = "none"
    return Calibration(method, *fit_calibration(validation.gold, validation.probabilities, method))
