"""Exact thresholds, one a label, against a grid of 0.01 with scikit-learn: time and score, side by side.

python -m benchmarks.threshold_speed outputs/baseline
"""

import time

import numpy as np
from sklearn.metrics import f1_score

from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.evaluation.thresholds import decide, fit_thresholds
from utils.run_folder import RunFolder


def grid(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    thresholds = np.arange(0.01, 1.0, 0.01)
    scores = [
        [f1_score(gold[:, label], probabilities[:, label] >= threshold, zero_division=0) for threshold in thresholds]
        for label in range(gold.shape[1])
    ]
    return thresholds[np.argmax(scores, axis=1)]


def main(run: RunFolder) -> None:
    _, (_, gold, probabilities) = run.read_predictions("validation")
    gold = gold.astype(int)
    seconds: dict[str, list[float]] = {"exact": [], "grid": []}
    for repeat in range(4):  # alternating; the first round warms up
        for name, fit in (("exact", lambda g, p: fit_thresholds(g, p, "per_label", "f1_macro")), ("grid", grid)):
            started = time.perf_counter()
            thresholds = fit(gold, probabilities)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
            score = f1_score(gold, decide(probabilities, thresholds), average="macro", zero_division=0)
            if repeat == 3:
                print(f"{name}: {1000 * np.median(seconds[name]):.1f} ms, validation macro-F1 {score:.4f}")
    ratio = np.median(seconds["grid"]) / np.median(seconds["exact"])
    print(f"ratio: {ratio:.0f}×, {gold.shape[0]:,} rows, {gold.shape[1]} labels")


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=RunFolder, metavar="OUTPUT_DIR")
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
