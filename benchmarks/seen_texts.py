"""Do test texts that also stand in train flatter the scores? Finished runs' test scores with and without them.

    python -m benchmarks.seen_texts outputs/minilm outputs/baseline

Texts are the same where they are equal to the letter, or, in the second place, but for case and blanks. Each score has
the `expected_f1` thresholds that validation gives for it. GoEmotions comes from GOEMOTIONS_DIR, or the Hub.
"""

import os
from collections.abc import Callable

import numpy as np

from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser, run_folder
from utils.console import one_sentence_errors, say
from utils.data.splits import load_splits
from utils.evaluation.choices import METRICS
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, fit_thresholds, micro_and_macro_f1
from utils.run_folder import RunFolder

WAYS: dict[str, Callable[[str], str]] = {
    "equal to the letter": str,
    "equal but for case and blanks": lambda text: " ".join(text.split()).casefold(),
}


def scores(run: RunFolder, seen: dict[str, set[str]]) -> list[list[str]]:
    """A line for all test rows, and one for those without the texts that are seen in each of the ways."""
    _, validation = run.read_predictions("validation")
    _, test = run.read_predictions("test")
    decided = {
        metric: decide(
            test.probabilities,
            fit_thresholds(validation.gold, validation.probabilities, "expected_f1", metric),
        )
        for metric in METRICS
    }
    kept = {"all": np.ones(len(test.gold), bool)} | {
        f"without {way}": np.array([WAYS[way](text) not in texts for text in test.texts]) for way, texts in seen.items()
    }
    return [
        [str(run), way, f"{rows.sum():,}"]
        + [f"{micro_and_macro_f1(test.gold[rows], decided[metric][rows])[metric]:.4f}" for metric in METRICS]
        for way, rows in kept.items()
    ]


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=run_folder)
    runs = parser.parse_args().runs
    data = DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET, "simplified")
    train = load_splits(data, seed=42)["train"]["text"]
    seen = {way: {same(text) for text in train} for way, same in WAYS.items()}
    lines = [line for run in runs for line in scores(run, seen)]
    say("\n" + markdown_table(["run", "test rows", "count", *METRICS], lines))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
