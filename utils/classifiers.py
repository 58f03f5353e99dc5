"""Classifiers from a folder or the Hub: texts → probabilities, with a fine-tuned encoder or the published baseline."""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from scipy.special import expit
from skops import io as skops_io
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from utils.console import InputError
from utils.hardware import bf16_pays
from utils.head import output_layer
from utils.modeling import load_tokenizer
from utils.results import THRESHOLDS_FILE

BASELINE_FILE = "baseline.skops"
TRUSTED_TYPES = ("sklearn.multiclass._ConstantPredictor",)  # stands in for a label that no training row carries
# Tokens of a batch, padding included. On CPUs the activations of more no longer fit the caches: 1,024 to 4,096 are
# within a tenth of each other, 16,384 are a third slower. A GPU is idle between small batches.
CPU_TOKENS, GPU_TOKENS = 2048, 16384
ONNX_TOKENS = 256  # of one thread's batch: what it computes then fits the cache of its core
MODEL_FILES = ("config.json", "tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model",
               THRESHOLDS_FILE, BASELINE_FILE)  # fmt: skip
TORCH_FILES = ("*.safetensors", "*.safetensors.index.json")
ONNX_FILES = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}  # as transformers.js and optimum look
PRECISIONS = ("auto", "fp32", "bf16", "int8")


class EncoderClassifier:
    """A fine-tuned encoder; probabilities are sigmoids in fp32, whatever precision it was trained in.

    On a CPU, each thread computes batches of its own. Sharing every batch among all threads would make them wait for
    each other after each of its few hundred operations.

    With `precision` bf16 the encoder computes in bf16. Its output layer stays in fp32: it costs nothing, and logits
    with the eight significant bits of bf16 would make equal scores of different ones.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, precision: str = "fp32"):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
        on_cpu = model.device.type == "cpu"
        self.batch_tokens, self.threads = (CPU_TOKENS, torch.get_num_threads()) if on_cpu else (GPU_TOKENS, 1)
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
        batches = padded_batches(encoded, self.tokenizer, self.batch_tokens)
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for rows, logits in pool.map(lambda batch: (batch[0], self._logits(batch[1])), batches):
                    found[rows] = expit(logits)
                    progress(len(rows))
        finally:
            torch.set_num_threads(threads)  # what a thread sets holds for threads that are yet to come, too
        return found

    @torch.inference_mode()
    def _logits(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        tensors = {name: torch.from_numpy(values).to(self.model.device) for name, values in batch.items()}
        return self.model(**tensors).logits.float().cpu().numpy()


def padded_batches(
    encoded: Mapping[str, list[list[int]]], tokenizer: PreTrainedTokenizerBase, batch_tokens: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Rows of similar length together, the longest first, at most `batch_tokens` with their padding (or one row).

    Yields the indices of a batch's rows, and what the model reads: int64 of shape (rows, tokens of the longest).
    """
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        rows = order[start : start + max(1, batch_tokens // longest)]
        mask = np.arange(longest) < lengths[rows, None]
        if tokenizer.padding_side == "left":
            mask = mask[:, ::-1]
        batch = {"attention_mask": mask.astype(np.int64)}
        for name, values in encoded.items():
            batch[name] = np.full(mask.shape, padding.get(name, 0))
            batch[name][mask] = list(chain.from_iterable([values[row] for row in rows]))
        yield rows, batch
        start += len(rows)


class OnnxClassifier(EncoderClassifier):
    """A fine-tuned encoder as `utils.export` writes it, run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]):
        import onnxruntime  # not among the packages that training needs

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # see EncoderClassifier
        # Its fused kernel for residual and normalisation takes four times as long as the two apart.
        unfused = {"disabled_optimizers": ["SkipLayerNormFusion"]}
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], **unfused)
        self.inputs = [item.name for item in self.session.get_inputs()]
        self.tokenizer, self.labels = tokenizer, list(labels)
        self.batch_tokens, self.threads = ONNX_TOKENS, torch.get_num_threads()

    def _logits(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        (logits,) = self.session.run(["logits"], {name: batch[name] for name in self.inputs})
        return logits


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
    name: str, device: str | torch.device = "cpu", backend: str = "torch", precision: str = "fp32"
) -> tuple[EncoderClassifier | BaselineClassifier, np.ndarray]:
    """The classifier in a folder or on the Hub, and its thresholds: one per label, 0.5 where it has none of its own.

    Args:
        name: a folder, or a model id on the Hub.
        device: where torch computes; ONNX Runtime always takes the CPU.
        backend: `torch`, or `onnx` for the files that `utils.export` writes.
        precision: see `settle_precision`.

    Raises:
        InputError: there is no such model, or it does not classify with several labels.
    """
    precision = settle_precision(precision, backend, on_cpu=torch.device(device).type == "cpu")
    folder = model_folder(name, backend, precision)
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
        classifier = _load_encoder(name, folder, device, precision)
    if stored and list(stored) != classifier.labels:
        raise InputError(f"{name}: {THRESHOLDS_FILE} and config.json name different labels.")
    return classifier, np.array([stored.get(label, 0.5) for label in classifier.labels])


def settle_precision(precision: str, backend: str, on_cpu: bool) -> str:
    """What `--precision` means for a backend; `auto` is int8 with onnx, and with torch bf16 where it is faster.

    Raises:
        InputError: the backend does not compute in this precision.
    """
    if precision == "auto":
        return "int8" if backend == "onnx" else "bf16" if bf16_pays(on_cpu) else "fp32"
    accepted = tuple(ONNX_FILES) if backend == "onnx" else ("fp32", "bf16")
    if precision not in accepted:
        raise InputError(
            f"--precision {precision} is not to be had with --backend {backend}; accepted: {', '.join(accepted)}."
        )
    return precision


def _weights(backend: str, precision: str) -> tuple[str, ...]:
    return TORCH_FILES if backend == "torch" else (ONNX_FILES[precision],)


def model_folder(name: str, backend: str = "torch", precision: str = "fp32") -> Path:
    """The folder itself, or the Hub's files in the cache: fetched in one go, so that there is one way to fail."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")):
        raise InputError(f"--model {name}: there is no such folder; give a folder or a model id on the Hub.")
    try:
        return Path(snapshot_download(name, allow_patterns=[*MODEL_FILES, *_weights(backend, precision)]))
    except Exception as error:  # not found, private, no network, malformed: the sentence carries the client's reason
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"Model {name} is neither a folder nor to be had from the Hub ({reason}).") from error


def model_files(folder: Path, backend: str, precision: str) -> list[Path]:
    """The files that decide what the model in `folder` answers."""
    return sorted({path for pattern in (*MODEL_FILES, *_weights(backend, precision)) for path in folder.glob(pattern)})


def _load_encoder(name: str, folder: Path, device: str | torch.device, precision: str) -> EncoderClassifier:
    tokenizer = load_tokenizer(str(folder))
    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except Exception as error:  # missing, truncated or foreign weights: each library has its own exception
        raise _unloadable(name, error) from error
    _check(name, model.config)
    return EncoderClassifier(model.to(device), tokenizer, precision)


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
