"""Put finished runs side by side, and ask whether their difference is more than luck.

    python run_compare.py outputs/quickstart_baseline outputs/quickstart     # table, then a paired test of the two
    python run_compare.py outputs/minilm_seed* --seeds                       # mean ± standard deviation

Figures are those of the test split: as the models were saved, at 0.5, and at thresholds fitted on validation. The
paired test resamples the rows that both runs predicted, each at its own thresholds. Runs on other rows or labels are
refused, and with --seeds the same seed twice.
"""

import sys
from collections.abc import Sequence

from utils.command_line import plain_parser, run_folder
from utils.console import InputError, one_sentence_errors, say
from utils.run_folder import RUN_FILE, THRESHOLDS_FILE, RunFolder

TITLES = {"f1_micro": "micro-F1", "f1_macro": "macro-F1", "average_precision_macro": "mAP"}


def main(argv: list[str] | None = None) -> str:
    parser = plain_parser(__doc__)
    add = parser.add_argument_group("runs").add_argument
    add("runs", nargs="+", type=run_folder, metavar="OUTPUT_DIR", help="folders of finished runs")
    add("--seeds", action="store_true", help="the runs are seeds of one recipe: add mean ± deviation")
    args = parser.parse_args(argv)
    for run in args.runs:
        run.require_finished()
    require_same_rows(args.runs)
    if args.seeds:
        require_different_seeds(args.runs)

    from utils.evaluation.report import results_table  # after the arguments are checked: it takes seconds

    report = results_table(args.runs, args.seeds)
    if len(args.runs) == 2 and not args.seeds:
        report += f"\n\n{paired_test(*args.runs)}"
    say(report)
    return report


def require_same_rows(runs: Sequence[RunFolder]) -> None:
    """Raise `InputError` unless all runs were scored on the same rows with the same labels."""
    first, *others = runs
    split = _scored_on(first)
    names, predictions = first.read_predictions(split)
    for run in others:
        if (other_split := _scored_on(run)) != split:
            raise InputError(
                f"{first} was scored on {split} and {run} on {other_split}: they predicted different rows; only scores "
                "on the same ones can be compared."
            )
        other_names, other = run.read_predictions(split)
        if names != other_names:
            what = f"labels ({_difference(names, other_names)})"
        elif predictions.texts != other.texts:
            what = f"rows ({len(predictions.texts):,} and {len(other.texts):,} {split} texts)"
        elif (predictions.gold != other.gold).any():
            what = f"gold labels of the same {split} texts"
        else:
            continue
        raise InputError(
            f"{first} and {run} predicted different {what}; only scores on the same rows and labels can be compared."
        )


def _scored_on(run: RunFolder) -> str:
    return "test" if run.has_predictions("test") else "validation"


def _difference(names: Sequence[str], others: Sequence[str]) -> str:
    """The first label that only one of two lists has, or that they have another order."""
    for one, other, which in ((names, others, "first"), (others, names, "second")):
        if only := [name for name in one if name not in other]:
            return f"{only[0]!r} is only in the {which}"
    return "in another order"


def require_different_seeds(runs: Sequence[RunFolder]) -> None:
    """Raise `InputError` where a run is named twice, or two runs of one kind have the same seed."""
    seen: dict[object, RunFolder] = {}
    for run in runs:
        for key in (run.path.resolve(), (run.is_encoder, run.read(RUN_FILE)["seed"])):
            if key in seen:
                same = run.path.resolve() == seen[key].path.resolve()
                raise InputError(
                    f"--seeds: {seen[key]} and {run} are {'the same run' if same else 'two runs with the same seed'}, "
                    "and would make the deviation smaller than it is; name each seed once."
                )
            seen[key] = run


def paired_test(first: RunFolder, second: RunFolder) -> str:
    """Both runs on the same rows: differences with 95 % intervals and p, and a sentence that says what they mean."""
    import numpy as np

    from utils.evaluation.bootstrap import RESAMPLES, compare
    from utils.lines import markdown_table, terminal_width

    split = _scored_on(first)
    models = []
    for run in (first, second):
        names, predictions = run.read_predictions(split)
        stored = run.read(THRESHOLDS_FILE)["thresholds"]
        models.append((predictions, np.array([stored[name] for name in names])))
    (one, one_thresholds), (other, other_thresholds) = models
    verdicts = compare(one.gold, (one.probabilities, one_thresholds), (other.probabilities, other_thresholds))
    lines = [
        [TITLES[score], f"{v.first:.4f}", f"{v.second:.4f}", f"{v.difference:+.4f}", f"{v.low:+.4f} to {v.high:+.4f}",
         f"{'≤ ' if v.p_value <= 1 / RESAMPLES else ''}{v.p_value:.3f}"]
        for score, v in verdicts.items()
    ]  # fmt: skip
    titles = ["score", "first", "second", "difference", "95 %", "p"]
    table = markdown_table(titles, lines, terminal_width(sys.stdout))
    sentences = [
        f"{TITLES[score]}: {second if v.difference > 0 else first} is better, by more than luck with these rows."
        if v.low > 0 or v.high < 0
        else f"{TITLES[score]}: a tie; the difference may be luck with these rows."
        for score, v in verdicts.items()
    ]
    runs = [f"first: {first}", f"second: {second} ({split}, each at its own thresholds)"]
    how = f"(paired bootstrap over {len(one.texts):,} rows, {RESAMPLES:,} resamples)"
    return "\n".join([*runs, "", table, "", *sentences, how])


if __name__ == "__main__":
    with one_sentence_errors():
        main()
