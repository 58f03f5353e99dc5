"""From probabilities to decisions: F1-optimal thresholds, fitted on validation and never on test.

A label is predicted where its probability is at or above its threshold. All thresholds are found by sorting, so every
distinct decision the data allows is considered (no grid), and each lies midway between two neighbouring
probabilities, so that no decision hangs on the last bit of a float.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logit

from utils.evaluation.choices import STRATEGIES

Counts = np.ndarray | np.number | float


def decide(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Boolean decisions, shape (rows, labels), from probabilities of that shape and one threshold per label."""
    return probabilities.astype(np.float64) >= np.asarray(thresholds, dtype=np.float64)


def choose_labels(
    probabilities: np.ndarray,
    labels: Sequence[str],
    thresholds: np.ndarray,
    top_k: int | None = None,
    at_least_one: bool = False,
    left_out: np.ndarray | None = None,
) -> list[tuple[list[str], list[float]]]:
    """Names and scores of each row's emotions: those at or above their thresholds, the clearest first.

    Args:
        probabilities: shape (rows, labels).
        thresholds: shape (labels,).
        top_k: at most so many.
        at_least_one: where no label reaches its threshold, the one that comes nearest.
        left_out: booleans, shape (rows, labels): what is not named, wherever it is.
    """
    margins = probabilities.astype(np.float64) - thresholds
    if left_out is not None:
        margins[left_out] = -np.inf
    order = np.argsort(-margins, axis=1, kind="stable")[:, :top_k]
    chosen = np.take_along_axis(margins, order, axis=1) >= 0
    if at_least_one:
        chosen[:, 0] = True
    names = np.array(labels, dtype=object)[order[chosen]].tolist()
    scores = np.take_along_axis(probabilities, order, axis=1)[chosen].astype(np.float64).round(6).tolist()
    ends = itertools.accumulate(chosen.sum(axis=1).tolist(), initial=0)
    return [(names[start:end], scores[start:end]) for start, end in itertools.pairwise(ends)]


def beside_others(label: int, probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Booleans, shape (rows, labels): `label`, in rows where it reaches its threshold and another label does, too."""
    decided = decide(probabilities, thresholds)
    result = np.zeros_like(decided)
    result[:, label] = decided[:, label] & (decided.sum(axis=1) > 1)
    return result


def f1_scores(true_positives: Counts, predicted: Counts, positives: Counts) -> np.ndarray:
    """F1 = 2·TP / (predicted + positives), elementwise; 0 where a label is neither predicted nor present.

    For micro-F1 the counts are summed over the labels before, for macro-F1 the result is averaged over them.
    """
    return 2 * np.asarray(true_positives) / np.maximum(np.add(predicted, positives), 1)


def micro_and_macro_f1(gold: np.ndarray, decided: np.ndarray) -> dict[str, float]:
    """`f1_micro` and `f1_macro` of decisions; both of shape (rows, labels), gold as zeros and ones."""
    hits, predicted, positives = (decided & (gold > 0)).sum(axis=0), decided.sum(axis=0), gold.sum(axis=0)
    return {
        "f1_micro": float(f1_scores(hits.sum(), predicted.sum(), positives.sum())),
        "f1_macro": float(np.mean(f1_scores(hits, predicted, positives))),
    }


def fit_thresholds(gold: np.ndarray, probabilities: np.ndarray, strategy: str, metric: str) -> np.ndarray:
    """One threshold per label, in (0, 1).

    Args:
        gold: zeros and ones, shape (rows, labels).
        probabilities: in [0, 1], same shape.
        strategy: `fixed` (0.5 everywhere), `global` (one threshold for all labels), `per_label`, or `expected_f1`: one
            a label again, but at the optimum of the *expected* F1 under calibrated probabilities.
        metric: `f1_micro` or `f1_macro`, the score to maximise on these rows. With a threshold a label, those for macro
            are each label's own F1 optimum; those for micro maximise the pooled F1 over all labels jointly.

    `per_label` trusts every gold label at the threshold, and overfits a label that has a dozen of them. `expected_f1`
    learns three numbers a label (see `calibrated`), takes the calibrated probabilities of all rows for the truth and
    finds the same optimum there, as Lipton, Elkan and Naryanaswamy (2014) do. For micro-F1, whose optimum is one
    threshold for all labels wherever they are calibrated alike, a label's threshold is drawn towards the global one,
    the more the fewer positives it has. docs/study.md compares the strategies on halves of validation.

    A label without positives has no F1 optimum of its own: it gets the global threshold. Where no label has any,
    nothing can be fitted, and all get 0.5.
    """
    num_labels = gold.shape[1]
    if strategy == "fixed" or (strategy in STRATEGIES and not gold.any()):
        return np.full(num_labels, 0.5)
    if strategy == "global":
        best = _best_global_micro if metric == "f1_micro" else _best_global_macro
        return np.full(num_labels, best(gold, probabilities))
    if strategy in ("per_label", "expected_f1"):
        fit = _best_joint_micro if metric == "f1_micro" else _best_by_label
        truth = calibrated(gold, probabilities) if strategy == "expected_f1" else gold
        thresholds = fit(truth, probabilities)
        if strategy == "expected_f1" and metric == "f1_micro":
            trust = gold.sum(axis=0) / (gold.sum(axis=0) + 10)
            common = logit(_best_global_micro(gold, probabilities))
            thresholds = expit(trust * logit(thresholds) + (1 - trust) * common)
        unseen = gold.sum(axis=0) == 0
        if unseen.any():
            thresholds[unseen] = fit_thresholds(gold, probabilities, "global", metric)[unseen]
        return thresholds
    raise ValueError(f"unknown threshold strategy {strategy!r}; accepted: {', '.join(STRATEGIES)}")


def calibrated(gold: np.ndarray, probabilities: np.ndarray, ridge: float = 0.01, rounds: int = 20) -> np.ndarray:
    """Calibrated probabilities, each label by its own beta calibration (Kull, Silva Filho and Flach 2017).

    log-odds = a·log p − b·log(1 − p) + c, fitted by Newton's method to the logistic loss plus `ridge`/2 times the
    squared distance of (a, b, c) from (1, 1, 0), which leaves p as it is: the fewer positives, the less is changed.
    """
    calibrated = np.empty(probabilities.shape)
    for label in range(probabilities.shape[1]):
        p = np.clip(probabilities[:, label].astype(np.float64), 1e-7, 1 - 1e-7)
        features = np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=1)
        start = weights = np.array([1.0, 1.0, 0.0])
        for _ in range(rounds):
            fitted = expit(np.clip(features @ weights, -30, 30))
            gradient = features.T @ (fitted - gold[:, label]) + ridge * (weights - start)
            curvature = (features * (fitted * (1 - fitted))[:, None]).T @ features + ridge * np.eye(3)
            step = np.linalg.solve(curvature, gradient)
            weights = weights - step / max(1.0, np.abs(step).max())
        calibrated[:, label] = expit(np.clip(features @ weights, -30, 30))
    return calibrated


def _steps(gold: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct probabilities of a list, highest first; for each, the items at or above it and their sum of gold."""
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, len(ordered))
    return ordered[ends - 1], ends, np.cumsum(gold[order])[ends - 1]


