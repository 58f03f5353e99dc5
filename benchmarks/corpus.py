"""What do the engine and many files cost? run_corpus.py against run_inference.py, on the same rows.

    python -m benchmarks.corpus outputs/minilm [--rows 200000] [--skip 0] [--files 40] [--threads 2] [--precision auto]

Texts are GoEmotions' training comments, again and again (GOEMOTIONS_DIR names a local copy; otherwise the Hub's), from
the one after the first --skip on, so that a long comparison can be made in pieces. They are dealt out to files of three
kinds: .csv.gz, .jsonl and .parquet. run_inference.py takes one file of each kind with all rows of that kind, one after
the other, with all threads; run_corpus.py takes all files with as many workers as threads. Both as processes of their
own, from start to end, and without their start-up, which is measured on a file of one row. CPU seconds are those of the
process and its workers: on a machine that does something else as well, only they compare.

Then every row of both is compared. In fp32 labels are the same. In bf16 a score may differ in its third digit with the
texts beside it in a batch, and windows end where files end: a few rows in ten thousand have a label more or less, as
they do when run_inference.py gets the same rows in other files. The same file gives the same file, see the tests.
"""

import argparse
import csv
import ctypes
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.parquet

from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.data.rows import read_rows
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table

ROOT = Path(__file__).resolve().parent.parent
SUBREAPER = 36  # of Linux's prctl
KINDS = (".csv.gz", ".jsonl", ".parquet")


class Cost(NamedTuple):
    """Seconds on the clock, and CPU seconds."""

    seconds: float
    cpu: float


def write_file(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in path.suffixes:
            writer = csv.DictWriter(file, ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def run(threads: int, *arguments: object) -> Cost:
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # workers whose parent has ended become this process's to wait for
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, check=True)
    seconds = time.perf_counter() - started
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, cpu)


def answers(path: Path) -> Iterator[tuple[str, list[str]]]:
    for row in read_rows(path):
        labels = row.cells["labels"]
        yield row.cells["id"], [name for name in (labels.split(",") if isinstance(labels, str) else labels) if name]


def main(args: argparse.Namespace) -> None:
    texts = list(load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["train"]["text"])
    some = islice(cycle(texts), args.skip, args.skip + args.rows)
    rows = [{"id": str(i), "text": text} for i, text in enumerate(some)]
    fixed = ["--use_cpu", "--model", Path(args.model).resolve(), "--precision", args.precision]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        by_kind: dict[str, list[dict[str, str]]] = {kind: [] for kind in KINDS}
        for place in ("many", "few", "one"):
            (folder / place).mkdir()
        for number in range(args.files):
            share, kind = rows[number :: args.files], KINDS[number % len(KINDS)]
            write_file(folder / "many" / f"{number:03}{kind}", share)
            by_kind[kind] += share
        for kind, share in by_kind.items():
            write_file(folder / "few" / f"all{kind}", share)
        write_file(folder / "one" / "row.jsonl", rows[:1])

        def inference(source: Path, name: str) -> Cost:
            output = folder / "answers" / name
            return run(args.threads, "run_inference.py", *fixed, "--input_file", source, "--output_file", output)

        def corpus(source: Path, name: str) -> Cost:
            workers = ["--workers", args.threads]
            return run(args.threads, "run_corpus.py", *fixed, *workers, "--input", source, "--output", folder / name)

        start = {"run_inference.py": inference(folder / "one" / "row.jsonl", "one.jsonl")}
        # As many workers start as for many files: their start-up is part of the engine's.
        for number in range(1, args.threads):
            write_file(folder / "one" / f"row{number}.jsonl", rows[:1])
        start["run_corpus.py"] = corpus(folder / "one", "corpus_of_one")
        parts = [inference(folder / "few" / f"all{kind}", f"all{kind}") for kind in KINDS if by_kind[kind]]
        whole = {
            "run_inference.py": Cost(sum(part.seconds for part in parts), sum(part.cpu for part in parts)),
            "run_corpus.py": corpus(folder / "many", "corpus"),
        }
        starts = {"run_inference.py": len(parts), "run_corpus.py": 1}

        expected = {identity: labels for kind in KINDS if by_kind[kind]
                    for identity, labels in answers(folder / "answers" / f"all{kind}")}  # fmt: skip
        found = [answer for path in sorted((folder / "corpus" / "data").iterdir()) for answer in answers(path)]
        different = sum(expected[identity] != labels for identity, labels in found)

    lines, net = [], {}
    for name, cost in whole.items():
        begun = start[name]
        net[name] = Cost(cost.seconds - starts[name] * begun.seconds, cost.cpu - starts[name] * begun.cpu)
        lines.append(
            [name, f"{cost.seconds:,.1f}", f"{cost.cpu:,.1f}", f"{begun.seconds:.1f}", f"{begun.cpu:.1f}",
             f"{args.rows / net[name].seconds:,.0f}", f"{args.rows / net[name].cpu:,.0f}"]
        )  # fmt: skip
    header = [f"{args.rows:,} rows, {args.files} files, {args.threads} thread(s)", "s", "CPU s", "start-up s",
              "start-up CPU s", "rows/s without it", "rows per CPU s without it"]  # fmt: skip
    print(markdown_table(header, lines))
    one, other = net["run_inference.py"], net["run_corpus.py"]
    print(f"\nrun_corpus.py has {one.seconds / other.seconds:.2f} of run_inference.py's rows per second, and "
          f"{one.cpu / other.cpu:.2f} of its rows per CPU second.")  # fmt: skip
    print(f"{len(found):,} rows came out, {different:,} with other labels.")
    if len(found) != args.rows or len(expected) != args.rows:
        sys.exit("rows are missing or doubled")


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    with one_sentence_errors():
        main(parser.parse_args())
