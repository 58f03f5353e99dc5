"""Classifiers from a folder or the Hub: texts → probabilities, with a fine-tuned encoder or the published baseline."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy.special import expit
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError
from utils.hub_client import limit_waiting, reason
from utils.machine import bf16_pays
from utils.model import integrity
from utils.model.folding import folded_thresholds, stored_thresholds
from utils.model.head import label_list, output_layer
from utils.model.last_layer import compute_first_token_only
from utils.model.loading import know_padding, load_saved_model, load_tokenizer, read_config, unloadable
from utils.progress import OnRows, no_progress
from utils.run_folder import BASELINE_FILE, CONFIG_FILE, ONNX_FILES, THRESHOLDS_FILE, RunFolder, files_to_load

# Tokens of a batch, padding included. On CPUs the activations of more no longer fit the caches: 1,024 to 4,096 are
# within a tenth of each other, 16,384 are a third slower. A GPU is idle between small batches.
CPU_TOKENS, GPU_TOKENS = 2048, 16384
ONNX_TOKENS = 256  # of one thread's batch: what it computes then fits the cache of its core
TOKENIZER_FILES = ("tokenizer*", "vocab.*", "*.model", "*.codes", "*.jinja")  # of models that others have published


class Classifier(Protocol):
    """What answers texts with probabilities: a fine-tuned encoder, its ONNX files, or the baseline."""

    labels: list[str]
    folded: np.ndarray | None  # the thresholds that are folded into its answers, one per label; None: none are

    def predict(self, texts: Sequence[str], progress: OnRows = ...) -> np.ndarray:
        """Probabilities, float32 of shape (texts, labels), in the order of `texts`.

        `progress` is called with the number of texts of each finished batch.
        """
        ...

    def encode(self, texts: Sequence[str]) -> Any:
        """What `probabilities` takes: the first half of `predict`, which can be done ahead."""
        ...

    def probabilities(self, encoded: Any, progress: OnRows = ...) -> np.ndarray:
        """The second half of `predict`."""
        ...


class BatchedClassifier(ABC):
    """Token ids in, sigmoids in fp32 out: each thread computes batches of its own.

    On a CPU, sharing every batch among all threads would make them wait for each other after each of its few hundred
    operations.
    """

    labels: list[str]
    folded: np.ndarray | None
    tokenizer: PreTrainedTokenizerBase
    batch_tokens: int
    threads: int

    def predict(self, texts: Sequence[str], progress: OnRows = no_progress) -> np.ndarray:
        """See `Classifier`. Longer texts than the model reads are cut."""
        return self.probabilities(self.encode(texts), progress)

    def encode(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Token ids, and what else the model reads of each token, unpadded."""
        limit = self.tokenizer.model_max_length
        return dict(self.tokenizer(list(texts), truncation=True, max_length=limit, return_attention_mask=False))

    def probabilities(self, encoded: Mapping[str, list[list[int]]], progress: OnRows = no_progress) -> np.ndarray:
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

    @abstractmethod
    def _logits(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 of shape (rows, labels) for a padded batch."""


class EncoderClassifier(BatchedClassifier):
    """A fine-tuned encoder, whatever precision it was trained in.

    With `precision` bf16 the encoder computes in bf16. Its output layer stays in fp32: it costs nothing, and logits
    with the eight significant bits of bf16 would make equal scores of different ones.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, precision: str = "fp32"):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.labels, self.folded = label_list(model.config), folded_thresholds(model.config)
        if model.config.get_text_config().pad_token_id is None:
            know_padding(type(model).__name__, model.config, tokenizer)
        self._suit_device()
        if precision == "bf16":
            model.bfloat16()
            output_layer(model).float().register_forward_pre_hook(lambda layer, inputs: (inputs[0].float(),))

    def to(self, device: str | torch.device) -> "EncoderClassifier":
        """Move the model to another device, with the batches that suit it."""
        model: Any = self.model  # whose `to` is wrapped in a way that hides its types
        model.to(device)
        self._suit_device()
        return self

    def _suit_device(self) -> None:
        on_cpu = self.model.device.type == "cpu"
        self.batch_tokens, self.threads = (CPU_TOKENS, torch.get_num_threads()) if on_cpu else (GPU_TOKENS, 1)

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
        longest = max(1, lengths[order[start]])  # a comment need not have a token
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


