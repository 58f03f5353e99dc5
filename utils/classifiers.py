"""Classifiers from a folder or the Hub: texts → probabilities, with a fine-tuned encoder or the published baseline."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from skops import io as skops_io
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BatchEncoding,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from utils.console import InputError
from utils.modeling import load_tokenizer
from utils.results import THRESHOLDS_FILE

BASELINE_FILE = "baseline.skops"
TRUSTED_TYPES = ("sklearn.multiclass._ConstantPredictor",)  # stands in for a label that no training row carries
BATCH_SIZE = 64
MODEL_FILES = ("config.json", "tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model",
               THRESHOLDS_FILE, BASELINE_FILE)  # fmt: skip
TORCH_FILES = ("*.safetensors", "*.safetensors.index.json")
ONNX_FILES = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}  # as transformers.js and optimum look


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
            )
            probabilities[rows] = self._logits(batch).float().sigmoid().cpu().numpy()
            progress(len(rows))
        return probabilities

    @torch.inference_mode()
    def _logits(self, batch: BatchEncoding) -> torch.Tensor:
        return self.model(**batch.to(self.model.device)).logits


class OnnxClassifier(EncoderClassifier):
    """A fine-tuned encoder as `utils.export` writes it, run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]):
        import onnxruntime  # not among the packages that training needs

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # left alone, it counts cores that a container lacks
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [item.name for item in self.session.get_inputs()]
        self.tokenizer, self.labels = tokenizer, list(labels)

    def _logits(self, batch: BatchEncoding) -> torch.Tensor:
        (logits,) = self.session.run(["logits"], {name: batch[name].numpy() for name in self.inputs})
        return torch.from_numpy(logits)


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
    name: str, device: str | torch.device = "cpu", backend: str = "torch", precision: str = "fp32"
) -> tuple[EncoderClassifier | BaselineClassifier, np.ndarray]:
    """The classifier in a folder or on the Hub, and its thresholds: one per label, 0.5 where it has none of its own.

    Args:
        name: a folder, or a model id on the Hub.
        device: where torch computes; ONNX Runtime always takes the CPU.
        backend: `torch`, or `onnx` for the files that `utils.export` writes.
        precision: `fp32`, or with onnx also `int8`; `auto` is int8 with onnx and fp32 with torch.

    Raises:
        InputError: there is no such model, or it does not classify with several labels.
    """
    if precision == "auto":
        precision = "int8" if backend == "onnx" else "fp32"
    if backend == "torch" and precision == "int8":
        raise InputError("--precision int8 needs --backend onnx.")
    if backend == "onnx" and precision not in ONNX_FILES:
        raise InputError(f"--precision {precision} is not to be had with --backend onnx; accepted: fp32, int8.")
    folder = _model_folder(name, TORCH_FILES if backend == "torch" else (ONNX_FILES[precision],))
    stored = _stored_thresholds(folder / THRESHOLDS_FILE)
    if (folder / BASELINE_FILE).is_file():
        if not stored:
            raise InputError(f"{name} has a {BASELINE_FILE} but no {THRESHOLDS_FILE}, which names its labels.")
        if backend == "onnx":
            raise InputError(f"{name} is a baseline; --backend onnx is for encoders.")
        classifier = BaselineClassifier(str(folder / BASELINE_FILE), list(stored))
    elif not (folder / "config.json").is_file():
        raise InputError(f"{name} holds no model: config.json or {BASELINE_FILE} is looked for.")
    elif backend == "onnx":
        classifier = _load_onnx(name, folder, ONNX_FILES[precision])
    else:
        classifier = _load_encoder(name, folder, device)
    if stored and list(stored) != classifier.labels:
        raise InputError(f"{name}: {THRESHOLDS_FILE} and config.json name different labels.")
    return classifier, np.array([stored.get(label, 0.5) for label in classifier.labels])


def _model_folder(name: str, weights: Sequence[str]) -> Path:
    """The folder itself, or the Hub's files in the cache: fetched in one go, so that there is one way to fail."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")):
        raise InputError(f"--model {name}: there is no such folder; give a folder or a model id on the Hub.")
    try:
        return Path(snapshot_download(name, allow_patterns=[*MODEL_FILES, *weights]))
    except Exception as error:  # not found, private, no network, malformed: the sentence carries the client's reason
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"Model {name} is neither a folder nor to be had from the Hub ({reason}).") from error


def _load_encoder(name: str, folder: Path, device: str | torch.device) -> EncoderClassifier:
    tokenizer = load_tokenizer(str(folder))
    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except Exception as error:  # missing, truncated or foreign weights: each library has its own exception
        raise _unloadable(name, error) from error
    _check(name, model.config)
    return EncoderClassifier(model.to(device), tokenizer)


def _load_onnx(name: str, folder: Path, file: str) -> OnnxClassifier:
    if importlib.util.find_spec("onnxruntime") is None:
        raise InputError("--backend onnx needs ONNX Runtime: pip install -r requirements-onnx.txt.")
    if not (folder / file).is_file():
        others = [f"--precision {kind}" for kind, other in ONNX_FILES.items() if (folder / other).is_file()]
        raise InputError(
            f"{name} has no {file}; "
            + (f"use {others[0]}." if others else "`python run_export.py OUTPUT_DIR` makes it in a run's folder.")
        )
    tokenizer = load_tokenizer(str(folder))
    config = AutoConfig.from_pretrained(folder)
    _check(name, config)
    labels = [config.id2label[index] for index in range(config.num_labels)]
    try:
        return OnnxClassifier(folder / file, tokenizer, labels)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise _unloadable(f"{name}/{file}", error) from error


def _check(name: str, config: PretrainedConfig) -> None:
    if not any("ForSequenceClassification" in kind for kind in config.architectures or []):
        raise InputError(f"{name} is an encoder without a classifier; run_finetune.py makes one from it.")
    if config.problem_type in ("single_label_classification", "regression"):
        raise InputError(f"{name} was trained for {config.problem_type}; a multi-label classifier is needed.")


def _unloadable(name: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return InputError(f"Model {name} could not be loaded ({reason}).")


def _stored_thresholds(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {label: 0.5 if stored.get("folded") else float(cut) for label, cut in stored["thresholds"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a thresholds file as run_finetune.py writes it ({error!r}).") from error
