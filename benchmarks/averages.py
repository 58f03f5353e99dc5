"""What is the mean of several runs' probabilities worth? An upper mark for what a single model could learn from them.

    python -m benchmarks.averages outputs/minilm_42 outputs/minilm_43 outputs/minilm_44
    python -m benchmarks.averages outputs/mpnet_base outputs/minilm --test

Each run and their mean: thresholds fitted on one half of validation and scored on the other, 20 times; with `--test`
also on test, with thresholds from all of validation and 95 % bootstrap intervals over rows. Every score has the
`expected_f1` thresholds that are fitted for it.
"""

import numpy as np

from benchmarks.quality_study import unseen_scores
from utils.command_line import plain_parser, run_folder
from utils.console import InputError, one_sentence_errors, say
from utils.evaluation.bootstrap import intervals
from utils.evaluation.choices import METRICS
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, fit_thresholds, micro_and_macro_f1
from utils.run_folder import Predictions, RunFolder


def of_one_text(runs: list[RunFolder], split: str) -> list[Predictions]:
    """The runs' predictions of a split.

    Raises:
        InputError: they are not of the same texts, labels and gold.
    """
    names, first = runs[0].read_predictions(split)
    read = [first]
    for run in runs[1:]:
        others, predictions = run.read_predictions(split)
        if others != names or list(predictions.texts) != list(first.texts) or (predictions.gold != first.gold).any():
            raise InputError(f"{run} and {runs[0]} predict other {split} rows; give runs of one dataset.")
        read.append(predictions)
    return read


def line(name: str, validation: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray] | None) -> list[str]:
    """A run's scores: on unseen halves of validation, and on test; each pair is gold and probabilities."""
    unseen = unseen_scores(*validation)
    cells = [name, *(f"{unseen[metric]:.4f}" for metric in METRICS), f"{unseen['map']:.4f}"]
    for metric in METRICS if test else ():
        thresholds = fit_thresholds(*validation, "expected_f1", metric)
        score = micro_and_macro_f1(test[0], decide(test[1], thresholds))[metric]
        bounds = intervals(*test, thresholds)
        cells.append(f"{score:.4f} ({bounds[f'{metric}_ci_low']:.4f} to {bounds[f'{metric}_ci_high']:.4f})")
    return cells


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=run_folder)
    parser.add_argument("--test", action="store_true", help="score test as well; nothing is to be chosen by it")
    options = parser.parse_args()
    splits = {name: of_one_text(options.runs, name) for name in ("validation", *(["test"] if options.test else []))}
    lines = []
    for index, name in [*enumerate(map(str, options.runs)), (slice(None), f"mean of {len(options.runs)}")]:
        pairs = []
        for read in splits.values():
            chosen = read[index] if isinstance(index, slice) else [read[index]]
            pairs.append((read[0].gold, np.mean([predictions.probabilities for predictions in chosen], axis=0)))
        lines.append(line(name, pairs[0], pairs[1] if options.test else None))
    header = ["run", *(f"validation {name}" for name in (*METRICS, "mAP"))]
    header += [f"test {metric}" for metric in METRICS] if options.test else []
    say("\n" + markdown_table(header, lines))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