def _thresholds_between(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds above, between and below distinct values, highest first, and which of them lie inside (0, 1).

    Each lies midway between the last value taken and the first one left out; a probability of exactly 1 or 0 puts the
    outermost threshold beyond the open interval.
    """
    edges = np.concatenate([[1.0], values, [0.0]])
    thresholds = (edges[:-1] + edges[1:]) / 2
    return thresholds, (thresholds > 0.0) & (thresholds < 1.0)


def _candidates(gold: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All thresholds of one list of probabilities that decide differently, highest first.

    Returns the thresholds and, for each, how many items it predicts and how many of those are gold. The first predicts
    nothing, the last everything.
    """
    values, predicted, true_positives = _steps(gold, probabilities)
    thresholds, inside = _thresholds_between(values)
    return thresholds[inside], np.append(0, predicted)[inside], np.append(0, true_positives)[inside]


def _best_global_micro(gold: np.ndarray, probabilities: np.ndarray) -> float:
    thresholds, predicted, true_positives = _candidates(gold.ravel(), probabilities.ravel())
    return float(thresholds[f1_scores(true_positives, predicted, gold.sum()).argmax()])


def _best_global_macro(gold: np.ndarray, probabilities: np.ndarray) -> float:
    """The one threshold with the best mean of the labels' F1.

    Walking down the pooled probabilities, each value changes the F1 of its own label; the running sum of these changes
    is the macro-F1 (times the number of labels) of every global threshold.
    """
    values, changes = [], []
    for label in range(gold.shape[1]):
        own_values, predicted, true_positives = _steps(gold[:, label], probabilities[:, label])
        values.append(own_values)
        changes.append(np.diff(f1_scores(true_positives, predicted, gold[:, label].sum()), prepend=0.0))
    pooled, _, totals = _steps(np.concatenate(changes), np.concatenate(values))
    thresholds, inside = _thresholds_between(pooled)
    return float(thresholds[inside][np.append(0.0, totals)[inside].argmax()])


def _best_by_label(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    best = np.empty(gold.shape[1])
    for label in range(gold.shape[1]):
        thresholds, predicted, true_positives = _candidates(gold[:, label], probabilities[:, label])
        best[label] = thresholds[f1_scores(true_positives, predicted, gold[:, label].sum()).argmax()]
    return best


def _best_joint_micro(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The thresholds, one per label, with the best pooled F1, exactly.

    Micro-F1 is a ratio, 2·TP / (predicted + positives). For a guess of its optimum the labels part ways: each takes
    the threshold with the largest 2·TP − guess·predicted. The F1 of these is the next guess, until it stands still
    (Dinkelbach 1967: it rises strictly and ends at the optimum, after a handful of rounds).
    """
    labels = [_candidates(gold[:, label], probabilities[:, label]) for label in range(gold.shape[1])]
    guess = 0.0
    while True:
        picks = [int((2 * hits - guess * predicted).argmax()) for _, predicted, hits in labels]
        all_hits = sum(float(label[2][pick]) for label, pick in zip(labels, picks, strict=True))
        all_predicted = sum(float(label[1][pick]) for label, pick in zip(labels, picks, strict=True))
        score = float(f1_scores(all_hits, all_predicted, gold.sum()))
        if score <= guess + 1e-12:
            return np.array([label[0][pick] for label, pick in zip(labels, picks, strict=True)])
        guess = score
