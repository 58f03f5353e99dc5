"""Does the cost of run_inference.py grow with the file alone? Rows per second and peak memory by size of the file.

    python -m benchmarks.inference_scale outputs/minilm [--sizes 1000 10000 100000] [--rows 1000000] [--precision auto]

Texts are GoEmotions' training comments, again and again (GOEMOTIONS_DIR names a local copy; otherwise the Hub's).

Speed is that of the model given, without loading it, at each size; the median of several runs, since a thousand rows
pass in a second. Memory is the peak resident size of a whole run of the script on 1,000 rows and on --rows, with a
shrunk copy of the model (two layers of 32, random weights), which reads and writes the same and is soon done.
"""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.data.rows import read_rows
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table
from utils.inference.jobs import classify_file, open_parts
from utils.inference.label_rows import RowClassifier
from utils.machine import bf16_pays
from utils.model.classifiers import load_classifier, model_folder
from utils.progress import Progress

SCRIPT = Path(__file__).resolve().parent.parent / "run_inference.py"


def write_comments(path: Path, texts: list[str], rows: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(islice(cycle(texts), rows)))
    return path


def rows_per_second(classifier: RowClassifier, source: Path, rows: int) -> float:
    output = source.with_suffix(".jsonl")
    started = time.perf_counter()
    parts = open_parts(output, source, {"text_column": "text"}, resume=False)
    classify_file(classifier, read_rows(source), parts, Progress(shown=False), resumable=True)
    return rows / (time.perf_counter() - started)


def shrunk(model: Path, folder: Path) -> Path:
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config.update({key: value for key, value in sizes.items() if hasattr(config, key)})
    AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model, trust_remote_code=False).save_pretrained(folder)
    return folder


def peak_megabytes(model: Path, source: Path) -> float:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--use_cpu", "--model", model, "--input_file", source,
         "--output_file", source.with_suffix(".jsonl")]
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("run_inference.py failed")
    return usage.ru_maxrss / 1024


def main(model: str, sizes: list[int], rows: int, precision: str) -> None:
    texts = list(load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["train"]["text"])
    folder = model_folder(model)
    precision = precision if precision != "auto" else "bf16" if bf16_pays(use_cpu=True) else "fp32"
    with tempfile.TemporaryDirectory() as scratch:
        # Memory first: a process that is started counts the size of the one that starts it, and that grows below.
        small_model = shrunk(folder, Path(scratch) / "model")
        peaks = {
            size: peak_megabytes(small_model, write_comments(Path(scratch) / f"memory_{size}.csv", texts, size))
            for size in (1000, rows)
        }
        lines = [[f"{size:,}", f"{peak:,.0f}", f"{peak - peaks[1000]:+,.0f}"] for size, peak in peaks.items()]
        print(markdown_table(["rows (shrunk model)", "peak MB", "against 1,000 rows"], lines), flush=True)

        classifier = RowClassifier(*load_classifier(str(folder), "cpu", precision=precision))
        rows_per_second(classifier, write_comments(Path(scratch) / "warm_up.csv", texts, 500), 500)
        speeds = {}
        for size in sizes:
            source = write_comments(Path(scratch) / f"{size}.csv", texts, size)
            repeats = max(1, min(9, 20_000 // size))
            speeds[size] = statistics.median(rows_per_second(classifier, source, size) for _ in range(repeats))
        lines = [
            [f"{size:,}", f"{speed:,.0f}", f"{speed / max(speeds.values()):.2f}"] for size, speed in speeds.items()
        ]
        print("\n" + markdown_table([f"rows ({precision})", "rows/s", "of the fastest"], lines))


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
