"""Which labels are in doubt: a suspicion for each pair of row and label, given or not, on one scale for all labels.

What is asked of a given label is how likely it is wrong; of a label not given, how likely it is missing. Bayes' rule
answers both from p, the probability that the row belongs to the label, and from how often raters err:

    odds(wrong)   = (1 − p) / p · P(given | does not belong) / P(given | belongs)
    odds(missing) = p / (1 − p) · P(not given | belongs) / P(not given | does not belong)

p is the out-of-fold probability, calibrated by label; the rates are those that confident learning counts (Northcutt,
Jiang and Chuang 2021; cleanlab). A rare label is seldom given by mistake, so a low probability alone does not make it
suspect, and frequent ones do not crowd out the rest. Nothing is added up over a row: one with many labels is no more
suspect than another. docs/audit.md compares this with other scores.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from utils.evaluation.thresholds import calibrated

TRUST = 20  # rows for which the error rates of all labels together count in each label's own
RESAMPLES = 1000
LEAST = 1e-6  # probabilities are kept this far from 0 and 1


class Rate(NamedTuple):
    """An estimated share, and its 95 % interval; nan where nothing could be counted."""

    value: float
    low: float
    high: float


def confident_counts(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Rows whose labels a model is sure of, by label, given (0, 1) and belonging (0, 1): shape (labels, 2, 2).

    Sure of a label is who finds it at least as likely as, on average, in the rows that have it; sure that it does not
    belong, who finds that at least as likely as, on average, in the others. All zero for a label that no row has, or
    every row.

    Args:
        gold: zeros and ones, shape (rows, labels).
        probabilities: out of fold, in [0, 1], same shape.
    """
    from cleanlab.count import compute_confident_joint  # takes a second to import

    given = (gold > 0).astype(int)
    positives = given.sum(axis=0)
    counts = np.zeros((gold.shape[1], 2, 2))
    for label in np.flatnonzero((positives > 0) & (positives < len(gold))).tolist():
        column = probabilities[:, label].astype(np.float64)
        counts[label] = compute_confident_joint(given[:, label], np.column_stack([1 - column, column]), calibrate=False)
    return counts


def suspicion(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How likely each pair of row and label is an error, in (0, 1), shape (rows, labels): given wrongly, or missing.

    Args:
        gold: zeros and ones, shape (rows, labels).
        probabilities: of a model that has not seen the row's labels, in [0, 1], same shape; a column of nan for a label
            that it does not know, which then has none here either.
    """
    result = np.full(gold.shape, np.nan)
    known = ~np.isnan(probabilities).any(axis=0)
    gold = gold[:, known]
    belongs = np.clip(calibrated(gold, probabilities[:, known].astype(np.float64)), LEAST, 1 - LEAST)
    positives = gold.sum(axis=0)
    negatives = len(gold) - positives
    counts = confident_counts(gold, belongs)
    every = counts.sum(axis=0)
    wrong = _drawn_to(counts[:, 1, 0], counts[:, 1].sum(axis=1), every[1, 0] / max(every[1].sum(), 1))
    unseen = _drawn_to(counts[:, 0, 1], counts[:, :, 1].sum(axis=1), every[0, 1] / max(every[:, 1].sum(), 1))
    # Of the rows that do not belong to a label, the share that carries it.
    invented = np.clip(wrong * positives / np.maximum(negatives + wrong * positives, 1), LEAST, 1 - LEAST)
    unseen = np.clip(unseen, LEAST, 1 - LEAST)
    odds = logit(belongs)
    result[:, known] = expit(
        np.where(gold > 0, -odds + np.log(invented) - np.log1p(-unseen), odds + np.log(unseen) - np.log1p(-invented))
    )
    return result


def _drawn_to(events: np.ndarray, cases: np.ndarray, common: float) -> np.ndarray:
    """Shares of events, drawn towards a common one the more the fewer cases there are."""
    return (events + TRUST * common) / (cases + TRUST)


def error_rates(counts: np.ndarray, gold: np.ndarray, seed: int = 0) -> list[tuple[Rate, Rate]]:
    """For each label: of the rows that carry it, the share that does not belong to it, and of the rows that belong to
    it, the share that does not carry it. Intervals come from drawing the counts anew (`RESAMPLES` times).

    Args:
        counts: see `confident_counts`.
        gold: zeros and ones, shape (rows, labels).
    """
    draw = np.random.default_rng(seed)
    rates = []
    for table, positives in zip(counts, gold.sum(axis=0).tolist(), strict=True):
        total = int(table.sum())
        if not total or not 0 < positives < len(gold):
            rates.append((Rate(*[float("nan")] * 3), Rate(*[float("nan")] * 3)))
            continue
        drawn = np.concatenate([table.reshape(1, 4), draw.multinomial(total, table.ravel() / total, size=RESAMPLES)])
        absent, doubtful, unseen, sure = drawn[:, 0], drawn[:, 2], drawn[:, 1], drawn[:, 3]
        wrong = doubtful / np.maximum(doubtful + sure, 1)
        lacking = unseen / np.maximum(unseen + absent, 1) * (len(gold) - positives)
        missing = lacking / np.maximum(lacking + (1 - wrong) * positives, 1e-9)
        rates.append((_rate(wrong), _rate(missing)))
    return rates


def _rate(values: np.ndarray) -> Rate:
    """The first value, with an interval from the others."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return Rate(float(values[0]), float(low), float(high))


def together(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Several judges' suspicions of the same pairs as one: how likely at least one of them is right.

    A mean would let the judge who has learned an error by heart, and is sure of it, outvote the one who sees it.

    Args:
        scores: each of shape (rows, labels), nan where a judge has nothing to say.
    """
    stacked = np.stack(scores)
    known = ~np.isnan(stacked)
    either = 1 - np.where(known, 1 - stacked, 1.0).prod(axis=0)
    return np.where(known.any(axis=0), either, np.nan)
