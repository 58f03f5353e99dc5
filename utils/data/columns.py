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
    text, no_text = find_text_column(names, args.text_column)
    others = [name for name in names if name != text]
    labels, no_labels = _label_columns(others, args, rows)
    if problems := [problem for problem in (no_text, no_labels) if problem]:  # both in one go
        raise InputError(f"{where} (columns: {_listed(names)}): {' And '.join(problems)}")
    one_hot = bool(args.label_columns) or len(labels) > 1
    return Columns(text, labels, one_hot)


def find_text_column(names: Sequence[str], asked: str | None) -> tuple[str, str | None]:
    """The text's column, the one that is asked for or that has a usual name, and what to say where there is none."""
    if asked:
        return asked, None if asked in names else f"--text_column {asked}: there is no such column."
    usual = [name for name in names if name.lower() in TEXT_NAMES]
    if "text" in names or len(usual) == 1:
        return ("text" if "text" in names else usual[0]), None
    if usual:
        return "", f"{' and '.join(usual)} may hold the text; say which with --text_column."
    return "", "no column text; name it with --text_column."


def _label_columns(names: list[str], args: DataArguments, rows: Sequence[Row]) -> tuple[tuple[str, ...], str | None]:
    """The labels' column, or those of zeros and ones, and what to say where there is none."""
    if args.label_columns:
        asked = tuple(name.strip() for name in args.label_columns.split(","))
        missing = [name for name in asked if name not in names]
        return asked, f"--label_columns {', '.join(missing)}: there is no such column." if missing else None
    if args.label_column:
        there = args.label_column in names
        return (args.label_column,), None if there else f"--label_column {args.label_column}: there is no such column."
    usual = [name for name in names if name.lower() in LABEL_NAMES]
    if "labels" in names or len(usual) == 1:
        return ("labels" if "labels" in names else usual[0],), None
    if usual:
        return (), f"{' and '.join(usual)} may hold the labels; say which with --label_column."
    if found := _binary_columns(names, rows):
        return found, None
    return (), (
        "no column labels; name it with --label_column, or the columns of zeros and ones, one for each label, with "
        "--label_columns A,B,C."
    )


def one_hot_problem(row: Row, columns: Sequence[str]) -> str | None:
    """Why a row's columns of zeros and ones cannot be read, as a sentence; None if they can."""
    for column in columns:
        if not is_binary(row.cells.get(column)):
            return f"column {column} is {row.cells.get(column)!r}, not 0 or 1"
    return None


def one_hot_ids(row: Row, columns: Sequence[str]) -> list[int]:
    """The ids of a row's labels, counted in the order of their columns."""
    return [index for index, column in enumerate(columns) if zero_or_one(row.cells[column])]


def _binary_columns(names: list[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """Columns of zeros and ones, at least two; columns of truth values count where there are no others."""
    good = [row.cells for row in rows if row.problem is None]
    binary = [name for name in names if all(is_binary(cells.get(name)) for cells in good)]
    truth = [name for name in binary if all(str(cells[name]).lower() in ("true", "false") for cells in good)]
    found = [name for name in binary if name not in truth] or truth
    return tuple(found) if len(found) > 1 else ()


def _listed(names: Sequence[str]) -> str:
    named = [name for name in names if name]
    return ", ".join(named[:20]) + (", …" if len(named) > 20 else "") or "none"
