"""How far a score would move with another draw of comments: bootstrap intervals and paired comparisons over rows.

Resampling rows with replacement (Efron 1979) is giving each row a weight, how often it was drawn. All counts that the
scores need are then products of one matrix of weights with the rows, so that 1,000 resamples of a test split take about
a second.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import NamedTuple

import numpy as np

from utils.evaluation.thresholds import decide, f1_scores

RESAMPLES = 1000
SCORES = ("f1_micro", "f1_macro", "average_precision_macro")


class Comparison(NamedTuple):
    """A score of two models on the same rows: their difference (second − first), its 95 % interval, and p."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


def resampled_scores(
    gold: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Each of `SCORES` on the rows themselves and then on every resample, shape (1 + resamples,).

    The same seed draws the same rows, so that two models can be compared resample by resample.

    Args:
        gold: zeros and ones, shape (rows, labels).
        probabilities: in [0, 1], same shape.
        thresholds: one per label.

    A resample may lack a label's positives: its average precision is then left out of that resample's mean, and its F1
    counts as 0, both as in `multilabel_scores`. So is a label's average precision where every row drawn is positive.
    The mean is nan where no label is left.
    """
    rows = len(gold)
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=resamples)
    weights = np.concatenate([np.ones((1, rows), drawn.dtype), drawn]).T.astype(np.uint8)  # (rows, 1 + resamples)
    gold = (np.asarray(gold) > 0).astype(np.float32)
    decided = decide(probabilities, thresholds).astype(np.float32)
    as_floats = weights.T.astype(np.float32)
    hits, predicted, positives = (as_floats @ counted for counted in (gold * decided, decided, gold))
    with ThreadPoolExecutor() as threads:  # numpy leaves the interpreter while it copies and adds
        precisions = list(threads.map(_average_precision, repeat(weights), gold.T > 0, probabilities.T))
    defined = np.isfinite(precisions)
    with np.errstate(invalid="ignore"):
        average_precision = np.where(defined, precisions, 0.0).sum(axis=0) / defined.sum(axis=0)
    return {
        "f1_micro": f1_scores(hits.sum(axis=1), predicted.sum(axis=1), positives.sum(axis=1)),
        "f1_macro": f1_scores(hits, predicted, positives).mean(axis=1),
        "average_precision_macro": average_precision,
    }


def _average_precision(weights: np.ndarray, gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Average precision of one label for each column of `weights`; nan where no positive was drawn, or nothing else."""
    order = np.argsort(-probabilities, kind="stable")
    ordered, is_gold = probabilities[order], gold[order]
    starts = np.append(0, np.flatnonzero(np.diff(ordered)) + 1)  # of each group of equal probabilities
    # Only groups that hold a positive change the score: everything between two of them is added up at once.
    has_gold = np.add.reduceat(is_gold, starts) > 0
    ends = np.append(starts[1:], len(ordered))[has_gold]
    if not len(ends):
        return np.full(weights.shape[1], np.nan)
    taken = np.cumsum(
        np.add.reduceat(weights[order[: ends[-1]]], np.append(0, ends[:-1]), axis=0, dtype=np.int32), axis=0
    )
    positives = np.flatnonzero(is_gold)
    first = np.searchsorted(positives, np.append(0, ends[:-1]))
    drawn = np.add.reduceat(weights[order[positives]], first, axis=0, dtype=np.int32)
    hits = np.cumsum(drawn, axis=0)
    with np.errstate(invalid="ignore"):
        found = (drawn * (hits / np.maximum(taken, 1))).sum(axis=0) / hits[-1]
    return np.where(hits[-1] < len(gold), found, np.nan)


def intervals(
    gold: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, resamples: int = RESAMPLES
) -> dict[str, float]:
    """95 % percentile intervals of `SCORES` as `{score}_ci_low` and `{score}_ci_high`.

    A score that is not defined on these rows has none; resamples on which it is not defined are left out.
    """
    bounds = {}
    for name, values in resampled_scores(gold, probabilities, thresholds, resamples).items():
        resampled = values[1:][np.isfinite(values[1:])]
        if not np.isfinite(values[0]) or not len(resampled):
            continue
        low, high = np.percentile(resampled, [2.5, 97.5])
        bounds[f"{name}_ci_low"], bounds[f"{name}_ci_high"] = float(low), float(high)
    return bounds


def label_f1_intervals(
    gold: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """95 % percentile interval of each label's F1, from and to: shape (2, labels); see `resampled_scores`.

    Where every text that has the label is missed, or each answer is right, all resamples agree and the interval has no
    width, which says nothing of how sure that is.
    """
    rows = len(gold)
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=resamples).astype(np.float32)
    gold = (np.asarray(gold) > 0).astype(np.float32)
    decided = decide(probabilities, thresholds).astype(np.float32)
    counts = (drawn @ counted for counted in (gold * decided, decided, gold))
    return np.percentile(f1_scores(*counts), [2.5, 97.5], axis=0)


def compare(
    gold: np.ndarray,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    resamples: int = RESAMPLES,
) -> dict[str, Comparison]:
    """Is the second model better than the first, and is that more than luck with these rows?

    Both are scored on the same resamples. p is two-sided: twice the share of resamples in which the difference has the
    other sign or is none, at least 1 / resamples (Efron and Tibshirani 1993, chapter 15). A score that is not defined
    on these rows is not compared.

    Args:
        gold: zeros and ones, shape (rows, labels).
        first, second: probabilities of that shape, and one threshold per label.
    """
    draws = [resampled_scores(gold, *model, resamples) for model in (first, second)]
    verdicts = {}
    for name in SCORES:
        differences = draws[1][name] - draws[0][name]
        finite = np.isfinite(differences)
        if not finite[0] or not finite[1:].any():
            continue
        differences = differences[finite]
        low, high = np.percentile(differences[1:], [2.5, 97.5])
        against = min((differences[1:] <= 0).mean(), (differences[1:] >= 0).mean())
        p_value = min(1.0, max(2 * against, 1 / resamples))
        one, other = (float(draw[name][0]) for draw in draws)
        verdicts[name] = Comparison(one, other, other - one, float(low), float(high), float(p_value))
    return verdicts
