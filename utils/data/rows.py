"""The rows of a file, one after the other: plain text, TSV, CSV, JSON Lines and Parquet, read in pieces.

A row that cannot be read does not end the file: it comes with a sentence that says why, and the caller decides.
"""

import csv
import io
import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow
import pyarrow.parquet

from utils.console import InputError

ROWS_AT_A_TIME = 4096
MAX_LINES = 1000  # of one CSV row: a quote that is still open then was never meant to span so much
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
RELEASE_COLUMNS = ("text", "labels", "id")  # a TSV without a header is in the layout of GoEmotions' release
csv.field_size_limit(2**31 - 1)  # a comment may be longer than the 131,072 characters that csv allows


class Row(NamedTuple):
    """Where a row stands, its cells by column, and what is wrong with it as a row (None: nothing)."""

    place: str
    cells: dict[str, Any]
    problem: str | None = None


def kind_of(path: Path) -> tuple[str, str | None]:
    """The suffix that names a file's format, and its compression: `x.csv.gz` is (".csv", "gzip")."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS and suffixes[-2:-1] != [".parquet"]:
        return "".join(suffixes[-2:-1]), COMPRESSIONS[suffixes[-1]]
    return path.suffix.lower(), None


def read_rows(path: Path, file: BinaryIO | None = None, text_column: str = "text") -> Iterator[Row]:
    """The rows of a file, by its suffix (see `READERS`), or those of an open `file` as if `path` were its name.

    A TSV has a header if its first line is made of names, `text_column` among them; plain text becomes that one column.
    Text formats may be compressed (`.gz`, `.zst`); Parquet compresses itself.

    Text formats are UTF-8, with or without a byte order mark. A line that is not keeps what can be decoded and names
    the problem. In TSV quotes are ordinary characters: over a thousand GoEmotions comments contain one.

    Raises:
        InputError: there is no such file, its suffix is unknown, or it is not of its format at all.
    """
    if problem := input_problem(path, is_open=file is not None):
        raise InputError(problem)
    kind = kind_of(path)[0]
    if kind == ".parquet":
        yield from _read_parquet(path)
        return
    reader = _TEXT_READERS[kind]
    with file or open_file(path) as opened:
        try:
            yield from reader(path.name, opened, text_column)
        except OSError as error:
            raise _unreadable(path, error) from error


def input_problem(path: Path, is_open: bool = False) -> str | None:
    """Why a file of this name cannot be read, as a sentence; None if it can, so far."""
    if kind_of(path)[0] not in READERS:
        return (
            f"{path}: unknown kind of file {path.suffix!r}; accepted: {', '.join(READERS)}, the text formats also "
            "with .gz or .zst."
        )
    return f"{path}: there is no such file." if not is_open and not path.is_file() else None


def open_file(path: Path) -> BinaryIO:
    """A file's content, decompressed on the way."""
    compression = kind_of(path)[1]
    if compression is None:
        return path.open("rb")
    return io.BufferedReader(pyarrow.input_stream(str(path), compression=compression), 1 << 20)


def _unreadable(path: Path, error: OSError) -> Exception:
    """What reading ended with: Arrow tells of broken compression in an OSError without a number."""
    if error.errno is not None:
        return error
    return InputError(f"{path}: the compressed file is broken or cut short ({str(error).splitlines()[0]}).")


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
        yield Row(place, _by_column(columns, cells), problem)


def _read_csv(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    columns: list[str] | None = None
    for place, cells, problem in _csv_records(name, file):
        if columns is None:
            columns = cells
            continue
        if problem is None and len(cells) != len(columns):
            problem = f"{len(cells)} column(s) where the header has {len(columns)}"
        yield Row(place, _by_column(columns, cells), problem)


class _OpenQuoteError(Exception):
    """A quoted cell does not end where it could."""


def _csv_records(name: str, file: BinaryIO) -> Iterator[tuple[str, list[str], str | None]]:
    """Place, cells and problem of each record.

    A quote that never closes would swallow the rows after it. So records of several lines are read strictly, and one
    that does not end well costs its first line alone: reading goes on with the next.
    """
    lines = iter(_lines(name, file))
    again: deque[tuple[str, str, str | None]] = deque()  # lines that a broken record had taken
    record: list[tuple[str, str, str | None]] = []

    def feed() -> Iterator[str]:
        while True:
            line = again.popleft() if again else next(lines, None)
            if line is None or len(record) == MAX_LINES:
                again.extendleft([line] if line else [])
                if record:
                    raise _OpenQuoteError("a quote is opened and not closed")
                return
            record.append(line)
            yield line[1] + "\n"

    reader = csv.reader(feed(), strict=True)
    while True:
        try:
            cells = next(reader, None)
            problem = next((problem for _, _, problem in record if problem), None)
        except (csv.Error, _OpenQuoteError) as error:
            again.extendleft(reversed(record[1:]))
            cells, problem = _lenient(record[0][1]), record[0][2]
            if cells is None or isinstance(error, _OpenQuoteError) or len(record) > 1:
                cells, problem = cells or [], problem or f"not CSV ({error})"
            reader = csv.reader(feed(), strict=True)
        if cells is None:
            return
        if cells or problem:
            yield record[0][0], cells, problem
        record.clear()


def _lenient(line: str) -> list[str] | None:
    """The cells of one line, quotes in odd places taken as they stand; None where even that fails."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return None


def _by_column(columns: Sequence[str], cells: list[str]) -> dict[str, str | None]:
    """Cells by column; those that a short row lacks are None, so that every row has the same columns."""
    if len(cells) < len(columns):
        return {**dict.fromkeys(columns), **dict(zip(columns, cells, strict=False))}
    return dict(zip(columns, cells, strict=False))


def _read_json_lines(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    for place, line, problem in _lines(name, file):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
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
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}).") from error


_TEXT_READERS = {
    ".txt": _read_text,
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
}
READERS = (*_TEXT_READERS, ".parquet")  # the kinds of files that are read


def count_rows(path: Path) -> int:
    """Roughly how many rows a file has, quickly, for a progress bar."""
    if kind_of(path)[0] == ".parquet":
        try:
            return pyarrow.parquet.read_metadata(path).num_rows
        except pyarrow.ArrowException:
            return 0
    with open_file(path) as file:
        try:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
        except OSError as error:
            raise _unreadable(path, error) from error
