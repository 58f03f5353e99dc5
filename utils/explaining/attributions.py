"""What each word of a text contributed to a label, in log-odds: how far the label's score moves with that word.

An encoder, in any of its forms, is asked again for the text without each word (leave one word out, Li et al. 2016,
"Understanding neural networks through representation erasure"). A word's contribution is the log-odds of the label for
the text minus those for the text without the word: +0.7 doubles the odds. Contributions measured one at a time do not
add up by themselves, because words work together ("not" and "bad"). What is missing is reported, not spread over the
words:

    log-odds of the score = `without_words` + the contributions of all words + `together`

`without_words` are the label's log-odds for a text without any word, and `together` is what words do only in each
other's company. The baseline is linear: a word's contribution is its TF-IDF weight times the label's coefficient,
`without_words` is the intercept, and `together` is 0. Of a model whose thresholds are folded in, the score's log-odds
are those above or below its threshold.

This says what the model reads, not why somebody wrote it, and of a word taken alone, not of a phrase. benchmarks/
explanations.py compares the method with integrated gradients and Shapley values.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from scipy.special import logit

from utils.console import InputError
from utils.explaining.words import Word, without, words_of
from utils.model.classifiers import BatchedClassifier, Classifier
from utils.progress import OnRows, no_progress

AT_ONCE = 200_000  # characters that are asked about at once, all variants of all texts together
DIGITS = 4


@runtime_checkable
class Linear(Protocol):
    """A classifier whose log-odds are a sum over the parts of a text: the baseline."""

    intercepts: np.ndarray  # shape (labels,)

    def token_weights(self, texts: Sequence[str]) -> Iterator[list[tuple[int, int, np.ndarray]]]:
        """For each token of each text: beginning, end, and what it adds to the log-odds, shape (labels,)."""
        ...


class Attribution(NamedTuple):
    """The words of a text and what they contributed, in log-odds.

    `score` = `without_words` + `contributions` summed over the words + `together`; see the module's docstring.
    """

    words: list[Word]
    contributions: np.ndarray  # shape (words, labels)
    without_words: np.ndarray  # shape (labels,), as the two below
    together: np.ndarray
    score: np.ndarray

    def of_label(self, index: int, label: str) -> dict[str, Any]:
        """The cell of one label, as files hold it, in figures that add up as rounded."""
        found = self.contributions[:, index].round(DIGITS).tolist()
        base, together = (round(float(part[index]), DIGITS) + 0.0 for part in (self.without_words, self.together))
        return {
            "label": label,
            "log_odds": round(base + sum(found) + together, DIGITS),
            "without_words": base,
            "together": together,
            "words": [
                {"word": word.text, "contribution": value + 0.0}  # never −0.0
                for word, value in zip(self.words, found, strict=True)
            ],
        }


class Explainer:
    """Explains the labels that texts have got, or one label for all of them."""

    def __init__(self, classifier: Classifier, label: str | None = None):
        """`label`: the one to explain, whether a text has got it or not; None: those that it has got.

        Raises:
            InputError: the classifier has no such label.
        """
        if label is not None and label not in classifier.labels:
            near = difflib.get_close_matches(label, classifier.labels, n=1, cutoff=0.0)[0]
            raise InputError(
                f"--explain {label}: the model has no label {label!r}; did you mean {near!r}? Without a label, those "
                "that a text gets are explained; a text stands before --explain."
            )
        self.classifier, self.label = classifier, label

    def __call__(
        self, texts: Sequence[str], labels: Sequence[Sequence[str]], progress: OnRows = no_progress
    ) -> list[list[dict[str, Any]]]:
        """The cells of texts: see `Attribution.of_label`, one for each label to be explained."""
        index = {name: number for number, name in enumerate(self.classifier.labels)}
        wanted = labels if self.label is None else [[self.label]] * len(texts)
        asked = [text for text, names in zip(texts, wanted, strict=True) if names]
        progress(len(texts) - len(asked))
        found = attributions(self.classifier, asked, progress)
        cells: list[list[dict[str, Any]]] = []
        for names in wanted:
            attribution = next(found) if names else None
            cells.append([attribution.of_label(index[name], name) for name in names] if attribution else [])
        return cells


def attributions(classifier: Classifier, texts: Sequence[str], progress: OnRows = no_progress) -> Iterator[Attribution]:
    """What each word of each text contributed to every label, in the order of `texts`.

    Words behind the end of what the model reads contribute nothing.
    """
    if isinstance(classifier, Linear):
        for text, tokens in zip(texts, classifier.token_weights(texts), strict=True):
            found = _of_linear(text, tokens, classifier.intercepts)
            progress(1)
            yield found
        return
    nothing = log_odds(classifier, [""])[0]
    waiting: list[tuple[str, list[Word], int]] = []
    size = 0
    for text, words, read in _read(classifier, texts):
        if waiting and size + (read + 1) * len(text) > AT_ONCE:
            yield from _left_out(classifier, waiting, nothing, progress)
            waiting, size = [], 0
        waiting.append((text, words, read))
        size += (read + 1) * len(text)
    yield from _left_out(classifier, waiting, nothing, progress)


def _left_out(
    classifier: Classifier, texts: Sequence[tuple[str, list[Word], int]], nothing: np.ndarray, progress: OnRows
) -> Iterator[Attribution]:
    """Each text with its words, and how many of them, from the first on, are read."""
    variants: dict[str, int] = {}  # each once: "ha ha" without its first word is "ha" without its last
    places = []
    for text, words, read in texts:
        own = [text, *(without(text, words[:read], index) for index in range(read))]
        places.append([variants.setdefault(variant, len(variants)) for variant in own])
    answers = log_odds(classifier, list(variants)) if variants else np.empty((0, len(classifier.labels)))
    for (_, words, read), rows in zip(texts, places, strict=True):
        score, others = answers[rows[0]], answers[rows[1:]]
        contributions = np.zeros((len(words), len(score)))
        contributions[:read] = score - others
        progress(1)
        yield Attribution(words, contributions, nothing, score - nothing - contributions.sum(axis=0), score)


def _of_linear(text: str, tokens: Sequence[tuple[int, int, np.ndarray]], intercepts: np.ndarray) -> Attribution:
    """A token that several words share, as TF-IDF has them in scripts without spaces, is shared out by characters."""
    words = words_of(text)
    contributions = np.zeros((len(words), len(intercepts)))
    first = 0
    for start, end, weights in tokens:
        while words[first].end <= start:
            first += 1
        index = first
        while index < len(words) and words[index].start < end:
            overlap = min(end, words[index].end) - max(start, words[index].start)
            contributions[index] += weights * (overlap / (end - start))
            index += 1
    score = intercepts + contributions.sum(axis=0)
    return Attribution(words, contributions, intercepts, np.zeros_like(score), score)


def _read(classifier: Classifier, texts: Sequence[str]) -> Iterator[tuple[str, list[Word], int]]:
    """Each text up to the end of what the model reads of it, all of its words, and how many of them that are."""
    for text in texts:
        words = words_of(text)
        read = _words_read(classifier, text, words)
        yield (text if read == len(words) else text[: words[read - 1].end]), words, read


def _words_read(classifier: Classifier, text: str, words: Sequence[Word]) -> int:
    limit = classifier.tokenizer.model_max_length if isinstance(classifier, BatchedClassifier) else None
    if limit is None or not words or len(text.encode("utf-8", "replace")) + 8 < limit:
        return len(words)

    def ids(count: int) -> list[int]:
        return classifier.encode([text[: words[count - 1].end]])["input_ids"][0]

    most = min(len(words), limit)  # a word has a token or more
    whole = ids(most)
    if len(whole) < limit:
        return most
    low, high = 1, most  # the fewest words of which the model reads as much as of all
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if ids(middle) == whole else (middle + 1, high)
    return high


def log_odds(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    """What the classifier answers as log-odds, shape (texts, labels)."""
    return logit(np.clip(classifier.predict(texts).astype(np.float64), 1e-7, 1 - 1e-7))
