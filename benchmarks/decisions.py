"""Do decisions gain from more than a threshold per label, fitted on validation? Judged on unseen halves of validation.

    python -m benchmarks.decisions outputs/minilm outputs/train_audit [--splits 20]

The run's validation predictions are split in two again and again: what is fitted is fitted on one half, and scored on
the other. The audit is one of the run's training rows alone: its out-of-fold probabilities are eight times as many rows
to fit on, from models that learned from a part of them.

- out of fold: thresholds from the audit's rows, or from those and the half
- shrunk: each label's plain threshold moved towards the common one, the more the fewer positives it has
- joint: all log-odds of a text in a linear map for each label, fitted on the audit's rows with a penalty on what
  differs from the identity; it could be folded into the classifier
- neutral alone: where neutral stands beside an emotion, only the one further above its threshold stays
- neutral left out: where neutral stands beside an emotion, it goes (`--neutral_alone` of run_inference.py)

Each is held against the same strategy with thresholds from the half; ± is the standard deviation over the halves.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from benchmarks.audit import read_out_of_fold
from utils.command_line import plain_parser
from utils.console import InputError, one_sentence_errors
from utils.evaluation.choices import METRICS
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import beside_others, decide, fit_thresholds, micro_and_macro_f1
from utils.run_folder import RunFolder

Rows = tuple[np.ndarray, np.ndarray]  # labels as zeros and ones, and probabilities, (rows, labels)
EDGE = 1e-6


def odds(probabilities: np.ndarray) -> np.ndarray:
    return logit(np.clip(probabilities, EDGE, 1 - EDGE))


def joint_map(gold: np.ndarray, probabilities: np.ndarray, penalty: float = 0.01) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities → probabilities, each label's from the log-odds of all; mean cross-entropy and a ridge."""
    inputs, count = odds(probabilities), gold.shape[1]
    identity = np.eye(count)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-count].reshape(count, count), flat[-count:]
        outputs = inputs @ weights.T + bias
        error = (expit(outputs) - gold) / len(gold)
        value = (np.logaddexp(0, outputs) - gold * outputs).sum() / len(gold) + penalty * (
            (weights - identity) ** 2
        ).sum()
        return value, np.concatenate(
            [(error.T @ inputs + 2 * penalty * (weights - identity)).ravel(), error.sum(axis=0)]
        )

    found = minimize(loss, np.concatenate([identity.ravel(), np.zeros(count)]), jac=True, method="L-BFGS-B").x
    weights, bias = found[:-count].reshape(count, count), found[-count:]
    return lambda p: expit(odds(p) @ weights.T + bias)


def shrunk(gold: np.ndarray, probabilities: np.ndarray, metric: str, rows: float) -> np.ndarray:
    """Plain thresholds, in log-odds weighed with the common one as if that had been seen in `rows` positives."""
    own = logit(fit_thresholds(gold, probabilities, "per_label", metric))
    common = logit(fit_thresholds(gold, probabilities, "global", metric))
    share = gold.sum(axis=0) / (gold.sum(axis=0) + rows)
    return expit(share * own + (1 - share) * common)


def alone(predicted: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, neutral: int) -> np.ndarray:
    above = np.where(predicted > 0, odds(probabilities) - logit(thresholds), -np.inf)
    others = np.delete(above, neutral, axis=1).max(axis=1)
    kept = predicted.copy()
    both = (predicted[:, neutral] > 0) & np.isfinite(others)
    kept[both & (others >= above[:, neutral]), neutral] = 0
    loses = both & (others < above[:, neutral])
    kept[loses] = 0
    kept[loses, neutral] = 1
    return kept


def study(run: RunFolder, audit: Path, splits: int) -> str:
    names, (_, gold, probabilities) = run.read_predictions("validation")
    known, judged = read_out_of_fold(audit)
    if list(known) != list(names):
        raise InputError(f"{audit} is the audit of a dataset with other labels than {run}'s.")
    if any(split != "train" for split, _ in judged.keys):
        raise InputError(f"{audit} has judged more than train; give an audit of train alone.")
    told = judged.answers.astype(np.float64)
    mapped = joint_map(judged.gold, told)(probabilities)
    neutral = list(names).index("neutral") if "neutral" in names else None

    @cache
    def from_audit(strategy: str, metric: str) -> np.ndarray:
        return fit_thresholds(judged.gold, told, strategy, metric)

    differences: dict[tuple[str, str, str], list[float]] = {}
    scores: dict[tuple[str, str], list[float]] = {}
    rng = np.random.default_rng(0)
    for _ in range(splits):
        order = rng.permutation(len(gold))
        fitted, other = order[: len(gold) // 2], order[len(gold) // 2 :]
        for metric in METRICS:

            def scored(predicted: np.ndarray, other: np.ndarray = other, metric: str = metric) -> float:
                return micro_and_macro_f1(gold[other], predicted)[metric]

            for strategy in ("expected_f1", "per_label"):
                own = fit_thresholds(gold[fitted], probabilities[fitted], strategy, metric)
                predicted = decide(probabilities[other], own)
                base = scored(predicted)
                scores.setdefault((metric, strategy), []).append(base)
                more = fit_thresholds(
                    np.concatenate([judged.gold, gold[fitted]]),
                    np.concatenate([told, probabilities[fitted]]), strategy, metric,
                )  # fmt: skip
                answers = {
                    "thresholds out of fold": scored(decide(probabilities[other], from_audit(strategy, metric))),
                    "thresholds out of fold and from the half": scored(decide(probabilities[other], more)),
                    "joint": scored(
                        decide(mapped[other], fit_thresholds(gold[fitted], mapped[fitted], strategy, metric))
                    ),
                }
                if neutral is not None:
                    answers["neutral alone"] = scored(alone(predicted, probabilities[other], own, neutral))
                    left_out = beside_others(neutral, probabilities[other], own)
                    answers["neutral left out"] = scored(predicted & ~left_out)
                if strategy == "per_label":
                    for rows in (10, 30, 100):
                        cuts = shrunk(gold[fitted], probabilities[fitted], metric, rows)
                        answers[f"shrunk, as by {rows} positives"] = scored(decide(probabilities[other], cuts))
                for way, value in answers.items():
                    differences.setdefault((way, metric, strategy), []).append(value - base)
    lines = []
    for way in dict.fromkeys(key[0] for key in differences):
        cells = [way]
        for metric, strategy in scores:
            found = differences.get((way, metric, strategy))
            cells.append(f"{np.mean(found):+.4f} ± {np.std(found, ddof=1):.4f}" if found else "")
        lines.append(cells)
    first = ["the half's thresholds", *[f"{np.mean(found):.4f}" for found in scores.values()]]
    header = ["", *[f"{metric.removeprefix('f1_')}-F1, {strategy}" for metric, strategy in scores]]
    return f"{run}: {splits} splits of {len(gold):,} rows\n\n{markdown_table(header, [first, *lines])}"


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("output_dir")
    parser.add_argument("audit", type=Path)
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    print(study(RunFolder(options.output_dir), options.audit, options.splits))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
