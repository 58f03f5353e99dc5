"""The rows of a file, one after the other: plain text, TSV, CSV, JSON and Parquet, read in pieces.

Training and inference read the same kinds of files through the same code. A row that cannot be read does not end the
file: it comes with a sentence that says why, and the caller decides.
"""

import codecs
import csv
import io
import itertools
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow
import pyarrow.parquet

from utils.console import InputError

ROWS_AT_A_TIME = 4096
MAX_LINES = 1000  # of one CSV row: a quote that is still open then was never meant to span so much
HEAD = 1 << 16  # bytes from which encoding, line ends and separator are known
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
RELEASE_COLUMNS = ("text", "labels", "id")  # a TSV without a header is in the layout of GoEmotions' release
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
# What the text's column and the labels' are usually called.
TEXT_NAMES = ("text", "sentence", "comment", "comment_text", "content", "review", "review_text", "message", "body",
              "utterance", "document")  # fmt: skip
LABEL_NAMES = ("labels", "label", "emotions", "emotion", "categories", "category", "tags", "tag", "classes", "class",
               "targets", "target", "topics", "topic", "intents", "intent")  # fmt: skip
REPORTED_PROBLEMS = 20
ALIKE = 3  # places that are named of rows with the same problem
MAX_CHARACTERS = 1_000_000  # of one text: fifty times what any model here reads, and what a whole file in one cell has
HEADER_ROWS = 50  # from which a TSV's columns are known, where its first line may be a header or a row
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

    - Text formats are UTF-8, with or without a byte order mark, or UTF-16 with one; lines end in LF, CR LF or CR, and
      may be compressed (`.gz`, `.zst`). A line that is not UTF-8 keeps what can be decoded and names the problem.
    - CSV has a header. Its columns are separated by what separates the header: comma, semicolon, tab or pipe.
    - TSV has a header, unless it is in the layout of GoEmotions' release (text, labels, comment id). Quotes are
      ordinary characters: over a thousand GoEmotions comments have one.
    - JSON is one object a line, or one array of objects. Plain text becomes the column `text_column`.

    Raises:
        InputError: there is no such file, its suffix is unknown, it is not of its format at all, or two of its columns
            have the same name.
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


def refuse_rows(where: str, problems: Sequence[str]) -> None:
    """Raise `InputError` if rows have problems, with the first of them; `where` names what the rows are of.

    Args:
        problems: "place: what is wrong"; where the same is wrong with many rows, but for numbers, it is said once.
    """
    if not problems:
        return
    alike: dict[str, list[tuple[str, str]]] = {}
    for problem in problems:
        place, _, wrong = problem.partition(": ")
        alike.setdefault(re.sub(r"\bbyte \d+", "byte", wrong), []).append((place, wrong))
    lines = []
    for found in alike.values():
        places = [place for place, _ in found]
        if len(found) > ALIKE:
            lines.append(f"{places[0]}: {found[0][1]}; {len(found) - 1:,} more alike: {', '.join(places[1:ALIKE])}, …")
        else:
            lines += [f"{place}: {wrong}" for place, wrong in found]
    shown = "\n".join(f"  {line}" for line in lines[:REPORTED_PROBLEMS])
    more = f"\n  … and {len(lines) - REPORTED_PROBLEMS} more" if len(lines) > REPORTED_PROBLEMS else ""
    if any(wrong.startswith("not UTF-8") for wrong in alike):
        more += "\n  Save the file as UTF-8; `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW` does, if Windows wrote it."
    raise InputError(f"{where} has {len(problems):,} problem(s); nothing was trained:\n{shown}{more}")


def stream_kind(file: BinaryIO, text_column: str) -> str:
    """The kind of a stream, by its beginning: a JSON object, a header with the text's column, or lines of text."""
    head = _head(file).removeprefix(codecs.BOM_UTF8)
    line = next((line for line in head.decode("utf-8", "replace").splitlines() if line.strip()), "").strip()
    if line.startswith("{") or head.lstrip().startswith(b"[{"):
        return ".jsonl"
    for separator, kind in (("\t", ".tsv"), (",", ".csv"), (";", ".csv"), ("|", ".csv")):
        cells = next(csv.reader([line], delimiter=separator), [])
        if len(cells) > 1 and text_column in cells and not any(" " in cell.strip() for cell in cells):
            return kind
    return ".csv" if line == text_column else ".txt"


def separator_note(path: Path, text_column: str = "text") -> str | None:
    """A sentence about what separates the columns of a CSV file, where it is no comma."""
    if kind_of(path)[0] != ".csv":
        return None
    with open_file(path) as file:
        try:
            separator, _ = _csv_separator(_head(file), text_column)
        except OSError as error:
            raise _unreadable(path, error) from error
    name = SEPARATORS.get(separator, repr(separator))
    return None if separator == "," else f"{path.name}: columns are separated by a {name}, as its header is."


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
        return path.open("rb", buffering=HEAD)
    return io.BufferedReader(pyarrow.input_stream(str(path), compression=compression), 1 << 20)


