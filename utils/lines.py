"""Lines that a terminal shows whole: how wide a text is there, and sentences, commands and tables folded to that width.

Where no terminal is, nothing is folded: what a file holds does not hang on the window in which it was made.
"""

import os
import re
import shutil
from collections.abc import Sequence
from typing import TextIO

# The pieces of a command that a shell reads as one: quoted text holds blanks.
_TOKENS = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+""")
_COMMAND = re.compile(r"(?:(?<=: )|^\s*)\S*(?:python[\d.]*|accelerate launch) \S*run_\w+\.py .*$")
_INDENT = "  "  # of the lines that continue a command
LEAST = 20  # columns; a narrower terminal breaks lines itself


def terminal_width(stream: TextIO | None) -> int | None:
    """The columns of the terminal that `stream` writes to; None: it writes to none."""
    if stream is None or not stream.isatty():
        return None
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # a terminal that does not tell
        columns = 0
    return max(LEAST, columns or shutil.get_terminal_size().columns)


def shown_width(text: str) -> int:
    """The columns that a text without line ends takes: two for a Chinese sign, none for an accent of its own
    or a colour."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    import wcwidth

    return max(0, wcwidth.width(text))


def counted(number: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shortened(text: str, width: int) -> str:
    """`text`, with `…` for its end where it takes more than `width` columns."""
    if shown_width(text) <= width:
        return text
    first, _ = _cut(text, width - 1)
    return f"{first}…"


def padded(text: str, width: int, right: bool = False) -> str:
    """`text` with blanks to `width` columns, on its left if `right`."""
    blanks = " " * (width - shown_width(text))
    return blanks + text if right else text + blanks


def folded(text: str, width: int | None, further: str = "") -> str:
    """`text` with no line of more than `width` columns where blanks allow that; None: as it is.

    Sentences are folded between words, and go on as far in as they began, and by `further`; commands so that a shell
    reads them as one.
    A word that is too long is cut, but for paths and URLs, which stay whole, so that they can be copied.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _folded_line(line, width, further))


def _folded_line(line: str, width: int, further: str) -> list[str]:
    if shown_width(line) <= width or line.startswith("|"):
        return [line]
    if found := _COMMAND.search(line):
        before = line[: found.start()].rstrip()
        indent = line[: len(line) - len(line.lstrip())] + ("  " if before else "")
        command = _filled(_with_values(_TOKENS.findall(found[0].strip())), width - 2, indent, indent + _INDENT)
        return [
            *(_folded_line(before, width, further) if before else []),
            *(f"{part} \\" for part in command[:-1]),
            command[-1],
        ]
    indent = line[: len(line) - len(line.lstrip())]
    room = max(2, width - len(indent + further))
    words = [piece for word in line.split() for piece in ([word] if "/" in word else _pieces(word, room))]
    return _filled(words, width, indent, indent + further)


def _with_values(tokens: Sequence[str]) -> list[str]:
    """The pieces of a command, each option with its first value."""
    pieces: list[str] = []
    for token in tokens:
        if pieces and re.fullmatch(r"--\w+", pieces[-1]) and not token.startswith("-"):
            pieces[-1] += f" {token}"
        else:
            pieces.append(token)
    return pieces


def _filled(words: Sequence[str], width: int, first: str, further: str) -> list[str]:
    """Words in lines of at most `width` columns, as long as no word is longer."""
    lines, current, columns = [], first + words[0], shown_width(first + words[0])
    for word in words[1:]:
        needed = shown_width(word)
        if columns + 1 + needed <= width:
            current, columns = f"{current} {word}", columns + 1 + needed
        else:
            lines.append(current)
            current, columns = further + word, shown_width(further) + needed
    return [*lines, current]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """A Markdown table, padded so that it also reads well in a terminal; numbers to the right.

    Args:
        width: the columns that it may take (None: any number). Columns that have no place stand in a further table
            below, beside the first column again; long cells of that go on in the next line. No number is broken.
    """
    table = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(shown_width(row[column]) for row in table) for column in range(len(header))]
    if width is None or 4 + widths[0] + sum(3 + other for other in widths[1:]) <= width:
        return _block(table, widths)
    widest = 3 + max(widths[1:]) if len(widths) > 1 else 0
    widths[0] = min(widths[0], max(8, width - 4 - widest if len(widths) < 3 else min(width - 4 - widest, width // 3)))
    start = 1
    blocks: list[str] = []
    while start < len(widths) or not blocks:
        end, taken = start, 4 + widths[0]
        while end < len(widths) and (end == start or taken + 3 + widths[end] <= width):
            taken += 3 + widths[end]
            end += 1
        chosen = [0, *range(start, end)]
        blocks.append(_block([[row[column] for column in chosen] for row in table], [widths[i] for i in chosen]))
        start = max(end, start + 1)
    return "\n\n".join(blocks)


def _block(table: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    lines = []
    for number, (first, *others) in enumerate(table):
        begun, *continued = _pieces(first, widths[0])
        cells = [padded(cell, width, right=True) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(" | ".join([padded(begun, widths[0]), *cells]))
        blank = [" " * width for width in widths[1:]]
        lines += [" | ".join([padded(piece, widths[0]), *blank]) for piece in continued]
        if number == 0:
            lines.append(" | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]))
    return "\n".join(f"| {line} |" for line in lines)


def _pieces(text: str, width: int) -> list[str]:
    """`text` in pieces of at most `width` columns."""
    pieces = []
    while shown_width(text) > width:
        piece, text = _cut(text, width)
        pieces.append(piece)
    return [*pieces, text]


def _cut(text: str, width: int) -> tuple[str, str]:
    """The longest beginning of a text that takes at most `width` columns, and the rest; no sign is cut in two."""
    if text.isascii():
        return text[:width], text[width:]
    import wcwidth

    first, columns = "", 0
    for sign in wcwidth.iter_graphemes(text):
        columns += shown_width(sign)
        if columns > width:
            break
        first += sign
    return first, text[len(first) :]
