"""From rows of text to rows with named emotions, a window of rows at a time."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.special import expit, logit

from utils.console import InputError
from utils.data.labels import find_neutral
from utils.data.rows import Row, text_problem
from utils.evaluation.thresholds import beside_others, choose_labels
from utils.inference.output import ADDED, EXPLAINED, kept_names, probability_column
from utils.model.classifiers import Classifier
from utils.progress import OnRows, no_progress

Item = TypeVar("Item")
WINDOW = 4096  # rows read, sorted by length and classified at a time: files of any size take the same memory
SHOWN = 8  # labels in a sentence about a model without the one that is asked for


# Texts and their labels to what each word contributed to them, as `utils.explaining.attributions.Explainer` does.
Explain = Callable[[Sequence[str], Sequence[Sequence[str]], OnRows], list[list[dict[str, Any]]]]


class Prepared(NamedTuple):
    """A window of rows, what keeps each from being classified (None: nothing), and the others' texts, encoded."""

    rows: list[Row]
    problems: list[str | None]
    encoded: Any


class RowClassifier:
    """Adds `labels` and `scores` to rows. Columns of these names are kept as `input_labels` and `input_scores`.

    In two steps, so that the texts of the next window can be encoded while the model is at work on this one.
    """

    def __init__(
        self,
        classifier: Classifier,
        thresholds: np.ndarray,
        text_column: str = "text",
        threshold: float | None = None,
        top_k: int | None = None,
        at_least_one: bool = False,
        neutral_alone: bool = False,
        all_scores: bool = False,
        explain: Explain | None = None,
    ):
        """
        Args:
            thresholds: the model's own, shape (labels,).
            threshold: one for all labels in place of these.
            neutral_alone: neutral is not named where it reaches its threshold and another label does, too.
            all_scores: also a column for the probability of each label, of the unfolded model where it is folded.
            explain: also a column `words`, with what this returns.

        Raises:
            InputError: `neutral_alone`, and no label is called neutral.
        """
        self.classifier, self.text_column = classifier, text_column
        self.choice = (classifier.labels, asked_thresholds(thresholds, threshold, top_k), top_k, at_least_one)
        self.reached = asked_thresholds(thresholds, threshold, None)  # whatever top_k names
        self.neutral = require_neutral(classifier.labels) if neutral_alone else None
        self.rows, self.counts = 0, Counter[str]()  # rows that have been through, and that have got each label
        self.columns = [probability_column(label) for label in classifier.labels] if all_scores else []
        self.explain = explain

    def prepare(self, rows: list[Row]) -> Prepared:
        """Look for what cannot be classified, and encode the rest."""
        problems = [row.problem or text_problem(row.cells.get(self.text_column)) for row in rows]
        texts = [row.cells[self.text_column] for row, problem in zip(rows, problems, strict=True) if not problem]
        return Prepared(rows, problems, self.classifier.encode(texts) if texts else None)

    def classify(self, prepared: Prepared, progress: OnRows = no_progress) -> list[tuple[dict[str, Any], str | None]]:
        """Each row's cells with the added ones, in order, and what kept the row from being classified."""
        rows, problems, encoded = prepared
        self.rows += len(rows)
        found: Iterator[tuple[list[str], list[float]]] = iter([])
        answers: Iterator[list[float]] = iter([])
        words: Iterator[list[dict[str, Any]]] = iter([])
        if encoded is not None:
            probabilities = self.classifier.probabilities(encoded, no_progress if self.explain else progress)
            beside = None if self.neutral is None else beside_others(self.neutral, probabilities, self.reached)
            chosen = choose_labels(probabilities, *self.choice, beside)
            found = iter(chosen)
            if self.explain:
                texts = [
                    row.cells[self.text_column] for row, problem in zip(rows, problems, strict=True) if not problem
                ]
                words = iter(self.explain(texts, [labels for labels, _ in chosen], progress))
            if self.columns:
                answers = iter(unfolded(probabilities, self.classifier.folded).round(6).tolist())
        progress(len(problems) - problems.count(None))
        added, results = {*ADDED, *self.columns, *(EXPLAINED if self.explain else ())}, []
        for row, problem in zip(rows, problems, strict=True):
            cells = row.cells
            if not added.isdisjoint(cells):
                names = kept_names(cells, added)
                cells = {names[key]: cell for key, cell in cells.items()}
            labels, scores = ([], []) if problem else next(found)
            self.counts.update(labels)
            answer = [None] * len(self.columns) if problem or not self.columns else next(answers)
            new: dict[str, Any] = {"labels": labels, "scores": scores, **dict(zip(self.columns, answer, strict=True))}
            if self.explain:
                new["words"] = [] if problem else next(words)
            results.append(({**cells, **new}, problem and f"{row.place}: {problem}"))
        return results


def require_neutral(labels: Sequence[str]) -> int:
    """Which of the labels is called neutral.

    Raises:
        InputError: none is.
    """
    found = find_neutral(labels)
    if found is None:
        shown = ", ".join(labels[:SHOWN]) + (f", … ({len(labels):,} in all)" if len(labels) > SHOWN else "")
        raise InputError(f"--neutral_alone is for models with a label neutral; this one has {shown}.")
    return found


def asked_thresholds(thresholds: np.ndarray, threshold: float | None, top_k: int | None) -> np.ndarray:
    """The thresholds that --threshold and --top_k ask for in place of the model's own, float64 of shape (labels,)."""
    if threshold is not None:
        return np.full_like(thresholds, threshold)
    return np.zeros_like(thresholds) if top_k is not None else thresholds  # the best labels by score alone


def unfolded(probabilities: np.ndarray, folded: np.ndarray | None) -> np.ndarray:
    """The probabilities of a model whose thresholds are taken out again, float64 of the same shape.

    Args:
        probabilities: what the model answers, shape (rows, labels).
        folded: the thresholds that are folded into it, shape (labels,); None where there are none.
    """
    if folded is None:
        return probabilities.astype(np.float64)
    return expit(logit(np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)) + logit(folded))


def windows(rows: Iterable[Item]) -> Iterator[list[Item]]:
    """The rows in lists of `WINDOW`, the last one shorter."""
    rows = iter(rows)
    while window := list(itertools.islice(rows, WINDOW)):
        yield window
