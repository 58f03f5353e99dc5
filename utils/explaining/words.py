"""The words of a text as its reader sees them, and the text without one of them.

Words are what a reader would point at: letters and digits with what joins them ("don't", "well-known", "3.5"), an emoji
with its skin tone or as a whole family, a run of punctuation ("?!", ":("), one sign alone in scripts that put no space
between words. An emoji, or a sign of punctuation, several times in a row is one word. What lies between two words is
white space, and nothing else.
"""

from collections.abc import Sequence
from typing import NamedTuple

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_LETTERS = rf"(?:[[\p{{L}}\p{{N}}_]--[{_UNSPACED}]][\p{{M}}\u200c\u200d]*)+"
_WORD = regex.compile(
    r"(?P<emoji>(?=\p{Extended_Pictographic}|\p{Regional_Indicator}|[0-9#*]\ufe0f?\u20e3)\X)(?P=emoji)*"
    rf"|{_LETTERS}(?:(?:['’·-]|(?<=\d)[.,](?=\d)){_LETTERS})*"
    rf"|[{_UNSPACED}][\p{{M}}]*"
    r"|(?:(?![\s\p{L}\p{N}_\[\]{}\p{Extended_Pictographic}\p{Regional_Indicator}]|[#*]\ufe0f?\u20e3)\X)+"
    r"|\S",
    regex.VERSION1,
)
_SPACED = regex.compile(rf"[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]", regex.VERSION1)


class Word(NamedTuple):
    """A word, and where it begins and ends in its text."""

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words of `text`, in order; between and around them there is white space alone."""
    return [Word(match[0], match.start(), match.end()) for match in _WORD.finditer(text)]


def with_words(text: str, words: Sequence[Word], kept: Sequence[int]) -> str:
    """`text` with some of its words alone, in their order, each with the white space before it.

    What stood before the first and behind the last word stays, and two words that a third kept apart stay two.
    """
    if not words:
        return text
    parts, last = [], ""
    for index in kept:
        word, start = words[index], words[index - 1].end if index else 0
        gap = text[start : word.start]
        if last and not gap and _SPACED.fullmatch(last[-1]) and _SPACED.fullmatch(word.text[0]):
            gap = " "
        parts.append(f"{gap if last else ''}{word.text}")
        last = word.text
    return text[: words[0].start] + "".join(parts) + text[words[-1].end :]


def without(text: str, words: Sequence[Word], index: int) -> str:
    """`text` without one of its words."""
    return with_words(text, words, [*range(index), *range(index + 1, len(words))])
