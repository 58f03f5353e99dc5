"""A run's model as ONNX files, in the layout that transformers.js and optimum look for.

`onnx/model.onnx` is the fp32 model, `onnx/model_quantized.onnx` the same with int8 weights (dynamic quantisation), and
`onnx/export.json` what both cost, measured on validation texts. The files are made from the saved model as it is,
folded thresholds included, and belong to it: what changes the saved model removes them (see `remove_onnx`).
"""

import importlib.util
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from utils.classifiers import ONNX_FILES, EncoderClassifier, OnnxClassifier, load_classifier
from utils.console import InputError, say
from utils.results import THRESHOLDS_FILE, read_json, read_predictions, write_json
from utils.thresholds import decide

ONNX_FOLDER = "onnx"
UNFINISHED = "onnx.unfinished"  # renamed when all is in it: nobody ever finds half of an export
EXPORT_FILE = "export.json"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MAX_BYTES = 2_000_000_000  # one protobuf message, and so one .onnx file, holds no more than 2 GiB
TOLERANCE = 1e-4  # of fp32 probabilities; beyond it the export is wrong, not rounded
COMPARED_ROWS = 200  # texts on which fp32 is held against torch
JUDGED_ROWS = 10_000  # texts, at most, on which int8 is held against fp32


def export_onnx(run_dir: Path) -> dict[str, float]:
    """Write the ONNX files of a finished run; returns what onnx/export.json holds.

    Its keys: `fp32_mb` and `int8_mb` (file sizes in 10⁶ bytes), `fp32_max_difference` (of probabilities, from torch's,
    over 200 validation texts), `f1_micro` and `int8_f1_micro` (on `rows` validation texts, at the model's thresholds),
    `int8_changed_decisions` (share of all decisions, one per text and label, that int8 takes otherwise, in [0, 1]).

    Raises:
        InputError: the packages are missing, or the exporter does not carry this model; no ONNX file is left then.
    """
    remove_onnx(run_dir)
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; `pip install -r "
            "requirements-onnx.txt` brings what the export needs."
        )
    classifier, thresholds = load_classifier(str(run_dir))
    if not isinstance(classifier, EncoderClassifier):
        raise InputError(f"{run_dir} holds a baseline; only encoders are exported.")
    folder = run_dir / UNFINISHED
    fp32, int8 = (folder / Path(ONNX_FILES[precision]).name for precision in ("fp32", "int8"))
    folder.mkdir()
    try:
        with _quiet():
            _write_fp32(run_dir, classifier.tokenizer, fp32)
            _write_int8(fp32, int8)
        figures = {"fp32_mb": fp32.stat().st_size / 1e6, "int8_mb": int8.stat().st_size / 1e6}
        figures |= _compare(run_dir, classifier, thresholds, fp32, int8)
        write_json(folder / EXPORT_FILE, figures)
        folder.rename(run_dir / ONNX_FOLDER)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def export_if_possible(run_dir: Path) -> None:
    """`export_onnx`, and one line about it; also where ONNX has to be left out."""
    try:
        say(summary(export_onnx(run_dir)))
    except InputError as error:
        say(f"ONNX was left out: {error}")


def summary(figures: dict[str, float]) -> str:
    """The figures of an export in one line."""
    return (
        f"ONNX: fp32 {figures['fp32_mb']:.1f} MB (probabilities within {figures['fp32_max_difference']:.0e} of "
        f"torch's), int8 {figures['int8_mb']:.1f} MB (micro-F1 on validation {figures['int8_f1_micro']:.4f}, fp32 "
        f"{figures['f1_micro']:.4f}; {figures['int8_changed_decisions']:.2%} of the decisions changed)"
    )


def remove_onnx(run_dir: Path) -> None:
    """Remove a run's ONNX files: the saved model changes, and files made from another one must never be published."""
    for name in (ONNX_FOLDER, UNFINISHED):
        if (run_dir / name).is_dir():
            shutil.rmtree(run_dir / name)


def _write_fp32(run_dir: Path, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """The saved model with the inputs that its tokenizer makes, any number of texts and any length."""
    from onnxscript import ir

    from utils.first_token import compute_first_token_only

    # Eager attention: the mask of the sdpa path makes a graph that is a tenth slower.
    model = AutoModelForSequenceClassification.from_pretrained(
        run_dir, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    if 4 * model.num_parameters() > MAX_BYTES:
        raise InputError(f"the model has {4 * model.num_parameters() / 1e9:.1f} GB; one ONNX file holds 2.")
    example = dict(tokenizer(["a comment to trace", "another"], padding=True, return_tensors="pt"))
    try:
        program = torch.onnx.export(
            model,
            kwargs=example,
            input_names=list(example),
            output_names=["logits"],
            dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in example},
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(f"torch's exporter does not carry {type(model).__name__} ({reason}).") from error
    compute_first_token_only(program.model)
    # The exporter notes a stack trace at each node: this machine's paths, which are nobody else's business.
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    program.save(path, external_data=False)


def _write_int8(fp32: Path, int8: Path) -> None:
    """Weights of the encoder and embeddings as int8, with a scale a channel; activations are quantised as they come.

    The weights use 7 bits: the 8-bit kernels of CPUs without VNNI saturate, and a published model meets such CPUs. The
    classifier stays in fp32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(fp32, int8, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def _compare(
    run_dir: Path, classifier: EncoderClassifier, thresholds: np.ndarray, fp32: Path, int8: Path
) -> dict[str, float]:
    _, (texts, gold, probabilities) = read_predictions(run_dir, "eval")
    exported = OnnxClassifier(fp32, classifier.tokenizer, classifier.labels)
    some = texts[:COMPARED_ROWS]
    difference = float(np.abs(exported.predict(some) - classifier.predict(some)).max())
    if not difference < TOLERANCE:
        raise InputError(f"the exported model's probabilities are off by up to {difference:.1g}.")

    step = -(-len(texts) // JUDGED_ROWS)
    # Predictions are those of the unfolded model, to be cut at the thresholds that it was folded with.
    stored = read_json(run_dir / THRESHOLDS_FILE)["thresholds"]
    decided = decide(probabilities[::step], np.array(list(stored.values())))
    quantised = OnnxClassifier(int8, classifier.tokenizer, classifier.labels)
    decided_int8 = decide(quantised.predict(texts[::step]), thresholds)
    gold = gold[::step]
    return {
        "fp32_max_difference": difference,
        "f1_micro": float(f1_score(gold, decided, average="micro", zero_division=0)),
        "int8_f1_micro": float(f1_score(gold, decided_int8, average="micro", zero_division=0)),
        "int8_changed_decisions": float((decided != decided_int8).mean()),
        "rows": len(gold),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of exporter and quantiser, which speak to their developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
