"""Which column of a dataset holds the text, and which its labels: by an argument, or by the usual names."""

from collections.abc import Sequence
from typing import NamedTuple

from utils.arguments import DataArguments
from utils.console import InputError
from utils.data.label_cells import is_binary, zero_or_one
from utils.data.rows import LABEL_NAMES, TEXT_NAMES, Row


class Columns(NamedTuple):
    """The text's column, and that of the labels, or one column of zeros and ones for each label."""

    text: str
    labels: tuple[str, ...]
    one_hot: bool


def find_columns(rows: Sequence[Row], args: DataArguments, where: str) -> Columns:
    """The columns that `args` names, or that have the usual names.

    Args:
        rows: of the training split.
        where: what the rows were read from, for the sentence.

    Raises:
        InputError: a column is missing, or more than one could be meant.
    """
    names = list(dict.fromkeys(name for row in rows if row.problem is None for name in row.cells))
    text = _text_column(names, args.text_column, where)
    others = [name for name in names if name != text]
    if args.label_columns:
        asked = [name.strip() for name in args.label_columns.split(",")]
        if missing := [name for name in asked if name not in others]:
            raise InputError(
                f"{where}: --label_columns {', '.join(missing)}: there is no such column ({_listed(others)})."
            )
        return Columns(text, tuple(asked), one_hot=True)
    if args.label_column:
        if args.label_column not in others:
            raise InputError(f"{where}: no column {args.label_column} ({_listed(others)}), which --label_column names.")
        return Columns(text, (args.label_column,), one_hot=False)
    usual = [name for name in others if name.lower() in LABEL_NAMES]
    if "labels" in others or len(usual) == 1:
        return Columns(text, ("labels" if "labels" in others else usual[0],), one_hot=False)
    if usual:
        raise InputError(f"{where}: {' and '.join(usual)} may hold the labels; say which with --label_column.")
    found = _binary_columns(others, rows)
    if not found:
        raise InputError(
            f"{where}: no column labels ({_listed(others)}); name it with --label_column, or the columns of zeros and "
            "ones, one for each label, with --label_columns A,B,C."
        )
    return Columns(text, found, one_hot=True)


def one_hot_problem(row: Row, columns: Sequence[str]) -> str | None:
    """Why a row's columns of zeros and ones cannot be read, as a sentence; None if they can."""
    for column in columns:
        if not is_binary(row.cells.get(column)):
            return f"column {column} is {row.cells.get(column)!r}, not 0 or 1"
    return None


def one_hot_ids(row: Row, columns: Sequence[str]) -> list[int]:
    """The ids of a row's labels, counted in the order of their columns."""
    return [index for index, column in enumerate(columns) if zero_or_one(row.cells[column])]


def _text_column(names: list[str], asked: str | None, where: str) -> str:
    if asked:
        if asked not in names:
            raise InputError(f"{where}: no column {asked} ({_listed(names)}), which --text_column names.")
        return asked
    usual = [name for name in names if name.lower() in TEXT_NAMES]
    if "text" in names or len(usual) == 1:
        return "text" if "text" in names else usual[0]
    if usual:
        raise InputError(f"{where}: {' and '.join(usual)} may hold the text; say which with --text_column.")
    raise InputError(f"{where}: no column text ({_listed(names)}); name it with --text_column.")


def _binary_columns(names: list[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """Columns of zeros and ones, at least two; columns of truth values count where there are no others."""
    good = [row.cells for row in rows if row.problem is None]
    binary = [name for name in names if all(is_binary(cells.get(name)) for cells in good)]
    truth = [name for name in binary if all(str(cells[name]).lower() in ("true", "false") for cells in good)]
    found = [name for name in binary if name not in truth] or truth
    return tuple(found) if len(found) > 1 else ()


def _listed(names: Sequence[str]) -> str:
    named = [name for name in names if name]
    return f"found: {', '.join(named[:20])}{', …' if len(named) > 20 else ''}" if named else "found: none"