class OnnxClassifier(BatchedClassifier):
    """A fine-tuned encoder as `utils.publishing.onnx_export` writes it, run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig):
        import onnxruntime  # not among the packages that training needs

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # see BatchedClassifier
        # Its fused kernel for residual and normalisation takes four times as long as the two apart.
        unfused = {"disabled_optimizers": ["SkipLayerNormFusion"]}
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], **unfused)
        self.inputs = [item.name for item in self.session.get_inputs()]
        integrity.require_identity(
            str(path),
            path.parent.parent,
            config,
            self.session.get_modelmeta().custom_metadata_map,
            self.session.get_outputs()[0].shape[-1],
        )
        if unknown := set(self.inputs) - {*tokenizer.model_input_names, "attention_mask"}:
            raise InputError(
                f"{path} asks for {', '.join(sorted(unknown))}, which the model's tokenizer does not make."
            )
        self.tokenizer, self.labels, self.folded = tokenizer, label_list(config), folded_thresholds(config)
        self.batch_tokens, self.threads = ONNX_TOKENS, torch.get_num_threads()

    def _logits(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        (logits,) = self.session.run(["logits"], {name: batch[name] for name in self.inputs})
        return logits


def load_classifier(
    name: str | Path,
    device: str | torch.device = "cpu",
    backend: str = "torch",
    precision: str = "fp32",
    trust_remote_code: bool = False,
) -> tuple[Classifier, np.ndarray]:
    """The classifier in a folder or on the Hub, and its thresholds: one per label, 0.5 where it has none of its own.

    Args:
        name: a folder, or a model id on the Hub.
        device: where torch computes; ONNX Runtime always takes the CPU.
        backend: `torch`, or `onnx` for the files that `utils.publishing.onnx_export` writes.
        precision: see `settle_precision`.
        trust_remote_code: see `utils.model.loading.read_config`; for the run of a training that was asked to.

    Raises:
        InputError: there is no such model, it does not classify with several labels, or its files contradict each
            other.
    """
    return _load_whole(name, device, backend, precision, trust_remote_code, to_answer=True)


def _load_whole(
    name: str | Path, device: str | torch.device, backend: str, precision: str, trust_remote_code: bool, to_answer: bool
) -> tuple[Classifier, np.ndarray]:
    precision = settle_precision(precision, backend, on_cpu=torch.device(device).type == "cpu")
    folder = model_folder(str(name), backend, precision)
    while True:
        state = RunFolder(folder).state()
        loaded = _load(str(name), folder, device, backend, precision, trust_remote_code, to_answer)
        if RunFolder(folder).state() == state:  # else the model was changed while its files were read
            return loaded


def _load(
    name: str,
    folder: Path,
    device: str | torch.device,
    backend: str,
    precision: str,
    trust_remote_code: bool,
    to_answer: bool,
) -> tuple[Classifier, np.ndarray]:
    classifier: Classifier
    if (folder / BASELINE_FILE).is_file():
        stored = stored_thresholds(name, folder, None)
        if not stored:
            raise InputError(f"{name} has a {BASELINE_FILE} but no {THRESHOLDS_FILE}, which names its labels.")
        if backend == "onnx":
            raise InputError(f"{name} is a baseline; --backend onnx is for encoders.")
        from utils.model.baseline import BaselineClassifier  # scikit-learn and skops take seconds to import

        classifier = BaselineClassifier(str(folder / BASELINE_FILE), list(stored))
    elif not (folder / CONFIG_FILE).is_file():
        raise InputError(f"{name} holds no model: {CONFIG_FILE} or {BASELINE_FILE} is looked for.")
    else:
        config = _multilabel_config(name, folder, trust_remote_code)
        stored = stored_thresholds(name, folder, config)
        if backend == "onnx":
            classifier = _load_onnx(name, folder, ONNX_FILES[precision], config)
        else:
            tokenizer = load_tokenizer(str(folder), trust_remote_code)
            model = load_saved_model(name, folder, trust_remote_code)
            if to_answer:
                compute_first_token_only(model)
            classifier = EncoderClassifier(model, tokenizer, precision).to(device)
    return classifier, np.array([stored.get(label, 0.5) for label in classifier.labels])


def load_encoder(
    run: RunFolder, device: str | torch.device = "cpu", trust_remote_code: bool = False
) -> EncoderClassifier:
    """The encoder that a run has saved, in fp32, and every token of its last layer; see `load_classifier`."""
    classifier, _ = _load_whole(run.path, device, "torch", "fp32", trust_remote_code, to_answer=False)
    if not isinstance(classifier, EncoderClassifier):
        raise InputError(f"{run} holds a baseline; only encoders are exported or folded.")
    return classifier


def compute_device(use_cpu: bool) -> str:
    """Where torch computes: the first GPU, NVIDIA's or AMD's kind or Apple's, where there is one and it may be used."""
    if use_cpu:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


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
            f"--precision {precision} is not available with --backend {backend}; accepted: {', '.join(accepted)}."
        )
    return precision