def _unreadable(path: Path, error: OSError) -> Exception:
    """What reading ended with: Arrow tells of broken compression in an OSError without a number."""
    if error.errno is not None:
        return error
    return InputError(f"{path}: the compressed file is broken or cut short ({str(error).splitlines()[0]}).")


def _head(file: BinaryIO) -> bytes:
    """The beginning of an open file, which is read again later."""
    return file.peek(HEAD) if hasattr(file, "peek") else b""


def _lines(name: str, file: BinaryIO, returns: bool = False) -> Iterator[tuple[str, str, str | None]]:
    """Place, text without its line end, and problem of each line; `returns`: with the \\r of \\r\\n, if it has one."""
    head = _head(file)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield from _decoded_lines(name, file, "utf-16")
    elif b"\0" in head[:1024] and head[:1024].count(b"\0") > len(head[:1024]) // 4:
        raise InputError(f"{name} is not UTF-8 (every other byte is zero, as in UTF-16); save it as UTF-8.")
    elif b"\r" in head and b"\n" not in head:
        yield from _decoded_lines(name, file, "utf-8-sig")
    else:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            raw = raw.removesuffix(b"\n")
            raw = raw if returns else raw.removesuffix(b"\r")
            try:
                yield f"{name} line {number}", raw.decode("utf-8"), None
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 (byte {error.start + 1} of the line)"
                yield f"{name} line {number}", raw.decode("utf-8", errors="replace"), problem


def _decoded_lines(name: str, file: BinaryIO, encoding: str) -> Iterator[tuple[str, str, str | None]]:
    """`_lines` where the bytes of a line end are not those of the line."""
    with io.TextIOWrapper(file, encoding=encoding, errors="replace", newline=None) as text:
        for number, line in enumerate(text, start=1):
            problem = "not " + encoding.upper()[:6] if "\ufffd" in line else None
            yield f"{name} line {number}", line.removesuffix("\n"), problem


