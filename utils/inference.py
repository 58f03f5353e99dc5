"""From rows of text to named emotions."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from utils.classifiers import BaselineClassifier, EncoderClassifier
from utils.rows import Row

WINDOW = 4096  # rows read, sorted by length and classified at a time: files of any size take the same memory


def choose_labels(
    probabilities: np.ndarray,
    labels: Sequence[str],
    thresholds: np.ndarray,
    top_k: int | None = None,
    at_least_one: bool = False,
) -> tuple[list[str], list[float]]:
    """Names and scores of one row's emotions: those at or above their thresholds, the clearest first.

    Args:
        probabilities: shape (labels,).
        thresholds: shape (labels,).
        top_k: at most so many.
        at_least_one: where no label reaches its threshold, the one that comes nearest.
    """
    margins = probabilities.astype(np.float64) - thresholds
    order = np.argsort(-margins, kind="stable")
    chosen = [index for index in order if margins[index] >= 0] or (list(order[:1]) if at_least_one else [])
    chosen = chosen[:top_k]
    return [labels[index] for index in chosen], [round(float(probabilities[index]), 6) for index in chosen]


def classify_rows(
    classifier: EncoderClassifier | BaselineClassifier,
    thresholds: np.ndarray,
    rows: Iterable[Row],
    text_column: str = "text",
    top_k: int | None = None,
    at_least_one: bool = False,
    progress: Callable[[int], object] = lambda rows: None,
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each row's cells with `labels` and `scores` added, in order, and what kept the row from being classified.

    Columns of the input that are called `labels` or `scores` are kept as `input_labels` and `input_scores`.
    """
    rows = iter(rows)
    while window := list(itertools.islice(rows, WINDOW)):
        problems = [row.problem or _text_problem(row.cells.get(text_column)) for row in window]
        texts = [row.cells[text_column] for row, problem in zip(window, problems, strict=True) if not problem]
        probabilities = iter(classifier.predict(texts, progress) if texts else [])
        for row, problem in zip(window, problems, strict=True):
            cells = {f"input_{key}" if key in ("labels", "scores") else key: cell for key, cell in row.cells.items()}
            names, scores = [], []
            if not problem:
                names, scores = choose_labels(next(probabilities), classifier.labels, thresholds, top_k, at_least_one)
            yield {**cells, "labels": names, "scores": scores}, problem and f"{row.place}: {problem}"


def _text_problem(text: Any) -> str | None:
    if not isinstance(text, str):
        return f"the text is {'missing' if text is None else type(text).__name__}, not a string"
    return None if text.strip() else "the text is empty"
