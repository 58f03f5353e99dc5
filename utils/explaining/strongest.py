"""The words that move each label most over many texts.

To leave every word out of every text is dear. So the words that go with a label are looked up first, in what the model
has answered anyway: those in whose texts the label's log-odds are furthest from their mean. Only these are then left
out, of the texts in which the label is clearest.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from utils.explaining.attributions import Linear, attributions, log_odds
from utils.explaining.words import without, words_of
from utils.model.classifiers import Classifier

ENOUGH = 3  # texts that a word has to be in: fewer say little of other texts, and may name a person
CANDIDATES = 12  # words of a label that are left out
EXAMPLES = 2  # texts of each that it is left out of
LEAST = 0.25  # of a mean contribution: weaker words are not said to move a label
LONGEST = 500  # characters of a text that are looked at


class Strong(NamedTuple):
    """A word in lower case, its mean contribution to a label's log-odds, and over how many texts that is the mean."""

    word: str
    contribution: float
    texts: int


def strongest_words(
    classifier: Classifier, texts: Sequence[str], answered: np.ndarray, labels: Sequence[int], count: int
) -> dict[str, list[Strong]]:
    """For each of some labels the `count` words that move it most, up or down, over `texts`; the strongest first.

    Args:
        labels: by index.
        answered: the log-odds that the model gave the texts, up to a shift of each label, shape (texts, labels).
    """
    texts = [text[:LONGEST] for text in texts]
    where = {word: rows for word, rows in _rows_by_word(texts).items() if len(rows) >= ENOUGH}
    means = answered.mean(axis=0)
    words = sorted(where)
    # How far from the mean, times the root of the number of texts: what few texts have in common may be chance.
    strays = np.array([(answered[where[word]].mean(axis=0) - means) * len(where[word]) ** 0.5 for word in words])
    pairs = []  # a label, a word, and a text to leave it out of
    for label in labels if words else ():
        for place in np.argsort(-np.abs(strays[:, label]), kind="stable")[:CANDIDATES].tolist():
            rows = where[words[place]]
            clearest = sorted(rows, key=lambda row: -answered[row, label])[:EXAMPLES]
            pairs += [(label, words[place], row) for row in clearest]
    contributions = _contributions(classifier, texts, sorted({(word, row) for _, word, row in pairs}))
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for label, word, row in pairs:
        found[label][word].append(float(contributions[word, row][label]))
    return {
        classifier.labels[label]: sorted(
            (
                Strong(word, mean, len(values))
                for word, values in found[label].items()
                if abs(mean := round(float(np.mean(values)), 2)) >= LEAST
            ),
            key=lambda word: -abs(word.contribution),
        )[:count]
        for label in labels
    }


def _rows_by_word(texts: Sequence[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        for word in {word.text.casefold() for word in words_of(text)}:
            rows[word].append(row)
    return rows


def _contributions(
    classifier: Classifier, texts: Sequence[str], pairs: Sequence[tuple[str, int]]
) -> Mapping[tuple[str, int], np.ndarray]:
    """What words, in lower case, contribute where they first stand in texts, by index; to each label."""
    rows = sorted({row for _, row in pairs})
    if isinstance(classifier, Linear):
        explained = dict(zip(rows, attributions(classifier, [texts[row] for row in rows]), strict=True))
        return {(word, row): explained[row].contributions[_place(texts[row], word)] for word, row in pairs}
    variants = [without(texts[row], words_of(texts[row]), _place(texts[row], word)) for word, row in pairs]
    answers = log_odds(classifier, [*(texts[row] for row in rows), *variants])
    whole = dict(zip(rows, answers, strict=False))
    return {pair: whole[pair[1]] - answer for pair, answer in zip(pairs, answers[len(rows) :], strict=True)}


def _place(text: str, word: str) -> int:
    return next(index for index, found in enumerate(words_of(text)) if found.text.casefold() == word)