def model_folder(name: str, backend: str = "torch", precision: str = "fp32", revision: str | None = None) -> Path:
    """The folder itself, or the Hub's files in the cache: fetched in one go, so that there is one way to fail."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        RunFolder(folder).settle()
        return folder
    if name.startswith((".", "/", "~")):
        raise InputError(f"--model {name}: there is no such folder; give a folder or a model id on the Hub.")
    from huggingface_hub import snapshot_download

    limit_waiting()
    try:
        patterns = [*files_to_load(backend, precision), *TOKENIZER_FILES]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # not found, private, no network, malformed: the sentence carries the client's reason
        raise InputError(f"Model {name} is neither a folder nor available from the Hub ({reason(error)}).") from error


def model_files(folder: Path, backend: str, precision: str) -> list[Path]:
    """The files that decide what the model in `folder` answers."""
    return sorted({path for pattern in files_to_load(backend, precision) for path in folder.glob(pattern)})


def _multilabel_config(name: str, folder: Path, trust_remote_code: bool) -> PretrainedConfig:
    config = read_config(name, folder, trust_remote_code=trust_remote_code)
    integrity.require_labels(name, config)
    if not any("ForSequenceClassification" in kind for kind in config.architectures or []):
        raise InputError(f"{name} is an encoder without a classifier; run_finetune.py makes one from it.")
    if config.problem_type in ("single_label_classification", "regression"):
        raise InputError(f"{name} was trained for {config.problem_type}; a multi-label classifier is needed.")
    return config


def _load_onnx(name: str, folder: Path, file: str, config: PretrainedConfig) -> OnnxClassifier:
    if importlib.util.find_spec("onnxruntime") is None:
        raise InputError("--backend onnx needs ONNX Runtime: pip install -r requirements-onnx.txt.")
    if not (folder / file).is_file():
        others = [f"--precision {kind}" for kind, other in ONNX_FILES.items() if (folder / other).is_file()]
        raise InputError(
            f"{name} has no {file}; "
            + (f"use {others[0]}." if others else "`python run_export.py OUTPUT_DIR` makes it in a run's folder.")
        )
    try:
        return OnnxClassifier(folder / file, load_tokenizer(str(folder)), config)
    except InputError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise unloadable(f"{name}/{file}", error) from error
