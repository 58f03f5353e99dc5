"""Inference, ours against the stock pipeline: texts per second side by side.

    python -m benchmarks.inference_speed outputs/minilm

On GoEmotions' validation comments (GOEMOTIONS_DIR, or the Hub's dataset), alternating, median of several. Ours is what
run_inference.py does with a file, reading and writing included; the pipeline gets its texts in a list. The slow sides
see fewer of the same, shuffled comments, and each side has a process of its own. The ONNX sides need the run's ONNX
files.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers import pipeline

from utils.arguments import HUB_DATASET, DataArguments
from utils.console import one_sentence_errors, say
from utils.data.rows import read_rows
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table
from utils.inference.jobs import classify_file, open_parts
from utils.inference.label_rows import RowClassifier
from utils.model.classifiers import load_classifier, settle_precision
from utils.progress import Progress
from utils.run_folder import write_json

RESULTS = Path(__file__).resolve().parent / "results" / "inference_speed.json"
SIDES = {  # name: how many of the comments it sees
    "pipeline(texts)": 600,
    "pipeline(texts, batch_size=32)": 1600,
    "torch fp32": 5426,
    "torch auto": 5426,
    "onnx fp32": 5426,
    "onnx int8": 5426,
}


def start(name: str, run: str) -> None:
    """Make this process the one that answers for a side."""
    global call
    call = stock(run, {"batch_size": 32} if "32" in name else {}) if name.startswith("pipeline") else ours(run, name)


def seconds(texts: list[str]) -> float:
    started = time.perf_counter()
    call(texts)
    return time.perf_counter() - started


def stock(run: str, options: dict) -> Callable[[list[str]], object]:
    classifier = pipeline("text-classification", model=run, top_k=None, device="cpu", trust_remote_code=False)
    return lambda texts: classifier(texts, truncation=True, **options)


def ours(run: str, name: str) -> Callable[[list[str]], object]:
    backend, precision = name.split()
    precision = settle_precision(precision, backend, on_cpu=True)
    named = RowClassifier(*load_classifier(run, "cpu", backend, precision))

    def classify(texts: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, output = Path(folder) / "in.txt", Path(folder) / "out.jsonl"
            source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
            parts = open_parts(output, source, {"text_column": "text"}, resume=False)
            classify_file(named, read_rows(source), parts, Progress(shown=False), resumable=True)

    return classify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished run of run_finetune.py")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    texts = list(load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["validation"]["text"])
    random.Random(0).shuffle(texts)
    spawn = get_context("spawn")
    workers = {name: ProcessPoolExecutor(1, spawn, initializer=start, initargs=(name, args.run)) for name in SIDES}
    rates: dict[str, list[float]] = {name: [] for name in SIDES}
    for worker in workers.values():
        worker.submit(seconds, texts[:64]).result()
    for repeat in range(args.repeats):
        for name, worker in workers.items():
            rates[name].append(SIDES[name] / worker.submit(seconds, texts[: SIDES[name]]).result())
            say(f"{repeat + 1}/{args.repeats}  {name}: {rates[name][-1]:,.0f} texts/s")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    one, batched = list(medians.values())[:2]
    lines = [
        [name, f"{rate:,.0f}", f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}", f"{rate / one:.1f}",
         f"{rate / batched:.1f}"]
        for name, rate in medians.items()
    ]  # fmt: skip
    header = ["side", "texts/s", "range", "× pipeline(texts)", "× pipeline(texts, batch_size=32)"]
    say(f"\n{torch.get_num_threads()} CPU threads\n\n{markdown_table(header, lines)}")
    auto = settle_precision("auto", "torch", on_cpu=True)
    write_json(RESULTS, {"repeats": args.repeats, "auto": auto, "texts_per_second": medians, "all": rates})


if __name__ == "__main__":
    with one_sentence_errors():
        main()
