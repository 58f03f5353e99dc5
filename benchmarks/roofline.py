"""How far inference is from what one core of this machine can do, and where the rest of the time goes.

    python -m benchmarks.roofline outputs/minilm [--texts 4096] [--repeats 3]

For models with layers like BERT's, on GoEmotions' validation comments (GOEMOTIONS_DIR names a local copy; otherwise the
Hub's). One thread; times are those for which the core worked, so that other programs count less, and the best of the
repeats. Peaks are the fastest of products in the model's own shapes, with operands that are ready: what no way of
computing the same products exceeds. An operation is an addition or a multiplication. A way's operations are those that
the model asks for, with padding where it pads: products with weights and of attention, of the last layer only what the
first token needs.
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cpu_seconds import texts_per_second
from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser
from utils.console import InputError, one_sentence_errors
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table
from utils.model.classifiers import BatchedClassifier, OnnxClassifier, load_classifier, load_encoder, padded_batches
from utils.run_folder import ONNX_FILES, RunFolder

TOKENS = (256, 1024)  # rows of the products that are timed: tokens of a batch
PATHS = {  # name: backend, precision, the peak that it is held against
    "torch fp32": ("torch", "fp32", "fp32"),
    "torch bf16": ("torch", "bf16", "bf16"),
    "onnx fp32": ("onnx", "fp32", "fp32"),
    "onnx int8": ("onnx", "int8", "int8"),
}
TORCH_PARTS = {
    "products with weights": ("addmm", "mm", "linear", "mkldnn_linear"),
    "attention": ("scaled_dot_product", "softmax", "bmm", "baddbmm", "matmul"),
    "GELU, normalisation, tanh": ("gelu", "layer_norm", "tanh", "add"),
    "embeddings": ("embedding", "index_select"),
}
ONNX_PARTS = {
    "products with weights": ("MatMulInteger", "MatMul"),
    "quantising, scaling back": (
        "QuantizeLinear", "DequantizeLinear", "ReduceMin", "ReduceMax", "Mul", "Sub", "Pad", "Gemm", "Max", "Cast",
    ),
    "GELU, normalisation, tanh": ("Gelu", "BiasGelu", "LayerNorm", "Tanh", "FusedGemm", "Add"),
    "embeddings": ("Gather",),
}  # fmt: skip


def fastest(action: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the fastest call."""
    action()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        action()
        times.append(time.process_time() - started)
    return min(times)


def peaks(width: int, inner: int, repeats: int) -> dict[str, float]:
    """Operations a second in matrix products of fp32, bf16 and int8, and bytes a second that are read and written."""
    rates: dict[str, list[float]] = {"fp32": [], "bf16": [], "int8": []}
    for tokens in TOKENS:
        for rows, columns in ((width, width), (width, inner), (inner, width)):
            operations = 20 * 2 * tokens * rows * columns
            for kind, product in products(tokens, rows, columns).items():
                rates[kind].append(operations / fastest(lambda p=product: [p() for _ in range(20)], repeats))
    source, target = torch.ones(1 << 26), torch.empty(1 << 26)  # 256 MB each: beyond the caches
    copied = 2 * source.nbytes / fastest(lambda: target.copy_(source), repeats)
    return {**{kind: max(found) for kind, found in rates.items()}, "memory": copied}


def products(tokens: int, rows: int, columns: int) -> dict[str, Callable[[], object]]:
    """Products of (tokens, rows) by (rows, columns); of int8 by torch, whose library is oneDNN as for bf16."""
    given, weights = torch.randn(tokens, rows), torch.randn(columns, rows)
    narrow, narrow_weights = given.bfloat16(), weights.bfloat16()
    integers = torch.randint(-127, 127, (tokens, rows), dtype=torch.int8)
    integer_weights = torch.randint(-127, 127, (columns, rows), dtype=torch.int8).T
    return {
        "fp32": lambda: torch.nn.functional.linear(given, weights),
        "bf16": lambda: torch.nn.functional.linear(narrow, narrow_weights),
        "int8": lambda: torch._int_mm(integers, integer_weights),
    }


