"""What bf16 changes: decisions on GoEmotions' validation split that differ from those in fp32, and the time it saves.

    python -m benchmarks.precision outputs/minilm

A comment counts as changed when any of its labels is decided otherwise at the model's own thresholds. GOEMOTIONS_DIR
names a local copy of the comments; otherwise they are the Hub's.
"""

import os
import statistics
import time

import numpy as np

from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table
from utils.model.classifiers import load_classifier


def main(model: str) -> None:
    texts = list(load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["validation"]["text"])
    classifiers = {precision: load_classifier(model, "cpu", precision=precision) for precision in ("fp32", "bf16")}
    seconds: dict[str, list[float]] = {precision: [] for precision in classifiers}
    probabilities: dict[str, np.ndarray] = {}
    for _ in range(3):  # alternating
        for precision, (classifier, _) in classifiers.items():
            started = time.perf_counter()
            probabilities[precision] = classifier.predict(texts)
            seconds[precision].append(time.perf_counter() - started)
    thresholds = classifiers["fp32"][1]
    lines = []
    for precision, found in probabilities.items():
        changed = ((found >= thresholds) != (probabilities["fp32"] >= thresholds)).any(axis=1)
        away = np.abs(found - probabilities["fp32"]).max()
        speed = len(texts) / statistics.median(seconds[precision])
        lines.append([precision, f"{changed.sum()} ({100 * changed.mean():.2f} %)", f"{away:.4f}", f"{speed:,.0f}"])
    header = ["precision", f"changed of {len(texts):,} comments", "largest difference of a probability", "texts/s"]
    print(markdown_table(header, lines))


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("model", metavar="OUTPUT_DIR")
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
