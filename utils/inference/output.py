"""Rows with their emotions → the bytes of a file, in pieces that are written one by one and joined in the end."""

import csv
import io
import itertools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from utils.data.rows import ROWS_AT_A_TIME, Row, kind_of, read_rows
from utils.inference.page import page_of

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet", ".html")
PAGE = ".html"  # for people: the texts, their labels and the words that moved them, without the other columns
DEEPEST = 40  # lists and objects in each other, in a column: Parquet's readers follow two levels for each, up to 100
ROW_GROUP = 1 << 16  # rows that a joined Parquet file compresses together
ADDED = {"labels": pyarrow.list_(pyarrow.string()), "scores": pyarrow.list_(pyarrow.float64())}
_WORD = pyarrow.struct({"word": pyarrow.string(), "contribution": pyarrow.float64()})
_FIGURES = {name: pyarrow.float64() for name in ("log_odds", "without_words", "together")}
_LABEL = pyarrow.struct({"label": pyarrow.string(), **_FIGURES, "words": pyarrow.list_(_WORD)})
EXPLAINED = {"words": pyarrow.list_(_LABEL)}  # as `utils.explaining.attributions` makes them
_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


class OutputFile:
    """How the rows of one output file are written: by its suffix, `.gz` or `.zst` behind it for compression.

    JSON Lines and Parquet keep lists as lists. In CSV and TSV lists of numbers or names are comma-separated, all others
    JSON; TSV has no quoting, so tabs and line ends within a cell become spaces. HTML is for people, see
    `utils.inference.page`. In Parquet a value that its column's type does not hold is refused by Arrow, but for columns
    of strings and of floats, see `table_schema`.
    """

    def __init__(self, path: Path, schema: pyarrow.Schema = None, text_column: str = "text"):
        """`schema`: the columns, see `table_schema`; JSON Lines and HTML do without. `text_column`: for HTML."""
        self.path, self.schema, self.text_column = path, schema, text_column
        self.kind, self.compression = kind_of(path)

    def piece(self, rows: Sequence[Mapping[str, Any]], first: bool = True) -> bytes:
        """The bytes of some rows; the first piece of a file carries its header. A lacking cell is left empty."""
        if self.kind == ".parquet":
            sink = pyarrow.BufferOutputStream()
            columns = [_array([row.get(field.name) for row in rows], field.type) for field in self.schema]
            pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, schema=self.schema), sink)
            return sink.getvalue().to_pybytes()
        if self.kind == ".jsonl":
            text = "".join([_to_json(row) + "\n" for row in rows])
        elif self.kind == PAGE:
            text = page_of(rows, self.text_column, first)
        else:
            names = self.schema.names
            lines = [names] if first else []
            lines += [[_cell(row.get(name)) for name in names] for row in rows]
            text = _tsv(lines) if self.kind == ".tsv" else _csv(lines)
        content = text.encode("utf-8", "replace")
        return pyarrow.Codec(self.compression).compress(content, asbytes=True) if self.compression else content

    def join(self, pieces: Iterable[BinaryIO], file: BinaryIO) -> None:
        """Write all pieces to `file` in order, with one row group in memory at most, and close them.

        Text is only copied: gzip and zstd files may consist of several streams.
        """
        if self.kind != ".parquet":
            for piece in pieces:
                with piece:
                    shutil.copyfileobj(piece, file)
            return
        with pyarrow.parquet.ParquetWriter(file, self.schema) as writer:
            tables: list[pyarrow.Table] = []
            for table in itertools.chain(map(_table, pieces), [None]):
                if tables and (table is None or sum(map(len, tables)) >= ROW_GROUP):
                    writer.write_table(pyarrow.concat_tables(tables), row_group_size=1 << 30)
                    tables = []
                tables += [table] if table is not None else []


def _table(piece: BinaryIO) -> pyarrow.Table:
    with piece:
        return pyarrow.parquet.read_table(piece)


def output_problem(path: Path) -> str | None:
    """Why results cannot be written to a file of this name, as a sentence; None if they can."""
    if kind_of(path)[0] not in SUFFIXES:
        return (
            f"{path}: unknown kind of file {path.suffix!r}; accepted: {', '.join(SUFFIXES)}, text also "
            "with .gz or .zst."
        )
    return f"{path} is a folder; give the name of a file." if path.is_dir() else None


def added_columns(all_scores: Sequence[str] = (), explained: bool = False) -> dict[str, pyarrow.DataType]:
    """The columns that are added to the input's.

    They are `labels`, `scores`, for `all_scores` a probability per label, and where labels are `explained` the words.
    """
    probabilities = {probability_column(label): pyarrow.float64() for label in all_scores}
    return ADDED | probabilities | (EXPLAINED if explained else {})


