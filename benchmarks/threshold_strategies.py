"""Which threshold strategy carries over best? Fitted on one half of validation, scored on the other, many times.

    python -m benchmarks.threshold_strategies outputs/baseline outputs/minilm [--splits 50] [--rows 200] [--test]

Reads predictions/validation.parquet of finished runs. For each strategy and the score it is fitted for:
the mean score on the unseen half with a 95 % interval, how much of the fitted half's score did not carry over, and the
difference to the plain threshold per label on the same halves. Intervals use the corrected variance of Nadeau and
Bengio (2003), since halves overlap; a difference whose interval holds zero is a tie. --rows fits on so many rows
instead of half. The last columns show what folding does to the scores: how often the top label is right, and
calibration error.

With --test, a second table follows for the report: fitted on all of validation, scored there and on test, with 95 %
bootstrap intervals. Nothing is to be chosen by it.
"""

import numpy as np
from scipy.special import logit

from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.evaluation.bootstrap import intervals
from utils.evaluation.calibration import calibrate, expected_calibration_error
from utils.evaluation.choices import METRICS, STRATEGIES
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, fit_thresholds, micro_and_macro_f1
from utils.run_folder import RunFolder


def interval(values: np.ndarray, ratio: float) -> float:
    return 1.96 * values.std(ddof=1) * np.sqrt(1 / len(values) + ratio)


def study(run: RunFolder, splits: int, rows: int | None) -> str:
    _, (_, gold, probabilities) = run.read_predictions("validation")
    size = rows or len(gold) // 2
    ratio = (len(gold) - size) / size if rows is None else 1.0
    kinds = [(s, m) for m in METRICS for s in STRATEGIES]
    seen, unseen, top, error = ({kind: [] for kind in kinds} for _ in range(4))
    rng = np.random.default_rng(0)
    for _ in range(splits):
        order = rng.permutation(len(gold))
        fitted, other = order[:size], order[size:]
        for strategy, metric in kinds:
            thresholds = fit_thresholds(gold[fitted], probabilities[fitted], strategy, metric)
            for part, scores in ((fitted, seen), (other, unseen)):
                found = micro_and_macro_f1(gold[part], decide(probabilities[part], thresholds))
                scores[strategy, metric].append(found[metric])
            folded = calibrate(probabilities[other], np.ones(len(thresholds)), -logit(thresholds))
            top[strategy, metric].append((gold[other, :][np.arange(len(other)), folded.argmax(axis=1)] > 0).mean())
            error[strategy, metric].append(expected_calibration_error(gold[other], folded))
    lines = []
    for strategy, metric in kinds:
        scores, plain = np.array(unseen[strategy, metric]), np.array(unseen["per_label", metric])
        gap, width = np.mean(seen[strategy, metric]) - scores.mean(), interval(scores - plain, ratio)
        gain = (scores - plain).mean()
        verdict = "–" if strategy == "per_label" else "tie" if abs(gain) <= width else "better" if gain > 0 else "worse"
        cells = [f"{metric.replace('f1_', '')}-F1", strategy.replace("_", " ")]
        cells += [f"{scores.mean():.4f} ± {interval(scores, ratio):.4f}", f"{gap:.4f}", f"{gain:+.4f} ± {width:.4f}"]
        cells += [verdict, f"{np.mean(top[strategy, metric]):.4f}", f"{np.mean(error[strategy, metric]):.4f}"]
        lines.append(cells)
    header = ["fitted for", "strategy", "unseen rows", "lost", "against per label", "verdict", "top-1", "ECE"]
    return f"{run}: fitted on {size:,} rows, {splits} splits\n\n{markdown_table(header, lines)}"


def report(run: RunFolder) -> str:
    (_, (_, gold, probabilities)), (_, (_, test_gold, test_probabilities)) = (
        run.read_predictions(split) for split in ("validation", "test")
    )
    lines = []
    for metric in METRICS:
        for strategy in STRATEGIES:
            thresholds = fit_thresholds(gold, probabilities, strategy, metric)
            cells = [f"{metric.replace('f1_', '')}-F1", strategy.replace("_", " ")]
            scores = []
            for truth, answers in ((gold, probabilities), (test_gold, test_probabilities)):
                bounds = intervals(truth, answers, thresholds)
                scores.append(micro_and_macro_f1(truth, decide(answers, thresholds))[metric])
                cells.append(
                    f"{scores[-1]:.4f} ({bounds[f'{metric}_ci_low']:.4f} to {bounds[f'{metric}_ci_high']:.4f})"
                )
            lines.append([*cells, f"{scores[0] - scores[1]:.4f}"])
    return f"{run}\n\n{markdown_table(['fitted for', 'strategy', 'validation', 'test', 'gap'], lines)}"


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=RunFolder, metavar="OUTPUT_DIR")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--test", action="store_true")
    with one_sentence_errors():
        args = parser.parse_args()
        for run in args.runs:
            print(study(run, args.splits, args.rows), end="\n\n")
            if args.test:
                print(report(run), end="\n\n")
