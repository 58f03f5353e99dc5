"""Why a text got its labels, for a terminal: its words in colour, and with their signs, so that nothing hangs on it."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from utils.console import visible
from utils.inference.marked import pieces, signed, sum_of
from utils.lines import folded, terminal_width

PLUS, MINUS, STRONG, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


def colours_wanted() -> bool:
    """Whether the user's terminal is to be sent colours; see https://no-color.org."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def why(text: str, cells: Sequence[Mapping[str, Any]], colours: bool) -> str:
    """A paragraph for each label: the text with the words that moved it, by how much, and what that adds up to."""
    width = terminal_width(sys.stdout)
    paragraphs = (f"  {visible(cell['label'])}: {_marked(text, cell, colours)}\n    {sum_of(cell)}\n" for cell in cells)
    return "".join(folded(paragraph, width, "  ") for paragraph in paragraphs)


def _marked(text: str, cell: Mapping[str, Any], colours: bool) -> str:
    parts = []
    for piece in pieces(text, cell["words"]):
        shown = visible(piece.text if piece.text.strip() else " ")
        if piece.share:
            shown = f"{shown}({signed(piece.contribution)})"
            if colours:
                tint = (PLUS if piece.share > 0 else MINUS) + (STRONG if abs(piece.share) >= 0.5 else "")
                shown = f"{tint}{shown}{PLAIN}"
        parts.append(shown)
    return "".join(parts).strip()
