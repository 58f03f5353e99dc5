"""How far labels agree with themselves: texts that stand several times in the data, copy against copy.

Who labelled one copy did not know the labels of the other: one against the other is how well a second rater does. A
model, which gives equal texts equal labels, can do better, by giving what most raters give, but not better than with
the best labels for each text. These bound what can be scored on such rows, and on all as far as they are alike.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from utils.data.rows import text_key
from utils.evaluation.bootstrap import RESAMPLES
from utils.evaluation.thresholds import f1_scores


class Score(NamedTuple):
    """An F1 and its 95 % interval over texts."""

    value: float
    low: float
    high: float


class Agreement(NamedTuple):
    """Of the copies of equal texts: how many there are, and what their labels score.

    All are scored against the labels that the rows carry, by `f1_micro` and `f1_macro`: `copies` are the labels of
    another copy, drawn at random; `model` the model's; `best` for each text the labels that score highest, which no
    model can exceed. Scores are missing where no text stands twice. `equal`: how often a row and another copy carry
    exactly the same labels.
    """

    texts: int
    rows: int
    equal: float
    copies: dict[str, Score]
    model: dict[str, Score]
    best: dict[str, Score]


def copies_of(texts: Sequence[str]) -> list[list[int]]:
    """The rows of each text that stands more than once, equal but for case and blanks, in the data's order."""
    groups: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        groups.setdefault(text_key(text), []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def agreement(groups: Sequence[Sequence[int]], gold: np.ndarray, decided: np.ndarray) -> Agreement:
    """The scores of `Agreement`, with intervals from texts drawn with replacement (`RESAMPLES` times).

    Macro-F1 is the mean over the labels that some copy carries, or the model gives to one.

    Args:
        groups: see `copies_of`.
        gold, decided: zeros and ones, shape (rows, labels); the model's decisions must be out of fold.
    """
    if not groups:
        return Agreement(0, 0, float("nan"), {}, {}, {})
    sizes = np.array([len(rows) for rows in groups])
    given = np.stack([gold[rows].sum(axis=0) for rows in groups]).astype(np.float64)  # (texts, labels): copies with it
    predicted = np.stack([decided[rows].sum(axis=0) for rows in groups]).astype(np.float64)
    hits = np.stack([(gold[rows] * decided[rows]).sum(axis=0) for rows in groups]).astype(np.float64)
    others = sizes[:, None] - 1.0
    drawn = np.random.default_rng(0).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, len(groups))), drawn])

    def scores(both: np.ndarray, mean: np.ndarray) -> dict[str, Score]:
        """F1 = both / mean, of counts by text and label: those that both carry, and the mean of what each carries."""
        both, mean = weights @ both, weights @ mean
        present = mean > 0
        with np.errstate(invalid="ignore"):
            macro = np.where(present, f1_scores(both, 2 * mean, 0), 0).sum(axis=1) / present.sum(axis=1)
        micro = f1_scores(both.sum(axis=1), 2 * mean.sum(axis=1), 0)
        return {
            name: Score(float(values[0]), *(float(bound) for bound in np.nanpercentile(values[1:], [2.5, 97.5])))
            for name, values in (("f1_micro", micro), ("f1_macro", macro))
        }

    same = sum(
        count * (count - 1) / (len(rows) - 1)
        for rows in groups
        for count in np.unique(gold[rows] > 0, axis=0, return_counts=True)[1].tolist()
    )
    return Agreement(
        texts=len(groups),
        rows=int(sizes.sum()),
        equal=float(same / sizes.sum()),
        copies=scores(given * (given - 1) / others, given),
        model=scores(hits, (given + predicted) / 2),
        best={
            name: scores(given * answer, (given + answer * sizes[:, None]) / 2)[name]
            for name, answer in (("f1_micro", best_answer(given, sizes)), ("f1_macro", _best_by_label(given, sizes)))
        },
    )


def best_answer(given: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """For each text the labels with the highest micro-F1 against those of all its copies; boolean, (texts, labels).

    At the optimum F, a label is worth giving where more than F / 2 of the copies carry it. Each guess of F gives labels
    whose F1 is the next one, until it rises no more (Dinkelbach 1967).

    Args:
        given: how many copies carry each label, shape (texts, labels).
        sizes: how many copies there are, shape (texts,).
    """
    best, answer = -1.0, np.zeros(given.shape, dtype=bool)
    while True:
        guess = given / sizes[:, None] > max(best, 0.0) / 2
        score = float(f1_scores((given * guess).sum(), (guess * sizes[:, None]).sum(), given.sum()))
        if score <= best:
            return answer
        best, answer = score, guess


def _best_by_label(given: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.column_stack([best_answer(given[:, [label]], sizes) for label in range(given.shape[1])])
