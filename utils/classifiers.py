"""Classifiers from a folder or the Hub: texts → probabilities, with a fine-tuned encoder or the published baseline."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from skops import io as skops_io
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError
from utils.modeling import load_tokenizer
from utils.results import THRESHOLDS_FILE

BASELINE_FILE = "baseline.skops"
TRUSTED_TYPES = ("sklearn.multiclass._ConstantPredictor",)  # stands in for a label that no training row carries
BATCH_SIZE = 64
MODEL_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "special_tokens_map.json",
               "vocab.*", "merges.txt", "*.model", THRESHOLDS_FILE, BASELINE_FILE)  # fmt: skip


class EncoderClassifier:
    """A fine-tuned encoder; probabilities are sigmoids in fp32, whatever precision it was trained in."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.labels = [model.config.id2label[index] for index in range(model.config.num_labels)]

    def predict(self, texts: Sequence[str], progress: Callable[[int], object] = lambda rows: None) -> np.ndarray:
        """Probabilities, float32 of shape (texts, labels), in the order of `texts`.

        Texts of similar length share a batch, so that little is padded; longer ones than the model reads are cut.
        `progress` is called with the number of texts of each finished batch.
        """
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.tokenizer.model_max_length)
        by_length = np.argsort([len(ids) for ids in encoded["input_ids"]], kind="stable")
        probabilities = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(texts), BATCH_SIZE):
            rows = by_length[start : start + BATCH_SIZE]
            batch = self.tokenizer.pad(
                {name: [values[row] for row in rows] for name, values in encoded.items()}, return_tensors="pt"
            ).to(self.model.device)
            with torch.inference_mode():
                probabilities[rows] = self.model(**batch).logits.float().sigmoid().cpu().numpy()
            progress(len(rows))
        return probabilities


class BaselineClassifier:
    """TF-IDF and logistic regression as `run_baseline.py` saves them."""

    def __init__(self, path: str, labels: Sequence[str]):
        unknown = set(skops_io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES)
        if unknown:
            raise InputError(f"{path} holds types beyond scikit-learn's ({', '.join(unknown)}); it is not loaded.")
        self.pipeline, self.labels = skops_io.load(path, trusted=list(TRUSTED_TYPES)), list(labels)

    def predict(self, texts: Sequence[str], progress: Callable[[int], object] = lambda rows: None) -> np.ndarray:
        """Probabilities, float32 of shape (texts, labels)."""
        probabilities = self.pipeline.predict_proba(list(texts)).astype(np.float32)
        progress(len(texts))
        return probabilities


def load_classifier(
    name: str, device: str | torch.device = "cpu"
) -> tuple[EncoderClassifier | BaselineClassifier, np.ndarray]:
    """The classifier in a folder or on the Hub, and its thresholds: one per label, 0.5 where it has none of its own.

    Raises:
        InputError: there is no such model, or it does not classify with several labels.
    """
    folder = _model_folder(name)
    stored = _stored_thresholds(folder / THRESHOLDS_FILE)
    if (folder / BASELINE_FILE).is_file():
        if not stored:
            raise InputError(f"{name} has a {BASELINE_FILE} but no {THRESHOLDS_FILE}, which names its labels.")
        classifier = BaselineClassifier(str(folder / BASELINE_FILE), list(stored))
    else:
        classifier = _load_encoder(name, folder, device)
    if stored and list(stored) != classifier.labels:
        raise InputError(f"{name}: {THRESHOLDS_FILE} and config.json name different labels.")
    return classifier, np.array([stored.get(label, 0.5) for label in classifier.labels])


def _model_folder(name: str) -> Path:
    """The folder itself, or the Hub's files in the cache: fetched in one go, so that there is one way to fail."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")):
        raise InputError(f"--model {name}: there is no such folder; give a folder or a model id on the Hub.")
    try:
        return Path(snapshot_download(name, allow_patterns=list(MODEL_FILES)))
    except Exception as error:  # not found, private, no network, malformed: the sentence carries the client's reason
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"Model {name} is neither a folder nor to be had from the Hub ({reason}).") from error


def _load_encoder(name: str, folder: Path, device: str | torch.device) -> EncoderClassifier:
    if not (folder / "config.json").is_file():
        raise InputError(f"{name} holds no model: config.json or {BASELINE_FILE} is looked for.")
    tokenizer = load_tokenizer(str(folder))
    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except Exception as error:  # missing, truncated or foreign weights: each library has its own exception
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"Model {name} could not be loaded ({reason}).") from error
    if not any("ForSequenceClassification" in kind for kind in model.config.architectures or []):
        raise InputError(f"{name} is an encoder without a classifier; run_finetune.py makes one from it.")
    if model.config.problem_type in ("single_label_classification", "regression"):
        raise InputError(f"{name} was trained for {model.config.problem_type}; a multi-label classifier is needed.")
    return EncoderClassifier(model.to(device), tokenizer)


def _stored_thresholds(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {label: 0.5 if stored.get("folded") else float(cut) for label, cut in stored["thresholds"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a thresholds file as run_finetune.py writes it ({error!r}).") from error
