"""From texts to probabilities and named emotions, with a fine-tuned encoder or the published baseline."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from huggingface_hub import snapshot_download
from skops import io as skops_io
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError
from utils.head import fold_thresholds, scale_logits, unfold_thresholds
from utils.modeling import load_tokenizer
from utils.results import THRESHOLDS_FILE, read_json, write_json
from utils.rows import Row

BASELINE_FILE = "baseline.skops"
TRUSTED_TYPES = ("sklearn.multiclass._ConstantPredictor",)  # stands in for a label that no training row carries
BATCH_SIZE = 64
WINDOW = 4096  # rows read, sorted by length and classified at a time: files of any size take the same memory
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


def predict_together(classifier: EncoderClassifier | BaselineClassifier, texts: Sequence[str]) -> np.ndarray:
    """As `predict`, but every process answers for its share of the texts, and gets the answers to all of them."""
    with PartialState().split_between_processes(list(texts)) as share:
        return np.stack(gather_object(list(classifier.predict(share)) if share else []))


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


def calibrate_saved_model(run_dir: Path, scale: np.ndarray, shift: np.ndarray) -> None:
    """Put a calibration (see `utils.calibration`) into the output layer of the model saved in `run_dir`."""
    model = AutoModelForSequenceClassification.from_pretrained(run_dir, dtype=torch.float32)
    scale_logits(model, scale, shift)
    model.save_pretrained(run_dir)


def fold_saved_model(run_dir: Path) -> None:
    """Fold the thresholds of thresholds.json into the model saved beside it, and record it there and in config.json.

    Predictions and scores of the run stay those of the unfolded model; its decisions at the thresholds are those of
    the folded one at 0.5. Folding a folded model again changes nothing.
    """
    stored = read_json(run_dir / THRESHOLDS_FILE)
    model = AutoModelForSequenceClassification.from_pretrained(run_dir, dtype=torch.float32)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    fold_thresholds(model, np.array([stored["thresholds"][name] for name in names]))
    model.save_pretrained(run_dir)
    write_json(run_dir / THRESHOLDS_FILE, stored | {"folded": True, "undo": "add log(t / (1 - t)) to each bias"})


def unfold_saved_model(run_dir: Path) -> None:
    """Undo `fold_saved_model`: the model answers probabilities again, to be cut at its thresholds."""
    stored = read_json(run_dir / THRESHOLDS_FILE)
    model = AutoModelForSequenceClassification.from_pretrained(run_dir, dtype=torch.float32)
    unfold_thresholds(model)
    model.save_pretrained(run_dir)
    stored.pop("undo", None)
    write_json(run_dir / THRESHOLDS_FILE, stored | {"folded": False})


def choose_labels(
    probabilities: np.ndarray,
    labels: Sequence[str],
    thresholds: np.ndarray,
    top_k: int | None = None,
    at_least_one: bool = False,
) -> tuple[list[str], list[float]]:
    """Names and scores of one row's emotions: those at or above their thresholds, the clearest first.

    Args:
        probabilities: shape (labels,).
        thresholds: shape (labels,).
        top_k: at most so many.
        at_least_one: where no label reaches its threshold, the one that comes nearest.
    """
    margins = probabilities.astype(np.float64) - thresholds
    order = np.argsort(-margins, kind="stable")
    chosen = [index for index in order if margins[index] >= 0] or (list(order[:1]) if at_least_one else [])
    chosen = chosen[:top_k]
    return [labels[index] for index in chosen], [round(float(probabilities[index]), 6) for index in chosen]


def classify_rows(
    classifier: EncoderClassifier | BaselineClassifier,
    thresholds: np.ndarray,
    rows: Iterable[Row],
    text_column: str = "text",
    top_k: int | None = None,
    at_least_one: bool = False,
    progress: Callable[[int], object] = lambda rows: None,
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each row's cells with `labels` and `scores` added, in order, and what kept the row from being classified.

    Columns of the input that are called `labels` or `scores` are kept as `input_labels` and `input_scores`.
    """
    rows = iter(rows)
    while window := list(itertools.islice(rows, WINDOW)):
        problems = [row.problem or _text_problem(row.cells.get(text_column)) for row in window]
        texts = [row.cells[text_column] for row, problem in zip(window, problems, strict=True) if not problem]
        probabilities = iter(classifier.predict(texts, progress) if texts else [])
        for row, problem in zip(window, problems, strict=True):
            cells = {f"input_{key}" if key in ("labels", "scores") else key: cell for key, cell in row.cells.items()}
            names, scores = [], []
            if not problem:
                names, scores = choose_labels(next(probabilities), classifier.labels, thresholds, top_k, at_least_one)
            yield {**cells, "labels": names, "scores": scores}, problem and f"{row.place}: {problem}"


def _text_problem(text: Any) -> str | None:
    if not isinstance(text, str):
        return f"the text is {'missing' if text is None else type(text).__name__}, not a string"
    return None if text.strip() else "the text is empty"
