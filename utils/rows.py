"""Rows of a file, one after the other: plain text, TSV, CSV, JSON Lines and Parquet, read and written in pieces.

A row that cannot be read does not end the file: it comes with a sentence that says why, and the caller decides.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow
import pyarrow.parquet

from utils.console import InputError

ROWS_AT_A_TIME = 4096
RELEASE_COLUMNS = ("text", "labels", "id")  # a TSV without a header is in the layout of GoEmotions' release
csv.field_size_limit(2**31 - 1)  # a comment may be longer than the 131,072 characters that csv allows


class Row(NamedTuple):
    """Where a row stands, its cells by column, and what is wrong with it as a row (None: nothing)."""

    place: str
    cells: dict[str, Any]
    problem: str | None = None


def read_rows(path: Path, file: BinaryIO | None = None, text_column: str = "text") -> Iterator[Row]:
    """The rows of a file, by its suffix (see `READERS`), or those of an open `file` as if `path` were its name.

    A TSV has a header if its first line is made of names, `text_column` among them; plain text becomes that one column.

    Text formats are UTF-8, with or without a byte order mark. A line that is not keeps what can be decoded and names
    the problem. In TSV quotes are ordinary characters: over a thousand GoEmotions comments contain one.

    Raises:
        InputError: there is no such file, its suffix is unknown, or it is not of its format at all.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown kind of file {path.suffix!r}; accepted: {', '.join(READERS)}.")
    if file is None and not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    if reader is _read_parquet:
        yield from _read_parquet(path)
        return
    with file or path.open("rb") as opened:
        yield from reader(path.name, opened, text_column)


