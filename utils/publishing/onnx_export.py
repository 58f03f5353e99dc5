"""A run's model as ONNX files, in the layout that transformers.js and optimum look for.

`onnx/model.onnx` is the fp32 model, `onnx/model_quantized.onnx` the same with int8 weights (`quantisation`), and
`onnx/export.json` what both cost, measured on validation texts. The files are made from the run's model as it is,
folded thresholds included, and belong to it: what changes the model removes them, or brings new ones with it.
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
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError
from utils.evaluation.thresholds import decide, micro_and_macro_f1
from utils.model.classifiers import EncoderClassifier, OnnxClassifier, load_encoder
from utils.model.folding import folded_thresholds
from utils.model.integrity import identity
from utils.run_folder import EXPORT_FILE, ONNX_FILES, THRESHOLDS_FILE, RunFolder, write_json

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MAX_BYTES = 2_000_000_000  # one protobuf message, and so one .onnx file, holds no more than 2 GiB
TOLERANCE = 1e-4  # of fp32 probabilities; beyond it the export is wrong, not rounded
COMPARED_ROWS = 200  # texts on which fp32 is held against torch
COMPARED_AT_MOST = 10_000  # texts on which int8 is held against fp32


def export_onnx(run: RunFolder) -> dict[str, float]:
    """Write the ONNX files of a finished run; older ones are replaced when the new ones are whole.

    Returns and raises as `write_onnx`.
    """
    classifier = load_encoder(run)
    with run.change() as folder:
        return write_onnx(run, classifier, folder)


def write_onnx(run: RunFolder, classifier: EncoderClassifier, folder: Path) -> dict[str, float]:
    """Write the ONNX files of `classifier`, which is the model of `run`, below `folder`.

    Returns what onnx/export.json holds: `fp32_mb` and `int8_mb` (file sizes in 10⁶ bytes), `fp32_max_difference` (of
    probabilities, from torch's, over 200 validation texts), `f1_micro` and `int8_f1_micro` (on `rows` validation texts,
    at the model's thresholds), `int8_changed_rows` (share of these texts to which int8 gives other labels, one or more,
    in [0, 1]).

    Raises:
        InputError: the packages are missing, or the exporter does not carry this model; nothing is left in `folder`.
    """
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; `pip install -r "
            "requirements-onnx.txt` brings what the export needs."
        )
    fp32, int8 = folder / ONNX_FILES["fp32"], folder / ONNX_FILES["int8"]
    fp32.parent.mkdir()
    try:
        with _quiet():
            _write_fp32(classifier.model, classifier.tokenizer, fp32)
            _write_int8(fp32, int8)
        figures = {"fp32_mb": fp32.stat().st_size / 1e6, "int8_mb": int8.stat().st_size / 1e6}
        figures |= _compare(run, classifier, fp32, int8)
        write_json(folder / EXPORT_FILE, figures)
    except BaseException:
        shutil.rmtree(fp32.parent)
        raise
    return figures


def summary(figures: dict[str, float]) -> str:
    """The figures of an export in one line."""
    return (
        f"ONNX: fp32 {figures['fp32_mb']:.1f} MB (probabilities within {figures['fp32_max_difference']:.0e} of "
        f"torch's), int8 {figures['int8_mb']:.1f} MB (micro-F1 on validation {figures['int8_f1_micro']:.4f}, fp32 "
        f"{figures['f1_micro']:.4f}; {figures['int8_changed_rows']:.2%} of the texts get other labels)"
    )


def _write_fp32(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """The model with the inputs that its tokenizer makes, any number of texts and any length."""
    from onnxscript import ir

    from utils.publishing.first_token import compute_first_token_only

    if 4 * model.num_parameters() > MAX_BYTES:
        raise InputError(f"the model has {4 * model.num_parameters() / 1e9:.1f} GB; one ONNX file holds 2.")
    example = dict(tokenizer(["a comment to trace", "another"], padding=True, return_tensors="pt"))
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the mask of the sdpa path makes a graph that is a tenth slower
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
    finally:
        model.set_attn_implementation(attention)
    if program is None:
        raise InputError(f"torch's exporter returned nothing for {type(model).__name__}.")
    compute_first_token_only(program.model)
    # The exporter notes a stack trace at each node: this machine's paths, which are nobody else's business.
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    program.model.metadata_props.update(identity(model))
    program.save(path, external_data=False)


def _write_int8(fp32: Path, int8: Path) -> None:
    from onnxscript import ir

    from utils.publishing.quantisation import quantise

    model = ir.load(fp32)
    quantise(model)
    ir.save(model, int8)


def _compare(run: RunFolder, classifier: EncoderClassifier, fp32: Path, int8: Path) -> dict[str, float]:
    _, (texts, gold, probabilities) = run.read_predictions("validation")
    exported = OnnxClassifier(fp32, classifier.tokenizer, classifier.model.config)
    some = texts[:COMPARED_ROWS]
    difference = float(np.abs(exported.predict(some) - classifier.predict(some)).max())
    if not difference < TOLERANCE:
        raise InputError(f"the exported model's probabilities are off by up to {difference:.1g}.")

    step = -(-len(texts) // COMPARED_AT_MOST)
    gold = gold[::step]
    # Predictions are those of the unfolded model, to be held against the thresholds that it was folded with.
    thresholds = np.array(list(run.read(THRESHOLDS_FILE)["thresholds"].values()))
    decided = decide(probabilities[::step], thresholds)
    quantised = OnnxClassifier(int8, classifier.tokenizer, classifier.model.config).predict(texts[::step])
    is_folded = folded_thresholds(classifier.model.config) is not None
    decided_int8 = decide(quantised, np.full(len(thresholds), 0.5) if is_folded else thresholds)
    return {
        "fp32_max_difference": difference,
        "f1_micro": micro_and_macro_f1(gold, decided)["f1_micro"],
        "int8_f1_micro": micro_and_macro_f1(gold, decided_int8)["f1_micro"],
        "int8_changed_rows": float((decided != decided_int8).any(axis=1).mean()),
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
