"""A text and what its words contributed to a label → the text in pieces, each with the strength to show it in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

SLIGHT = 0.1  # of the strongest word's contribution: less is not marked, for a text full of marks shows nothing


class Piece(NamedTuple):
    """A word or what stands between two; `share` in [−1, 1] is its contribution over the strongest, 0: not marked."""

    text: str
    contribution: float
    share: float


def pieces(text: str, words: Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
    """The pieces of `text`, which together are `text`.

    Args:
        words: in the order of the text, each with its `word` and its `contribution`, as a cell of `words` has them.
    """
    strongest = max((abs(item["contribution"]) for item in words), default=0.0) or 1.0
    place = 0
    for item in words:
        start = text.index(item["word"], place)
        if start > place:
            yield Piece(text[place:start], 0.0, 0.0)
        place = start + len(item["word"])
        share = item["contribution"] / strongest
        yield Piece(item["word"], item["contribution"], share if abs(share) >= SLIGHT else 0.0)
    if place < len(text):
        yield Piece(text[place:], 0.0, 0.0)


def signed(figure: float) -> str:
    """A figure with its sign, and two decimals: +1.30, −0.25."""
    return f"{figure:+.2f}".replace("-", "−")


def sum_of(cell: Mapping[str, Any]) -> str:
    """What the figures of a label add up to, in words."""
    figures = cell["without_words"], sum(item["contribution"] for item in cell["words"]), cell["together"]
    base, words, together = map(signed, figures)
    return f"{base} without any word, {words} words, {together} together: log-odds {signed(cell['log_odds'])}"