def probability_column(label: str) -> str:
    """The column of a label's probability: never that of the score of a folded model."""
    return f"probability_{label}"


def kept_names(columns: Iterable[str], added: Iterable[str] = ADDED) -> dict[str, str]:
    """What the input's columns are called in the output: those with a name that is added become `input_…`."""
    columns, added = list(columns), set(added)
    names, taken = {}, {*columns, *added}
    for column in columns:
        name = column
        while column in added and name in taken:
            name = f"input_{name}"
        names[column] = name
    return names


def table_schema(
    path: Path | None, columns: Sequence[str], text_column: str, added: Mapping[str, pyarrow.DataType] = ADDED
) -> pyarrow.Schema:
    """The columns of a table with all of the input's columns and the added ones.

    A Parquet input keeps its types. CSV, TSV and plain text are strings, with the columns of the first row. JSON Lines
    may differ from row to row, so all are read: a column gets the type that holds all its values (nothing and
    integers, integers and floats), or is one of strings, with JSON in place of other values.

    Args:
        path: the input; None for texts without a file, or a stream.
        columns: those of such a stream; strings, all of them.
        added: see `added_columns`.
    """
    if path is None:
        fields = [pyarrow.field(name, pyarrow.string()) for name in columns]
    elif kind_of(path)[0] == ".parquet":
        fields = list(pyarrow.parquet.read_schema(path).remove_metadata())
    elif kind_of(path)[0] in (".jsonl", ".json"):
        fields = [pyarrow.field(name, kind) for name, kind in _json_types(read_rows(path)).items()]
    else:
        first = next(read_rows(path, text_column=text_column)).cells
        fields = [pyarrow.field(name, pyarrow.string()) for name in first]
    names = kept_names([field.name for field in fields], added)
    fields = [field.with_name(names[field.name]) for field in fields]
    return pyarrow.schema([*fields, *(pyarrow.field(name, kind) for name, kind in added.items())])


def _json_types(rows: Iterable[Row]) -> dict[str, pyarrow.DataType]:
    types: dict[str, pyarrow.DataType] = {}
    rows = iter(rows)
    while window := list(itertools.islice(rows, ROWS_AT_A_TIME)):
        values: dict[str, list[Any]] = {}
        for row in window:
            for name, value in row.cells.items():
                values.setdefault(name, []).append(value)
        for name, column in values.items():
            if types.get(name) != pyarrow.string():
                types[name] = _common_type(types.get(name, pyarrow.null()), column)
    return {name: _storable(kind) for name, kind in types.items()}


def _common_type(kind: pyarrow.DataType, values: list[Any]) -> pyarrow.DataType:
    """The type that holds `values` and those of type `kind`; string where there is none."""
    try:
        schemas = [pyarrow.schema([("column", kind)]) for kind in (kind, pyarrow.array(values).type)]
        return pyarrow.unify_schemas(schemas, promote_options="permissive").field("column").type
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError):
        return pyarrow.string()


def _storable(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type itself if Parquet has it (it lacks objects without keys, for one), otherwise string."""
    if pyarrow.types.is_null(kind) or str(kind).count("<") > DEEPEST:
        return pyarrow.string()
    try:
        pyarrow.parquet.write_table(pyarrow.schema([("column", kind)]).empty_table(), io.BytesIO())
    except pyarrow.ArrowException:
        return pyarrow.string()
    return kind


def _array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """A column. Strings and floats take whatever is no string as JSON and what is an integer as the nearest float."""
    try:
        return pyarrow.array(values, type=kind)
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError):
        if pyarrow.types.is_floating(kind):
            return pyarrow.array([None if value is None else float(value) for value in values], type=kind)
        if not pyarrow.types.is_string(kind):
            raise
    texts = [value if isinstance(value, str | None) else _to_json(value) for value in values]
    whole = [None if text is None else text.encode("utf-8", "replace").decode() for text in texts]  # no lone surrogates
    return pyarrow.array(whole, type=kind)


def _tsv(lines: list[list[str]]) -> str:
    flat = [[" ".join(cell.splitlines()).replace("\t", " ") for cell in line] for line in lines]
    return "".join(["\t".join(line) + "\n" for line in flat])


def _csv(lines: list[list[str]]) -> str:
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the other leaves a lone \r without quotes
    for line in lines:
        (quoted if any("\r" in cell for cell in line) else plain).writerow(line)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ",".join(map(str, value))
    return _to_json(value) if isinstance(value, list | dict) else str(value)
