"""The words that move each label most over many texts."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from utils.explaining.attributions import attributions
from utils.explaining.words import words_of
from utils.model.classifiers import Classifier

ENOUGH = 2  # texts that a word has to be in: one text says nothing of other texts, and may name a person
DOUBT = 2  # texts without a contribution that each word is thought to be in as well, so that no word wins by two texts
LEAST = 0.25  # of a mean contribution: weaker words are not said to move a label


class Strong(NamedTuple):
    """A word in lower case, its mean contribution to a label's log-odds over the texts that hold it, their number."""

    word: str
    contribution: float
    texts: int


def clearest_texts(texts: Sequence[str], probabilities: np.ndarray, most_characters: int) -> list[int]:
    """Indices of texts for which labels are clearest: of each label in turn the next one, as long as they are cheap.

    Args:
        probabilities: shape (texts, labels).
        most_characters: that asking about the texts without each of their words may take, over all texts.
    """
    orders = np.argsort(-probabilities, axis=0, kind="stable")
    chosen: dict[int, None] = {}  # in order
    costs: dict[int, int] = {}
    left = most_characters
    for index in orders.ravel().tolist():
        if index not in costs:
            text = texts[index]
            at_least = (len(text.split()) + 1) * len(text)  # to find the words of a long text takes its time
            costs[index] = at_least if at_least > left else (len(words_of(text)) + 1) * len(text)
        if index not in chosen and costs[index] <= left:
            chosen[index] = None
            left -= costs[index]
        if left < most_characters // 100:
            break
    return list(chosen)


def strongest_words(classifier: Classifier, texts: Sequence[str], count: int) -> dict[str, list[Strong]]:
    """For each label the `count` words that move it most, up or down, over `texts`; the strongest first."""
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(classifier.labels)))
    texts_with: dict[str, int] = defaultdict(int)
    for found in attributions(classifier, texts):
        own = [word.text.casefold() for word in found.words]
        for word in set(own):
            texts_with[word] += 1
        for word, contribution in zip(own, found.contributions, strict=True):
            sums[word] += contribution
    words = sorted(word for word, number in texts_with.items() if number >= ENOUGH)
    if not words:
        return {label: [] for label in classifier.labels}
    numbers = np.array([texts_with[word] for word in words])
    totals = np.array([sums[word] for word in words])
    order = np.argsort(-np.abs(totals / (numbers + DOUBT)[:, None]), axis=0, kind="stable")[:count]
    means = (totals / numbers[:, None]).round(2)
    return {
        label: [
            Strong(words[index], float(means[index, column]), int(numbers[index]))
            for index in order[:, column].tolist()
            if abs(means[index, column]) >= LEAST
        ]
        for column, label in enumerate(classifier.labels)
    }
