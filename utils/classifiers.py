"""Classifiers from a folder or the Hub: texts → probabilities, with a fine-tuned encoder or the published baseline."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from huggingface_hub import snapshot_download
from skops import io as skops_io
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError
from utils.head import output_layer
from utils.modeling import load_tokenizer
from utils.results import THRESHOLDS_FILE

BASELINE_FILE = "baseline.skops"
TRUSTED_TYPES = ("sklearn.multiclass._ConstantPredictor",)  # stands in for a label that no training row carries
# Tokens of a batch, padding included. On CPUs the activations of more no longer fit the caches: 1,024 to 4,096 are
# within a tenth of each other, 16,384 are a third slower. A GPU is idle between small batches.
BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
MODEL_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "special_tokens_map.json",
               "vocab.*", "merges.txt", "*.model", THRESHOLDS_FILE, BASELINE_FILE)  # fmt: skip


class EncoderClassifier:
    """A fine-tuned encoder; probabilities are sigmoids in fp32, whatever precision it was trained in.

    With `precision` bf16 the encoder computes in bf16. Its output layer stays in fp32: it costs nothing, and logits
    with the eight significant bits of bf16 would make equal scores of different ones.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, precision: Literal["fp32", "bf16"] = "fp32"
    ):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
        if precision == "bf16":
            model.to(torch.bfloat16)
            output_layer(model).float().register_forward_pre_hook(lambda layer, inputs: (inputs[0].float(),))

    def predict(self, texts: Sequence[str], progress: Callable[[int], object] = lambda rows: None) -> np.ndarray:
        """Probabilities, float32 of shape (texts, labels), in the order of `texts`.

        Longer texts than the model reads are cut. `progress` is called with the number of texts of each finished batch.
        """
        return self.probabilities(self.encode(texts), progress)

    def encode(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Token ids, and what else the model reads of each token, unpadded."""
        limit = self.tokenizer.model_max_length
        return dict(self.tokenizer(list(texts), truncation=True, max_length=limit, return_attention_mask=False))

    def probabilities(
        self, encoded: Mapping[str, list[list[int]]], progress: Callable[[int], object] = lambda rows: None
    ) -> np.ndarray:
        """`predict` for texts that are encoded already."""
        found = np.empty((len(encoded["input_ids"]), len(self.labels)), dtype=np.float32)
        device = self.model.device
        with torch.inference_mode():
            for rows, batch in padded_batches(encoded, self.tokenizer, device.type):
                tensors = {name: torch.from_numpy(values).to(device) for name, values in batch.items()}
                found[rows] = self.model(**tensors).logits.float().sigmoid().cpu().numpy()
                progress(len(rows))
        return found


def padded_batches(
    encoded: Mapping[str, list[list[int]]], tokenizer: PreTrainedTokenizerBase, device: str = "cpu"
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Rows of similar length together, the longest first, each batch within `BATCH_TOKENS` or one row.

    Yields the indices of a batch's rows, and what the model reads: int64 of shape (rows, tokens of the longest).
    """
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    order = np.argsort(-lengths, kind="stable")
    start, limit = 0, BATCH_TOKENS.get(device, BATCH_TOKENS["cpu"])
    while start < len(order):
        longest = lengths[order[start]]
        rows = order[start : start + max(1, limit // longest)]
        mask = np.arange(longest) < lengths[rows, None]
        if tokenizer.padding_side == "left":
            mask = mask[:, ::-1]
        batch = {"attention_mask": mask.astype(np.int64)}
        for name, values in encoded.items():
            batch[name] = np.full(mask.shape, padding.get(name, 0))
            batch[name][mask] = list(chain.from_iterable([values[row] for row in rows]))
        yield rows, batch
        start += len(rows)


class BaselineClassifier:
    """TF-IDF and logistic regression as `run_baseline.py` saves them."""

    def __init__(self, path: str, labels: Sequence[str]):
        unknown = set(skops_io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES)
        if unknown:
            raise InputError(f"{path} holds types beyond scikit-learn's ({', '.join(unknown)}); it is not loaded.")
        self.pipeline, self.labels = skops_io.load(path, trusted=list(TRUSTED_TYPES)), list(labels)

    def predict(self, texts: Sequence[str], progress: Callable[[int], object] = lambda rows: None) -> np.ndarray:
        """Probabilities, float32 of shape (texts, labels)."""
        return self.probabilities(self.encode(texts), progress)

    def encode(self, texts: Sequence[str]) -> list[str]:
        """The texts themselves: the pipeline has its own way from them to numbers."""
        return list(texts)

    def probabilities(self, encoded: list[str], progress: Callable[[int], object] = lambda rows: None) -> np.ndarray:
        """`predict` for what `encode` returned."""
        probabilities = self.pipeline.predict_proba(encoded).astype(np.float32)
        progress(len(encoded))
        return probabilities


def load_classifier(
    name: str, device: str | torch.device = "cpu", precision: Literal["fp32", "bf16"] = "fp32"
) -> tuple[EncoderClassifier | BaselineClassifier, np.ndarray]:
    """The classifier in a folder or on the Hub, and its thresholds: one per label, 0.5 where it has none of its own.

    Raises:
        InputError: there is no such model, or it does not classify with several labels.
    """
    folder = model_folder(name)
    stored = _stored_thresholds(folder / THRESHOLDS_FILE)
    if (folder / BASELINE_FILE).is_file():
        if not stored:
            raise InputError(f"{name} has a {BASELINE_FILE} but no {THRESHOLDS_FILE}, which names its labels.")
        classifier = BaselineClassifier(str(folder / BASELINE_FILE), list(stored))
    else:
        classifier = _load_encoder(name, folder, device, precision)
    if stored and list(stored) != classifier.labels:
        raise InputError(f"{name}: {THRESHOLDS_FILE} and config.json name different labels.")
    return classifier, np.array([stored.get(label, 0.5) for label in classifier.labels])


def model_folder(name: str) -> Path:
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


def model_files(folder: Path) -> list[Path]:
    """The files that decide what the model in `folder` answers."""
    return sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})


def _load_encoder(name: str, folder: Path, device: str | torch.device, precision: str) -> EncoderClassifier:
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
    return EncoderClassifier(model.to(device), tokenizer, precision)


def _stored_thresholds(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {label: 0.5 if stored.get("folded") else float(cut) for label, cut in stored["thresholds"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a thresholds file as run_finetune.py writes it ({error!r}).") from error
