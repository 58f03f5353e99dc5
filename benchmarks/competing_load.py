"""A machine that is busy otherwise: what training and inference keep of their speed, by how OpenMP's threads wait.

    python -m benchmarks.competing_load                          # training
    python -m benchmarks.competing_load outputs/minilm           # inference of a run as well, by torch and ONNX in int8

Each setting has a process of its own; they take turns, on a quiet machine and beside one and two processes that
compute without end. Ratios are to the setting `spins`, which is what OpenMP does by itself, on the quiet machine. On
MiniLM and GoEmotions' comments (GOEMOTIONS_DIR, or the Hub's dataset).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from benchmarks.training_speed import splits, train
from utils.console import one_sentence_errors, say
from utils.evaluation.report import markdown_table
from utils.machine import bf16_pays
from utils.model.classifiers import load_classifier, settle_precision
from utils.run_folder import write_json

RESULTS = Path(__file__).resolve().parent / "results" / "competing_load.json"
SETTINGS = {  # name: how often a thread looks for work before it sleeps, and how many threads there are
    "spins": {"GOMP_SPINCOUNT": "300000"},  # OpenMP's own
    "spins 30,000 times": {"GOMP_SPINCOUNT": "30000"},
    "spins 10,000 times": {"GOMP_SPINCOUNT": "10000"},
    "spins 3,000 times": {"GOMP_SPINCOUNT": "3000"},
    "spins 1,000 times": {"GOMP_SPINCOUNT": "1000"},
    "sleeps at once": {"GOMP_SPINCOUNT": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
TRAINING_ROWS, INFERENCE_ROWS = 320, 1000


def work(job: str, run: str, seed: int) -> float:
    """Rows per second of one job in this process."""
    if job == "training":
        return TRAINING_ROWS / train("ours", TRAINING_ROWS, seed, "bf16" if bf16_pays(use_cpu=True) else "fp32")[0]
    if job not in _loaded:
        precision = settle_precision("auto", job, on_cpu=True)
        _loaded[job] = load_classifier(run, "cpu", job, precision)[0], list(splits()["validation"]["text"])
    classifier, texts = _loaded[job]
    started = time.perf_counter()
    classifier.predict(texts[:INFERENCE_ROWS])
    return INFERENCE_ROWS / (time.perf_counter() - started)


_loaded: dict[str, tuple] = {}


@contextmanager
def others(count: int) -> Iterator[None]:
    """`count` processes that compute without end."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def worker(environment: Mapping[str, str]) -> ProcessPoolExecutor:
    """A process whose OpenMP has read `environment`."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        pool.submit(os.getpid).result()
        return pool
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="a finished run of run_finetune.py, with its ONNX files")
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2], help="how many other processes compute")
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--job", nargs="+", choices=["training", "torch", "onnx"])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    jobs = args.job or (["training", "torch", "onnx"] if args.run else ["training"])
    workers = {setting: worker(SETTINGS[setting]) for setting in args.setting}
    rates: dict[str, dict[str, list[float]]] = {}
    for job in jobs:
        for pool in workers.values():
            pool.submit(work, job, args.run, 0).result()  # whatever is done once
        for busy in args.busy:
            side = rates[f"{job}, {busy} others"] = {setting: [] for setting in workers}
            for repeat in range(args.repeats):
                for setting, pool in workers.items():
                    with others(busy):
                        side[setting].append(pool.submit(work, job, args.run, repeat).result())
                    say(f"{job}, {busy} others, {setting}: {side[setting][-1]:.1f} rows/s")
    medians = {name: {key: statistics.median(values) for key, values in side.items()} for name, side in rates.items()}
    lines = []
    for name, side in medians.items():
        quiet = medians[f"{name.split(',')[0]}, {args.busy[0]} others"][args.setting[0]]
        lines.append([name, *(f"{rate:.0f} ({rate / quiet:.2f})" for rate in side.values())])
    say("\n" + markdown_table(["rows/s", *workers], lines))
    write_json(RESULTS, {"repeats": args.repeats, "cores": os.cpu_count(), "rows_per_second": medians, "all": rates})


if __name__ == "__main__":
    with one_sentence_errors():
        main()
