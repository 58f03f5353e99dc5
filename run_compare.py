"""Put finished runs side by side, and ask whether their difference is more than luck.

    python run_compare.py outputs/quickstart_baseline outputs/quickstart     # table, then a paired test of the two
    python run_compare.py outputs/minilm_seed* --seeds                       # mean ± standard deviation

Figures are those of the test split, at 0.5 and at thresholds fitted on validation. The paired test resamples the rows
that both runs predicted, each at its own thresholds.
"""

import numpy as np

from utils.arguments import plain_parser
from utils.console import InputError, one_sentence_errors, say
from utils.evaluation.bootstrap import RESAMPLES, compare
from utils.evaluation.report import markdown_table, results_table
from utils.run_folder import THRESHOLDS_FILE, RunFolder

TITLES = {"f1_micro": "micro-F1", "f1_macro": "macro-F1", "average_precision_macro": "mAP"}


def main(argv: list[str] | None = None) -> str:
    parser = plain_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=RunFolder, metavar="OUTPUT_DIR", help="folders of finished runs")
    parser.add_argument("--seeds", action="store_true", help="the runs are seeds of one recipe: add mean ± deviation")
    args = parser.parse_args(argv)
    report = results_table(args.runs, args.seeds)
    if len(args.runs) == 2 and not args.seeds:
        report += f"\n\n{paired_test(*args.runs)}"
    say(report)
    return report


def paired_test(first: RunFolder, second: RunFolder) -> str:
    """Both runs on the same rows: differences with 95 % intervals and p, and a sentence that says what they mean."""
    split = "test" if first.has_predictions("test") and second.has_predictions("test") else "validation"
    models = []
    for run in (first, second):
        names, predictions = run.read_predictions(split)
        stored = run.read(THRESHOLDS_FILE)["thresholds"]
        models.append((names, predictions, np.array([stored[name] for name in names])))
    (names, one, one_thresholds), (other_names, other, other_thresholds) = models
    if names != other_names or one.texts != other.texts or (one.gold != other.gold).any():
        raise InputError(f"{first} and {second} predicted different rows or labels; a paired test needs the same ones.")
    verdicts = compare(one.gold, (one.probabilities, one_thresholds), (other.probabilities, other_thresholds))
    lines = [
        [TITLES[score], f"{v.first:.4f}", f"{v.second:.4f}", f"{v.difference:+.4f}", f"{v.low:+.4f} to {v.high:+.4f}",
         f"{'≤ ' if v.p_value <= 1 / RESAMPLES else ''}{v.p_value:.3f}"]
        for score, v in verdicts.items()
    ]  # fmt: skip
    table = markdown_table(
        [f"{split}, each at its thresholds", str(first), str(second), "difference", "95 %", "p"], lines
    )
    sentences = [
        f"{TITLES[score]}: {second if v.difference > 0 else first} is better, by more than luck with these rows."
        if v.low > 0 or v.high < 0
        else f"{TITLES[score]}: a tie; the difference may be luck with these rows."
        for score, v in verdicts.items()
    ]
    return "\n".join(
        [table, "", *sentences, f"(paired bootstrap over {len(one.texts):,} rows, {RESAMPLES:,} resamples)"]
    )


if __name__ == "__main__":
    with one_sentence_errors():
        main()
