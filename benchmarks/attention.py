"""Eager attention against SDPA: milliseconds of a training step and of a prediction, by length and precision.

    python -m benchmarks.attention                   # the CPU
    python -m benchmarks.attention --device cuda
    python -m benchmarks.attention --dropout 0       # an encoder without dropout of attention weights, as ModernBERT

MiniLM on random tokens, four in five of a row's places filled and the rest padding; both alternate in one process,
medians. A training step is 32 rows forward and backward, without an optimizer; a prediction is a batch of
run_inference.py's size by one thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy

import torch

from utils.console import one_sentence_errors, say
from utils.evaluation.report import markdown_table
from utils.model.classifiers import CPU_TOKENS, GPU_TOKENS
from utils.model.loading import load_model, resolve_model

IMPLEMENTATIONS = ("sdpa", "eager")


def milliseconds(call: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dropout", type=float, help="of attention weights (default: the model's)")
    parser.add_argument("--length", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    model, _ = load_model(resolve_model("minilm")[0], [f"label {number}" for number in range(28)])
    if args.dropout is not None:
        for module in model.modules():
            if hasattr(module, "query"):
                module.dropout.p = args.dropout
    model.to(args.device).train()
    threads, lines = torch.get_num_threads(), []
    for kind in ("training", "prediction"):
        torch.set_num_threads(1 if kind == "prediction" else threads)
        for precision in args.precision:
            cast = torch.autocast(args.device, torch.bfloat16) if precision == "bf16" else nullcontext()
            predictor = deepcopy(model).eval().to(torch.bfloat16 if precision == "bf16" else torch.float32)
            for length in args.length:
                tokens = CPU_TOKENS if args.device == "cpu" else GPU_TOKENS
                rows = 32 if kind == "training" else max(1, tokens // length)
                ids = torch.randint(1000, 30000, (rows, length), device=args.device)
                filled = torch.linspace(0.6, 1, rows, device=args.device) * length
                mask = (torch.arange(length, device=args.device) < filled[:, None]).long()

                def train(ids=ids, mask=mask, cast=cast):
                    with cast:
                        loss = model(input_ids=ids, attention_mask=mask).logits.float().square().mean()
                    loss.backward()

                @torch.inference_mode()
                def predict(ids=ids, mask=mask, predictor=predictor):
                    predictor(input_ids=ids, attention_mask=mask)

                times: dict[str, list[float]] = {name: [] for name in IMPLEMENTATIONS}
                for _ in range(args.repeats + 1):
                    for name in IMPLEMENTATIONS:
                        model.set_attn_implementation(name)
                        predictor.set_attn_implementation(name)
                        times[name].append(milliseconds(train if kind == "training" else predict, args.device))
                sdpa, eager = (statistics.median(times[name][1:]) for name in IMPLEMENTATIONS)
                values = f"{sdpa:.0f}", f"{eager:.0f}", f"{sdpa / eager:.2f}"
                lines.append([kind, precision, str(length), str(rows), *values])
                say(", ".join(lines[-1]))
    header = ["what", "precision", "tokens a row", "rows", "SDPA, ms", "eager, ms", "eager is faster by the factor"]
    say("\n" + markdown_table(header, lines))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
