"""The labels of one row as files hold them: a list, a list written as text, names with a separator, zeros and ones.

What a column means is decided once, from all of its cells (`find_layout`), and then holds for every one of them.
"""

import ast
import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from utils.console import InputError

NEVER_IN_NAMES = ("|", ";")  # in a plain cell they join labels; names that have them stand in lists or in labels.txt
SELDOM_IN_NAMES = ("/", "&", "+", "\t", "\n", "#", "~")
OFTEN_IN_NAMES = (" and ", " ", "-", "_", ":", ".")  # these join labels where every part is a label by itself
_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,\[\](){}]+""")
_CALL = re.compile(r"(?:np\.|numpy\.)?(?:array|set|frozenset|list|tuple)\((.*?)(?:,\s*dtype=[^)]*)?\)", re.DOTALL)

Token = int | str


class Layout(NamedTuple):
    """How a column holds labels: `lists` of names or ids, `vectors` of zeros and ones, `text` split at a separator."""

    kind: Literal["lists", "vectors", "text"]
    separator: str = ","
    width: int = 0  # of vectors

    def describe(self) -> str:
        """The layout in a few words."""
        if self.kind == "vectors":
            return f"vectors of {self.width} zeros and ones"
        return "lists" if self.kind == "lists" else f"names or ids, split at {self.separator!r}"


def find_layout(column: str, cells: Iterable[Any], separator: str | None, names: Sequence[str] | None) -> Layout:
    """The layout of a column, from its cells.

    Args:
        column: its name, for the sentence.
        cells: those of the training rows.
        separator: what joins labels in a plain cell, as `--label_separator` says; None: the comma, and a column that
            looks as if another one joined them is refused.
        names: the label names, where they are known.

    Raises:
        InputError: labels look joined by another separator, or are a column of truth values.
    """
    opened = [cell for cell in map(_opened, cells) if cell not in ([], "")]
    if any(isinstance(cell, bool) for cell in opened):
        raise InputError(
            f"Column {column!r} holds True and False: it is one label of its own. Name such columns, one per label: "
            f"--label_columns {column}."
        )
    lists = [cell for cell in opened if isinstance(cell, list)]
    if lists and len(lists) == len(opened):
        width = len(lists[0])
        binary = all(len(cell) == width and all(_zero_or_one(item) for item in cell) for cell in lists)
        return Layout("vectors", width=width) if binary and width > 1 else Layout("lists")
    plain = {cell for cell in opened if isinstance(cell, str)} - set(names or ())
    if separator is None and (joined := _joined_by(plain)):
        raise InputError(
            f"Column {column!r} looks as if {joined!r} joined several labels (as in {_example(plain, joined)!r}); say "
            f"so with --label_separator {_quoted(joined)}, or --label_separator , if these are names as they stand."
        )
    return Layout("text", separator or ",")


def read_cell(cell: Any, layout: Layout, names: Sequence[str] | None) -> list[Token] | None:
    """A row's labels, as names and ids; None where the cell does not have the column's layout.

    Digits are an id, unless `names` has them as a name.
    """
    opened = _opened(cell)
    if opened in ([], ""):
        return []
    if layout.kind == "vectors":
        if not isinstance(opened, list) or len(opened) != layout.width or not all(map(_zero_or_one, opened)):
            return None
        return [index for index, item in enumerate(opened) if float(item) == 1]
    if isinstance(opened, str):
        whole = opened in (names or ())
        opened = [opened] if whole else [part.strip() for part in opened.split(layout.separator)]
        opened = [part for part in opened if part]
    elif not isinstance(opened, list):
        opened = [opened]
    tokens = [_token(item, names) for item in opened]
    return None if None in tokens else [token for token in tokens if token is not None]


def is_binary(value: Any) -> bool:
    """Whether a cell is a zero or a one, as a number, a truth value or text."""
    return zero_or_one(value) is not None


def zero_or_one(value: Any) -> int | None:
    """0 or 1 for a cell of a column that holds one label; None for anything else."""
    if isinstance(value, str):
        return {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}.get(value.strip().lower())
    return int(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def _opened(cell: Any) -> Any:
    """A cell without its wrapping: a list, a text, a number or a truth value; [] for nothing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return []
    if isinstance(cell, dict) and set(cell) == {"choices"}:  # as Label Studio exports them
        cell = cell["choices"]
    if isinstance(cell, tuple | set | frozenset):
        return list(cell)
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if call := _CALL.fullmatch(text):
        text = call[1].strip() or "[]"
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return text
    tokens = list(_TOKEN.finditer(text, 1, len(text) - 1))
    gaps = [text[one.end() : other.start()] for one, other in itertools.pairwise(tokens)]
    if gaps and all(gap.isspace() for gap in gaps):  # numpy prints lists without commas
        return [_literal(token[0]) for token in tokens]
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict) and found:
            return _opened(found) if set(found) == {"choices"} else cell
        return _opened(found) if isinstance(found, list | tuple | set | str) else list(found)
    return [_literal(part.strip()) for part in text[1:-1].split(",") if part.strip()]


def _literal(token: str) -> Any:
    try:
        return ast.literal_eval(token)
    except (ValueError, SyntaxError):
        return token


def _token(item: Any, names: Sequence[str] | None) -> Token | None:
    if isinstance(item, bool):
        return None
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, int):
        return str(item) if names and str(item) in names else item
    if not isinstance(item, str):
        return None
    item = item if names and item in names else item.strip()
    return int(item) if item.isascii() and item.isdigit() and item not in (names or ()) else item


def _zero_or_one(item: Any) -> bool:
    return isinstance(item, bool | int | float) and item in (0, 1)


def _joined_by(cells: set[str]) -> str | None:
    """What seems to join labels in plain cells: a sign that no name has, or one whose parts occur apart as well."""
    for sign in NEVER_IN_NAMES:
        if any(sign in cell.strip(sign) for cell in cells):
            return sign
    for sign in SELDOM_IN_NAMES:
        joined = [{part.strip() for part in cell.split(sign)} for cell in cells if sign in cell]
        apart = {cell for cell in cells if sign not in cell}
        if any(parts & apart or any(parts & other for other in joined if other != parts) for parts in joined):
            return sign
    for sign in OFTEN_IN_NAMES:
        if any(sign in cell and {part.strip() for part in cell.split(sign)} <= cells for cell in cells):
            return sign
    return None


def _example(cells: set[str], sign: str) -> str:
    return min((cell for cell in cells if sign in cell), key=len)


def _quoted(sign: str) -> str:
    return {"\t": "$'\\t'", "\n": "$'\\n'"}.get(sign, f"'{sign}'")
