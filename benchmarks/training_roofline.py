"""Where the time of a training step goes: the machine's limits, the operations of a step, and what share is reached.

    python -m benchmarks.training_roofline

Measured on this machine: the rate of large matrix products in fp32 and bf16 and that of copying memory, then our
training (MiniLM, batches of 32 of GoEmotions' comments; GOEMOTIONS_DIR, or the Hub's dataset) as
benchmarks/training_speed.py has it, without and with a profiler, and its floating-point operations, counted.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_speed import train
from utils.console import one_sentence_errors, say
from utils.evaluation.report import markdown_table
from utils.machine import bf16_pays

KINDS = {  # what an operation is for, by the beginning of its name; the first that fits
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "dropout": ("aten::bernoulli_", "aten::native_dropout", "aten::random_", "aten::div_"),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::clone"),
    "optimizer": ("aten::_fused_adamw_", "Optimizer."),
    "norm of the gradient": ("aten::linalg_vector_norm", "aten::_foreach_norm", "aten::_foreach_mul_"),
    "gradients set to zero": ("aten::fill_", "aten::zero_"),
    "embeddings": ("aten::embedding", "aten::index", "aten::embedding_dense_backward"),
    "GELU": ("aten::gelu",),
    "softmax": ("aten::_softmax", "aten::softmax"),
    "normalisation": ("aten::native_layer_norm",),
    "batches": ("enumerate(DataLoader)",),
}


def best(call: Callable[[], object], seconds: float = 2.0) -> float:
    """Seconds of the fastest of many calls."""
    call()
    fastest, begun = float("inf"), time.perf_counter()
    while time.perf_counter() < begun + seconds:
        started = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - started)
    return fastest


def matrix_peak(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per second of a square matrix product."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / best(lambda: left @ right)


def bandwidth(size: int = 2**26) -> float:
    """Bytes per second, read and written, of copying `size` floats."""
    source, target = torch.zeros(size), torch.zeros(size)
    return 8 * size / best(lambda: target.copy_(source))


def shares(events: list) -> dict[str, float]:
    """What part of the operations' own time each kind has."""
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        kind = next((kind for kind, names in KINDS.items() if event.key.startswith(names)), "all else")
        spent[kind] += event.self_cpu_time_total
    return {kind: value / sum(spent.values()) for kind, value in sorted(spent.items(), key=lambda item: -item[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=640)
    args = parser.parse_args()
    peaks = {"fp32": matrix_peak(torch.float32), "bf16": matrix_peak(torch.bfloat16)}
    precision = "bf16" if bf16_pays(use_cpu=True) else "fp32"
    train("ours", args.rows, 0, precision)  # whatever is done once
    seconds = train("ours", args.rows, 0, precision)[0]
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train("ours", args.rows, 0, precision)
    with FlopCounterMode(display=False) as counted:
        train("ours", args.rows, 0, precision)
    operations = counted.get_total_flops() / args.rows
    rate = args.rows / seconds
    lines = [
        *([f"matrix product, {name}", f"{peak / 1e9:,.0f} GFLOP/s"] for name, peak in peaks.items()),
        ["copying memory", f"{bandwidth() / 1e9:,.1f} GB/s"],
        ["operations per comment, forward and backward", f"{operations / 1e9:.2f} GFLOP"],
        [f"comments per second, {precision}", f"{rate:.1f}"],
        ["operations per second", f"{rate * operations / 1e9:,.0f} GFLOP/s"],
        [f"share of the {precision} peak", f"{rate * operations / peaks[precision]:.2f}"],
    ]
    say(f"{torch.get_num_threads()} of {os.cpu_count()} cores\n\n{markdown_table(['measured', 'value'], lines)}")
    split = shares(list(profiled.key_averages()))
    say("\n" + markdown_table(["what", "share of a step"], [[kind, f"{share:.3f}"] for kind, share in split.items()]))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
