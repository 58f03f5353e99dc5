"""From probabilities to decisions: F1-optimal cuts, fitted on validation and never on test.

A label is predicted where its probability is at or above its threshold. All cuts are found by sorting, so every
distinct decision the data allows is considered (no grid), and each lies midway between two neighbouring
probabilities, so that no decision hangs on the last bit of a float.
"""

import numpy as np

STRATEGIES = ("fixed", "global", "per_label", "calibrated")
METRICS = ("f1_micro", "f1_macro")


def log_odds(probabilities: np.ndarray | float) -> np.ndarray:
    """log(p / (1 − p)) in float64, for p in (0, 1)."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    return np.log(probabilities) - np.log1p(-probabilities)


def decide(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Boolean decisions, shape (rows, labels), from probabilities of that shape and one threshold per label."""
    return probabilities.astype(np.float64) >= np.asarray(thresholds, dtype=np.float64)


def fit_thresholds(gold: np.ndarray, probabilities: np.ndarray, strategy: str, metric: str) -> np.ndarray:
    """One threshold per label, in (0, 1).

    Args:
        gold: zeros and ones, shape (rows, labels).
        probabilities: in [0, 1], same shape.
        strategy: `fixed` (0.5 everywhere), `global` (one cut for all labels), `per_label`, or `calibrated`: cuts a
            label again, but at the optimum of the *expected* F1 under calibrated probabilities.
        metric: `f1_micro` or `f1_macro`, the score to maximise on these rows. With a cut a label, the macro cuts are
            each label's own F1 optimum; the micro cuts maximise the pooled F1 over all labels jointly.

    `per_label` trusts every gold label at the cut, and overfits a label that has a dozen of them. `calibrated` learns
    three numbers a label (see `_calibrate`), takes the calibrated probabilities of all rows for the truth and finds the
    same optimum there, as Lipton, Elkan and Naryanaswamy (2014) do. For micro-F1, whose optimum is one cut for all
    labels wherever they are calibrated alike, a label's cut is drawn towards the global one, the more the fewer
    positives it has. docs/results.md compares the strategies on halves of validation.

    A label without positives has no F1 optimum of its own: it gets the global cut.
    """
    num_labels = gold.shape[1]
    if strategy == "fixed":
        return np.full(num_labels, 0.5)
    if strategy == "global":
        fit = _best_micro_cut if metric == "f1_micro" else _best_macro_cut
        return np.full(num_labels, fit(gold, probabilities))
    if strategy in ("per_label", "calibrated"):
        fit = _best_micro_cuts if metric == "f1_micro" else _best_label_cuts
        cuts = fit(_calibrate(gold, probabilities) if strategy == "calibrated" else gold, probabilities)
        if strategy == "calibrated" and metric == "f1_micro":
            trust = gold.sum(axis=0) / (gold.sum(axis=0) + 10)
            common = log_odds(_best_micro_cut(gold, probabilities))
            cuts = 1 / (1 + np.exp(-(trust * log_odds(cuts) + (1 - trust) * common)))
        unseen = gold.sum(axis=0) == 0
        if unseen.any():
            cuts[unseen] = fit_thresholds(gold, probabilities, "global", metric)[unseen]
        return cuts
    raise ValueError(f"unknown threshold strategy {strategy!r}; accepted: {', '.join(STRATEGIES)}")


def _calibrate(gold: np.ndarray, probabilities: np.ndarray, ridge: float = 0.01, rounds: int = 20) -> np.ndarray:
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
            fitted = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
            gradient = features.T @ (fitted - gold[:, label]) + ridge * (weights - start)
            curvature = (features * (fitted * (1 - fitted))[:, None]).T @ features + ridge * np.eye(3)
            step = np.linalg.solve(curvature, gradient)
            weights = weights - step / max(1.0, np.abs(step).max())
        calibrated[:, label] = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
    return calibrated


def _steps(gold: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct probabilities of a list, highest first; for each, the items at or above it and their sum of gold."""
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, len(ordered))
    return ordered[ends - 1], ends, np.cumsum(gold[order])[ends - 1]


def _cuts_between(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts above, between and below distinct values, highest first, and which of them lie inside (0, 1).

    Each lies midway between the last value taken and the first one left out; a probability of exactly 1 or 0 puts the
    outermost cut beyond the open interval.
    """
    edges = np.concatenate([[1.0], values, [0.0]])
    cuts = (edges[:-1] + edges[1:]) / 2
    return cuts, (cuts > 0.0) & (cuts < 1.0)


def _candidates(gold: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All cuts of one list of probabilities that decide differently, highest first.

    Returns the cuts and, for each, how many items it predicts and how many of those are gold. The first predicts
    nothing, the last everything.
    """
    values, predicted, true_positives = _steps(gold, probabilities)
    cuts, inside = _cuts_between(values)
    return cuts[inside], np.append(0, predicted)[inside], np.append(0, true_positives)[inside]


def _f1(predicted: np.ndarray, true_positives: np.ndarray, positives: float) -> np.ndarray:
    return 2 * true_positives / np.maximum(predicted + positives, 1)


def _best_micro_cut(gold: np.ndarray, probabilities: np.ndarray) -> float:
    cuts, predicted, true_positives = _candidates(gold.ravel(), probabilities.ravel())
    return float(cuts[_f1(predicted, true_positives, gold.sum()).argmax()])


def _best_macro_cut(gold: np.ndarray, probabilities: np.ndarray) -> float:
    """The one cut with the best mean of the labels' F1.

    Walking down the pooled probabilities, each value changes the F1 of its own label; the running sum of these changes
    is the macro-F1 (times the number of labels) of every global cut.
    """
    values, changes = [], []
    for label in range(gold.shape[1]):
        own_values, predicted, true_positives = _steps(gold[:, label], probabilities[:, label])
        values.append(own_values)
        changes.append(np.diff(_f1(predicted, true_positives, gold[:, label].sum()), prepend=0.0))
    pooled, _, totals = _steps(np.concatenate(changes), np.concatenate(values))
    cuts, inside = _cuts_between(pooled)
    return float(cuts[inside][np.append(0.0, totals)[inside].argmax()])


def _best_label_cuts(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    best = np.empty(gold.shape[1])
    for label in range(gold.shape[1]):
        cuts, predicted, true_positives = _candidates(gold[:, label], probabilities[:, label])
        best[label] = cuts[_f1(predicted, true_positives, gold[:, label].sum()).argmax()]
    return best


def _best_micro_cuts(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The cuts, one per label, with the best pooled F1, exactly.

    Micro-F1 is a ratio, 2·TP / (predicted + positives). For a guess of its optimum the labels part ways: each takes
    the cut with the largest 2·TP − guess·predicted. The F1 of these cuts is the next guess, until it stands still
    (Dinkelbach 1967: it rises strictly and ends at the optimum, after a handful of rounds).
    """
    labels = [_candidates(gold[:, label], probabilities[:, label]) for label in range(gold.shape[1])]
    positives, guess = gold.sum(), 0.0
    while True:
        picks = [int((2 * hits - guess * predicted).argmax()) for _, predicted, hits in labels]
        hits = sum(float(label[2][pick]) for label, pick in zip(labels, picks, strict=True))
        predicted = sum(float(label[1][pick]) for label, pick in zip(labels, picks, strict=True))
        score = 2 * hits / max(predicted + positives, 1)
        if score <= guess + 1e-12:
            return np.array([label[0][pick] for label, pick in zip(labels, picks, strict=True)])
        guess = score
