"""What an audit finds: suspects in order, errors by label, agreement, and labels that are taken for one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from utils.auditing.agreement import Agreement, agreement, copies_of
from utils.auditing.suspects import Rate, confident_counts, error_rates, suspicion, together
from utils.evaluation.thresholds import calibrated, decide, fit_thresholds, micro_and_macro_f1

LIKELY = 0.5  # from here on an error is likelier than none
LEAST_LISTED = 100  # suspects, in data where fewer are likely errors


class Suspect(NamedTuple):
    """A pair of row and label in doubt: both by their number, and how likely it is an error."""

    row: int
    label: int
    score: float


@dataclass
class Findings:
    """All that is found; matrices are of shape (rows, labels).

    `decided` are the labels that the model itself would give, at thresholds from the other folds; `f1` is what these
    score against the given ones. `opinions` are the probabilities of further judges, by name, nan for labels that one
    does not know. `suspicion` is what all together suspect, nan where nobody has anything to say. `suspects` are all
    pairs that are likelier wrong than right, and at least the first `LEAST_LISTED`, in order.
    """

    gold: np.ndarray
    probabilities: np.ndarray
    opinions: dict[str, np.ndarray]
    decided: np.ndarray
    f1: dict[str, float]
    suspicion: np.ndarray
    suspects: list[Suspect]
    errors: list[tuple[Rate, Rate]]
    copies: list[list[int]]
    agreement: Agreement


def find(
    texts: Sequence[str],
    gold: np.ndarray,
    fold_of: np.ndarray,
    probabilities: np.ndarray,
    opinions: Mapping[str, np.ndarray],
) -> Findings:
    """See `Findings`.

    Args:
        gold: zeros and ones, shape (rows, labels).
        fold_of: the fold of each row.
        probabilities: out of fold, of the same shape as `gold`.
        opinions: probabilities of other judges by name, nan for labels that one does not know.
    """
    decided = decisions(gold, fold_of, probabilities)
    out_of_fold = np.where(unlearned(gold, fold_of), np.nan, suspicion(gold, probabilities))
    suspected = together([out_of_fold, *(suspicion(gold, says) for says in opinions.values())])
    copies = copies_of(texts)
    return Findings(
        gold=gold,
        probabilities=probabilities,
        opinions=dict(opinions),
        decided=decided,
        f1=micro_and_macro_f1(gold, decided),
        suspicion=suspected,
        suspects=first_suspects(suspected),
        errors=error_rates(confident_counts(gold, calibrated(gold, probabilities.astype(np.float64))), gold),
        copies=copies,
        agreement=agreement(copies, gold, decided),
    )


def first_suspects(suspected: np.ndarray) -> list[Suspect]:
    """The pairs to be looked at; see `Findings`."""
    scores = np.nan_to_num(suspected, nan=-1.0).ravel()
    count = max(int((scores >= LIKELY).sum()), min(LEAST_LISTED, int((scores >= 0).sum())))
    first = np.argsort(-scores, kind="stable")[:count]
    rows, labels = (axis.tolist() for axis in np.divmod(first, suspected.shape[1]))
    return [Suspect(*found) for found in zip(rows, labels, scores[first].tolist(), strict=True)]


def unlearned(gold: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """Where a row's judge has seen no row with the label, or none without it, and so has nothing to say of it."""
    nothing = np.zeros(gold.shape, dtype=bool)
    for fold in np.unique(fold_of).tolist():
        seen = gold[fold_of != fold].mean(axis=0)
        nothing[np.ix_(fold_of == fold, (seen == 0) | (seen == 1))] = True
    return nothing


def decisions(gold: np.ndarray, fold_of: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The labels that the models give, zeros and ones: each fold's at thresholds fitted on all others, for micro-F1."""
    decided = np.zeros(gold.shape, dtype=bool)
    for fold in np.unique(fold_of).tolist():
        others, own = fold_of != fold, fold_of == fold
        thresholds = fit_thresholds(gold[others], probabilities[others], "expected_f1", "f1_micro")
        decided[own] = decide(probabilities[own], thresholds)
    return decided
