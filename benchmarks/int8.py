"""Ways to a smaller ONNX file: how far its answers are from fp32's and from its own in other batches, size and speed.

    python -m benchmarks.int8 outputs/minilm [--repeats 5]

All files are made from the run's onnx/model.onnx and answer GoEmotions' validation comments (GOEMOTIONS_DIR names a
local copy; otherwise they are the Hub's), sorted by length in batches as run_inference.py has them. A comment counts as
changed when any of its labels is decided otherwise, at the model's own thresholds: than in fp32, or, for the first
1,000 comments, alone than in such a batch. One thread, alternating; time is that for which the core worked, tokenising
included, and the ratio is the median of those of the single repeats.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.cpu_seconds import texts_per_second
from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.data.labels import multi_hot
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, micro_and_macro_f1
from utils.model.classifiers import OnnxClassifier, load_classifier, load_encoder
from utils.publishing.onnx_export import _quiet, _write_int8
from utils.run_folder import ONNX_FILES, RunFolder

ALONE = TIMED = 1000  # comments


def dynamic(fp32: Path, to: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(fp32, to, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def blocks(fp32: Path, to: Path) -> None:
    # Brings a `metrics` of its own into the path: not before the project's is imported.
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        str(fp32), bits=8, block_size=32, accuracy_level=4, is_symmetric=True, op_types_to_quantize=("MatMul",)
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(to))


def weights_only(fp32: Path, to: Path) -> None:
    with patch("utils.publishing.quantisation._is_one_row_per_token", lambda value: False):
        _write_int8(fp32, to)


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "dynamic, a scale for each batch (`quantize_dynamic`)": dynamic,
    "8 bits in blocks of 32 (`MatMulNBits`, accuracy_level 4; embeddings fp32)": blocks,
    "weights only": weights_only,
    "**a scale for each token (`utils/publishing/quantisation.py`)**": _write_int8,
}


def main(run: RunFolder, repeats: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    split = load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["validation"]
    texts = list(split["text"])
    reference, thresholds = load_classifier(run.path, backend="onnx", precision="fp32")
    assert isinstance(reference, OnnxClassifier)
    gold = multi_hot(split["labels"], len(reference.labels))
    fp32 = run.path / ONNX_FILES["fp32"]
    files, sizes = {"fp32": reference}, {"fp32": fp32.stat().st_size}
    config = load_encoder(run).model.config
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, write) in enumerate(WAYS.items()):
            path = Path(folder) / f"{number}.onnx"
            with _quiet():
                write(fp32, path)
            sizes[name] = path.stat().st_size
            files[name] = OnnxClassifier(path, reference.tokenizer, config)
    answers = {name: file.predict(texts) for name, file in files.items()}
    rates = np.array([[texts_per_second(file, texts[:TIMED]) for file in files.values()] for _ in range(repeats)])
    lines = []
    for place, (name, file) in enumerate(files.items()):
        found, decided = answers[name], decide(answers[name], thresholds)
        alone = np.concatenate([file.predict([text]) for text in texts[:ALONE]])
        by_itself = (decide(alone, thresholds) != decided[:ALONE]).any(axis=1).mean()
        from_fp32 = (decided != decide(answers["fp32"], thresholds)).any(axis=1).mean()
        scores = micro_and_macro_f1(gold, decided)
        lines.append(
            [name, f"{sizes[name] / 1e6:.1f}", f"{from_fp32:.2%}", f"{scores['f1_micro']:.4f}",
             f"{scores['f1_macro']:.4f}", f"{by_itself:.2%}", f"{np.abs(alone - found[:ALONE]).max():.0e}",
             f"{np.median(rates[:, place]):,.0f}", f"{np.median(rates[:, place] / rates[:, 0]):.2f}"]
        )  # fmt: skip
    header = ["file", "MB", "changed against fp32", "micro-F1", "macro-F1", "changed alone against in a batch",
              "largest difference of a probability", "texts/s", "× fp32"]  # fmt: skip
    print(f"{len(texts):,} validation texts, {repeats} repeats\n\n{markdown_table(header, lines)}")


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=RunFolder, metavar="OUTPUT_DIR")
    parser.add_argument("--repeats", type=int, default=5)
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