def _read_text(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    for place, line, problem in _lines(name, file):
        yield Row(place, {text_column: line}, problem)


def _read_tsv(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    lines = (line for line in _lines(name, file) if line[1])
    beginning = list(itertools.islice(lines, HEADER_ROWS))
    columns: Sequence[str] | None = None
    for place, line, problem in itertools.chain(beginning, lines):
        cells = line.split("\t")
        if columns is None:
            if _has_tsv_header([line.split("\t") for _, line, _ in beginning], text_column):
                columns = _distinct(name, cells)
                continue
            columns = [*RELEASE_COLUMNS, *(f"column_{i}" for i in range(4, len(cells) + 1))][: len(cells)]
        if problem is None and len(cells) != len(columns):
            problem = f"{len(cells)} column(s) where there should be {len(columns)} ({', '.join(columns)})"
        yield Row(place, _by_column(columns, cells), problem)


def _has_tsv_header(lines: list[list[str]], text_column: str) -> bool:
    """Whether the first of some lines holds names, rather than a row in the layout of GoEmotions' release.

    It does where it has a usual name, or where what follows is not in that layout: there the second cell of each row
    holds labels, which have no blanks.
    """
    first = [cell.strip() for cell in lines[0]]
    if any(re.fullmatch(r"[\d.,]+", cell) for cell in first):
        return False
    usual = {*TEXT_NAMES, *LABEL_NAMES, "id"}
    if text_column in first or (len(first) > 1 and not usual.isdisjoint(map(str.lower, first))):
        return True
    rows = [cells for cells in lines[1:] if len(cells) > 1]
    return len(first) > 1 and sum(" " in cells[1].strip() for cells in rows) > len(rows) / 2


def _distinct(name: str, columns: list[str]) -> list[str]:
    """The columns of a header; `InputError` where two have the same name."""
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        named = ", ".join(repr(column) for column in twice)
        raise InputError(f"{name}: its header names {named} more than once; each column needs a name of its own.")
    return columns


def _read_csv(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    columns: list[str] | None = None
    separator, skipped = _csv_separator(_head(file), text_column)
    for number, (place, cells, problem) in enumerate(_csv_records(name, file, separator)):
        if number == 0 and skipped:  # the line `sep=;` that spreadsheets read and write
            continue
        if columns is None:
            columns = _distinct(name, cells)
            continue
        if problem is None and len(cells) != len(columns):
            problem = f"{len(cells)} column(s) where the header has {len(columns)}"
        yield Row(place, _by_column(columns, cells), problem)


def _csv_separator(head: bytes, text_column: str) -> tuple[str, bool]:
    """What separates the columns of a CSV file, and whether its first line does nothing but say so."""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    even = head[: len(head) // 2 * 2] if encoding == "utf-16" else head
    header = next(iter(even.decode(encoding, errors="replace").splitlines()), "")
    if said := re.fullmatch(r"sep=(.)", header):
        return said[1], True
    found = {separator: next(csv.reader([header], delimiter=separator), []) for separator in SEPARATORS}
    for separator, cells in found.items():
        if len(cells) > 1 and text_column in cells:
            return separator, False
    return max(found, key=lambda separator: len(found[separator])), False  # the first of them, the comma, in a tie


class _OpenQuoteError(Exception):
    """A quoted cell does not end where it could."""


def _csv_records(name: str, file: BinaryIO, separator: str) -> Iterator[tuple[str, list[str], str | None]]:
    """Place, cells and problem of each record.

    A quote that never closes would swallow the rows after it. So records of several lines are read strictly, and one
    that does not end well costs its first line alone: reading goes on with the next.
    """
    lines = iter(_lines(name, file, returns=True))  # in a quoted cell they belong to its text
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

    reader = csv.reader(feed(), strict=True, delimiter=separator)
    while True:
        try:
            cells = next(reader, None)
            problem = next((problem for _, _, problem in record if problem), None)
        except (csv.Error, _OpenQuoteError) as error:
            again.extendleft(reversed(record[1:]))
            cells, problem = _lenient(record[0][1], separator), record[0][2]
            if cells is None or isinstance(error, _OpenQuoteError) or len(record) > 1:
                cells, problem = cells or [], problem or f"not CSV ({error})"
            reader = csv.reader(feed(), strict=True, delimiter=separator)
        if cells is None:
            return
        if cells or problem:
            yield record[0][0], cells, problem
        record.clear()


def _lenient(line: str, separator: str) -> list[str] | None:
    """The cells of one line, quotes in odd places taken as they stand; None where even that fails."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return None


def _by_column(columns: Sequence[str], cells: list[str]) -> dict[str, str | None]:
    """Cells by column; those that a short row lacks are None, so that every row has the same columns."""
    if len(cells) < len(columns):
        return {**dict.fromkeys(columns), **dict(zip(columns, cells, strict=False))}
    return dict(zip(columns, cells, strict=False))


def _read_json(name: str, file: BinaryIO, text_column: str) -> Iterator[Row]:
    if _head(file).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
        yield from _read_json_array(name, file)
        return
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


def _read_json_array(name: str, file: BinaryIO) -> Iterator[Row]:
    """One array of objects, as `json.dump` and pandas write it: all of it is in memory at once."""
    try:
        items = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} begins like a JSON array and is none ({error}).") from error
    for number, cells in enumerate(items, start=1):
        problem = None if isinstance(cells, dict) else f"not a JSON object but {type(cells).__name__}"
        yield Row(f"{name} item {number}", cells if problem is None else {}, problem)


def _read_parquet(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _distinct(path.name, file.schema_arrow.names)
            for batch in file.iter_batches(ROWS_AT_A_TIME):
                for cells, problem in _parquet_rows(batch):
                    number += 1
                    yield Row(f"{path.name} row {number}", cells, problem)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}).") from error


def _parquet_rows(batch: pyarrow.RecordBatch) -> list[tuple[dict[str, Any], str | None]]:
    """The rows of a batch, each with what is wrong with it: Arrow keeps what Python has no value for."""
    try:
        return [(cells, None) for cells in batch.to_pylist()]
    except (UnicodeDecodeError, OverflowError, ValueError):  # somewhere among them
        return [_parquet_row(batch, index) for index in range(len(batch))]


def _parquet_row(batch: pyarrow.RecordBatch, index: int) -> tuple[dict[str, Any], str | None]:
    cells: dict[str, Any] = {}
    problem = None
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cells[name] = column[index].as_py()
        except (UnicodeDecodeError, OverflowError, ValueError) as error:
            cells[name], problem = None, f"column {name!r} holds what cannot be read as {column.type} ({error})"
    return cells, problem


def text_problem(text: Any) -> str | None:
    """Why a text cannot be classified; None if it can."""
    if not isinstance(text, str):
        return f"the text is {'missing' if text is None else type(text).__name__}, not a string"
    if not text.strip():
        return "the text is empty"
    if len(text) > MAX_CHARACTERS:
        return f"the text has {len(text):,} characters; accepted: up to {MAX_CHARACTERS:,}"
    if half_a_character(text):
        return "the text holds half of a surrogate pair, which is no character"
    return None


def text_key(text: str) -> str:
    """What texts are compared by: two that are equal but for case and blanks are the same text."""
    return " ".join(text.split()).casefold()


def half_a_character(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which JSON can name and no file can hold."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


_TEXT_READERS = {
    ".txt": _read_text,
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
}
READERS = (*_TEXT_READERS, ".parquet")  # the kinds of files that are read


def count_rows(path: Path) -> int:
    """Roughly how many rows a file has, quickly, for a progress bar."""
    if kind_of(path)[0] == ".parquet":
        try:
            return pyarrow.parquet.read_metadata(path).num_rows
        except pyarrow.ArrowException:
            return 0
    header = kind_of(path)[0] == ".csv"
    with open_file(path) as file:
        try:
            return max(0, sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b"")) - header)
        except OSError as error:
            raise _unreadable(path, error) from error