def operations(config: Any, shapes: list[tuple[int, int]]) -> float:
    """Of all batches, given their (texts, tokens)."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    every, keys = 4 * width**2 + 2 * width * inner, 2 * width**2
    total = 0.0
    for texts, tokens in shapes:
        weighted = tokens * ((layers - 1) * every + keys) + every - keys
        attended = 2 * width * tokens * ((layers - 1) * tokens + 1)
        total += 2 * texts * (weighted + attended)
    return total


def torch_profile(classifier: BatchedClassifier, encoded: Mapping[str, Any]) -> Counter[str]:
    """CPU seconds by part; what the profiler does not see is not among them."""
    batches = [batch for _, batch in padded_batches(encoded, classifier.tokenizer, classifier.batch_tokens)]
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        for batch in batches:
            classifier._logits(batch)
    return parts({event.key: event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}, TORCH_PARTS)


def onnx_profile(file: Path, classifier: OnnxClassifier, encoded: Mapping[str, Any]) -> Counter[str]:
    """The same of ONNX Runtime. What works on four axes is attention."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling = 1, True
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
        )
        for _, batch in padded_batches(encoded, classifier.tokenizer, classifier.batch_tokens):
            session.run(["logits"], {name: batch[name] for name in classifier.inputs})
        events = json.loads(Path(session.end_profiling()).read_text())
    seconds: Counter[str] = Counter()
    for event in events:
        if event["name"].endswith("_kernel_time"):
            shapes = [shape for tensor in event["args"]["input_type_shape"] for shape in tensor.values()]
            attends = any(len(shape) == 4 for shape in shapes)
            seconds["attention" if attends else event["args"]["op_name"]] += event["dur"] / 1e6
    return parts(seconds, {"attention": ("attention",), **ONNX_PARTS})


def parts(seconds: Mapping[str, float], names: Mapping[str, tuple[str, ...]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for operation, spent in seconds.items():
        plain = operation.removeprefix("aten::").removeprefix("_").removeprefix("native_")
        fitting = [part for part, starts in names.items() if plain.startswith(starts)]
        exact = [part for part, starts in names.items() if plain in starts]
        found[(exact or fitting or ["moving data, and the rest"])[0]] += spent
    return found


def main(run: RunFolder, texts: int, repeats: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    comments = list(load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["validation"]["text"])
    comments = comments[:texts]
    config = load_encoder(run).model.config
    if not all(hasattr(config, name) for name in ("hidden_size", "intermediate_size", "num_hidden_layers")):
        raise InputError(f"{run} holds a {config.model_type}; models with layers like BERT's are counted.")
    limits = peaks(config.hidden_size, config.intermediate_size, repeats)
    print(f"One core: {limits['fp32'] / 1e9:,.0f} GFLOP/s fp32, {limits['bf16'] / 1e9:,.0f} bf16, "
          f"{limits['int8'] / 1e9:,.0f} GOP/s int8; {limits['memory'] / 1e9:.1f} GB/s copied.\n")  # fmt: skip
    lines, spent = [], {}
    for name, (backend, precision, peak) in PATHS.items():
        classifier, _ = load_classifier(run.path, "cpu", backend, precision)
        assert isinstance(classifier, BatchedClassifier)
        encoded = classifier.encode(comments)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        batches = [batch["attention_mask"].shape
                   for _, batch in padded_batches(encoded, classifier.tokenizer, classifier.batch_tokens)]  # fmt: skip
        asked = operations(config, batches) / len(comments)
        rate = max(texts_per_second(classifier, comments) for _ in range(repeats))
        encoding = fastest(lambda c=classifier: c.encode(comments), repeats) * rate / len(comments)
        if isinstance(classifier, OnnxClassifier):
            seconds = onnx_profile(run.path / ONNX_FILES[precision], classifier, encoded)
        else:
            seconds = torch_profile(classifier, encoded)
        weights = config.num_hidden_layers * (4 * config.hidden_size + 2 * config.intermediate_size)
        size = weights * config.hidden_size * {"fp32": 4, "bf16": 2, "int8": 1}[precision]
        padded = sum(rows * tokens for rows, tokens in batches)
        lines.append(
            [name, f"{rate:,.0f}", f"{asked / 1e9:.3f}", f"{asked * rate / 1e9:,.0f}",
             f"{asked * rate / limits[peak]:.0%}", f"{limits[peak] / asked:,.0f}",
             f"{size * len(batches) / len(comments) / 1e6:.2f}", f"{padded / sum(lengths) - 1:.1%}", f"{encoding:.1%}"]
        )  # fmt: skip
        whole = sum(seconds.values())
        spent[name] = {part: value / whole for part, value in seconds.items()}
    header = ["path", "texts/s", "GOP a text", "GOP/s", "of the peak", "texts/s at the peak", "MB of weights a text",
              "padding", "tokenising, of the time"]  # fmt: skip
    print(f"{len(comments):,} comments, {np.mean(lengths):.1f} tokens each\n\n{markdown_table(header, lines)}\n")
    rows = list(dict.fromkeys(part for found in spent.values() for part in found))
    shares = [[part, *(f"{found.get(part, 0):.0%}" for found in spent.values())] for part in rows]
    print(markdown_table(["of the time in operations", *spent], shares))


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=RunFolder, metavar="OUTPUT_DIR")
    parser.add_argument("--texts", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