def _lines(name: str, file: BinaryIO) -> Iterator[tuple[str, str, str | None]]:
    """Place, text without its line end, and problem of each line."""
    for number, raw in enumerate(file, start=1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield f"{name} line {number}", raw.decode("utf-8"), None
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 (byte {error.start + 1} of the line)"
            yield f"{name} line {number}", raw.decode("utf-8", errors="replace"), problem


def _read_text(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    for place, line, problem in _lines(name, file):
        yield Row(place, {text_column: line}, problem)


def _read_tsv(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    columns: Sequence[str] | None = None
    for place, line, problem in _lines(name, file):
        if not line:
            continue
        cells = line.split("\t")
        if columns is None:
            has_header = text_column in cells and all(cell.isidentifier() for cell in cells)
            columns = cells if has_header else [*RELEASE_COLUMNS, *(f"column_{i}" for i in range(4, len(cells) + 1))]
            if has_header:
                continue
            columns = columns[: len(cells)]
        if problem is None and len(cells) != len(columns):
            problem = f"{len(cells)} column(s) where there should be {len(columns)} ({', '.join(columns)})"
        yield Row(place, dict(zip(columns, cells, strict=False)), problem)


def _read_csv(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    broken: list[str] = []

    def decoded() -> Iterator[str]:
        for _, line, problem in _lines(name, file):
            broken.extend([problem] if problem else [])
            yield line + "\n"

    reader = csv.reader(decoded())
    try:
        columns = next(reader, [])
        for cells in reader:
            place = f"{name} line {reader.line_num}"
            if not cells:
                continue
            problem = broken.pop() if broken else None
            if problem is None and len(cells) != len(columns):
                problem = f"{len(cells)} column(s) where the header has {len(columns)}"
            yield Row(place, dict(zip(columns, cells, strict=False)), problem)
    except csv.Error as error:
        yield Row(f"{name} line {reader.line_num}", {}, str(error))


def _read_json_lines(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    for place, line, problem in _lines(name, file):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            cells, problem = {}, problem or f"not JSON ({error})"
        if not isinstance(cells, dict):
            cells, problem = {}, f"not a JSON object but {type(cells).__name__}"
        yield Row(place, cells, problem)


def _read_parquet(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_A_TIME):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(f"{path.name} row {number}", cells)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}).") from error


READERS = {
    ".txt": _read_text,
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
}


class RowWriter:
    """Writes rows to a file beside `path` and puts it in place when all are written (`with RowWriter(path) as out`).

    JSON Lines and Parquet keep lists as lists. In CSV and TSV lists of numbers or names are comma-separated; TSV has no
    quoting, so tabs and line ends within a cell become spaces.
    """

    SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")

    def __init__(self, path: Path):
        if path.suffix.lower() not in self.SUFFIXES:
            raise InputError(f"{path}: unknown kind of file {path.suffix!r}; accepted: {', '.join(self.SUFFIXES)}.")
        self.path, self.suffix = path, path.suffix.lower()
        self.unfinished = path.with_name(path.name + ".unfinished")
        self.pending: list[dict[str, Any]] = []
        self.columns: list[str] | None = None
        self.parquet: pyarrow.parquet.ParquetWriter | None = None

    def __enter__(self) -> "RowWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.unfinished.open("wb")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}); give another place.") from error
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
            if self.parquet is not None:
                self.parquet.close()
            self.file.close()
            if kind is None:
                self.unfinished.replace(self.path)
        finally:
            self.unfinished.unlink(missing_ok=True)

    def write(self, row: dict[str, Any]) -> None:
        """Append a row. The first rows fix the columns of CSV, TSV and Parquet; a lacking cell is left empty.

        Raises:
            InputError: a later row has a column, or a type, that the file cannot take.
        """
        self.pending.append(row)
        if len(self.pending) == ROWS_AT_A_TIME:
            self._flush()

    def _flush(self) -> None:
        rows, self.pending = self.pending, []
        if self.suffix == ".jsonl":
            lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows]
            self.file.write("".join(lines).encode("utf-8", "replace"))
            return
        if self.columns is None and rows:
            self.columns = list(dict.fromkeys(column for row in rows for column in row))
            if self.suffix != ".parquet":
                self._write_lines([self.columns])
        for row in rows:
            if unknown := [column for column in row if column not in self.columns]:
                raise InputError(
                    f"{self.path}: a later row has the column {unknown[0]!r}, which the first ones lack; JSON Lines "
                    "(.jsonl) holds such rows."
                )
        if self.suffix == ".parquet":
            self._write_parquet(rows)
        else:
            self._write_lines([[_cell(row.get(column)) for column in self.columns] for row in rows])

    def _write_lines(self, lines: list[list[str]]) -> None:
        if self.suffix == ".tsv":
            flat = [[" ".join(cell.splitlines()).replace("\t", " ") for cell in line] for line in lines]
            text = "".join("\t".join(line) + "\n" for line in flat)
        else:
            parts: list[str] = []
            csv.writer(_Sink(parts), lineterminator="\n").writerows(lines)
            text = "".join(parts)
        self.file.write(text.encode("utf-8", "replace"))

    def _write_parquet(self, rows: list[dict[str, Any]]) -> None:
        try:
            if self.parquet is None:
                schema = pyarrow.Table.from_pylist(rows).schema
                for index, column in enumerate(schema):
                    if pyarrow.types.is_null(column.type):
                        schema = schema.set(index, column.with_type(pyarrow.string()))
                for name, kind in (("labels", pyarrow.string()), ("scores", pyarrow.float64())):
                    if name in schema.names:
                        schema = schema.set(schema.names.index(name), pyarrow.field(name, pyarrow.list_(kind)))
                self.schema = schema
                self.parquet = pyarrow.parquet.ParquetWriter(self.file, schema)
            self.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=self.schema))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise InputError(
                f"{self.path}: a column's values are of different types ({str(error).splitlines()[0]}); JSON Lines "
                "(.jsonl) holds such rows."
            ) from error


class _Sink:
    """What `csv.writer` needs of a file."""

    def __init__(self, parts: list[str]):
        self.write = parts.append


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ",".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def count_rows(path: Path) -> int:
    """Roughly how many rows a file has, quickly, for a progress bar."""
    if path.suffix.lower() == ".parquet":
        try:
            return pyarrow.parquet.read_metadata(path).num_rows
        except (pyarrow.ArrowInvalid, pyarrow.ArrowException):
            return 0
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
