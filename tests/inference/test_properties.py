"""What is written is read back equal, in every format, and any bytes are read or refused in a sentence."""

import contextlib
import math
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.console import InputError
from utils.data.rows import READERS, read_rows
from utils.inference.output import ADDED, OutputFile, table_schema

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")  # which text files do not have
TEXT = st.text(CHARACTERS, min_size=1, max_size=30)
COLUMNS = st.lists(st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=8), unique=True, max_size=3)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
PLAIN = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9)


def written(folder: Path, name: str, rows: list[dict], schema: pyarrow.Schema | None = None) -> list[dict]:
    """The cells that are read from a file to which `rows` were written in two pieces."""
    output, path = OutputFile(folder / name, schema), folder / name
    pieces = []
    for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
        pieces.append(folder / f"piece {number}")
        pieces[-1].write_bytes(output.piece(part, first=number == 0))
    with path.open("wb") as file:
        output.join([piece.open("rb") for piece in pieces], file)
    found = list(read_rows(path))
    assert [row.problem for row in found] == [None] * len(found)
    return [row.cells for row in found]


def strings(columns: list[str]) -> pyarrow.Schema:
    return pyarrow.schema([(name, pyarrow.string()) for name in columns])


@QUICK
@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.csv.zst", "o.parquet"])
@given(columns=COLUMNS, data=st.data())
def test_tables_of_text(tmp_path, name, columns, data):
    columns = ["text", *(column for column in columns if column != "text")]
    rows = data.draw(st.lists(st.fixed_dictionaries({column: TEXT for column in columns}), min_size=1, max_size=6))
    found = written(tmp_path, name, rows, strings(columns))
    assert found == rows


@QUICK
@given(rows=st.lists(st.dictionaries(TEXT, VALUES, max_size=4), min_size=1, max_size=5))
def test_json_lines_keep_every_value(tmp_path, rows):
    rows = [{"text": "a", **row} for row in rows]
    assert written(tmp_path, "o.jsonl", rows) == rows
    assert written(tmp_path, "o.jsonl.gz", rows) == rows


@QUICK
@given(rows=st.lists(st.fixed_dictionaries({"text": PLAIN, "id": PLAIN}), min_size=1, max_size=6))
def test_tsv_keeps_what_it_can_hold(tmp_path, rows):
    """Cells without tabs and line ends: a TSV has no way to write these."""
    assert written(tmp_path, "o.tsv", rows, strings(["text", "id"])) == rows


@QUICK
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"text": TEXT, "n": st.none() | st.integers(-(2**62), 2**62), "x": st.none() | st.floats(),
             "labels": st.lists(TEXT, max_size=3), "scores": st.lists(st.floats(0, 1), max_size=3)}
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_parquet_keeps_numbers_and_lists(tmp_path, rows):
    kinds = {"text": pyarrow.string(), "n": pyarrow.int64(), "x": pyarrow.float64(), **ADDED}
    found = written(tmp_path, "o.parquet", rows, pyarrow.schema(list(kinds.items())))
    for row in [*found, *rows]:
        row["x"] = "nan" if row["x"] is not None and math.isnan(row["x"]) else row["x"]
    assert found == rows


@QUICK
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=5))
def test_json_of_any_types_becomes_a_table(tmp_path, rows):
    """Whatever the values, there is a type for each column, and every text comes through."""
    rows = [{"text": f"row {number}", **row} for number, row in enumerate(rows)]
    written(tmp_path, "in.jsonl", rows)
    schema = table_schema(tmp_path / "in.jsonl", [], "text")
    with_labels = [{**row, "labels": ["joy"], "scores": [0.5]} for row in rows]
    found = written(tmp_path, "o.parquet", with_labels, schema)
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert all(row["labels"] == ["joy"] for row in found)


@QUICK
@pytest.mark.parametrize("suffix", [*READERS, ".csv.gz", ".jsonl.zst"])
@given(content=st.binary(max_size=300) | st.text(max_size=200).map(str.encode) | st.lists(st.sampled_from(
    [b'"', b",", b"\n", b"\r", b"\t", b"{", b"}", b"[", b"]", b":", b"text", b"\0", b"\xff", b"a", b";", b"|", b"sep=",
     b"\xef\xbb\xbf", b"\xff\xfe", b"PAR1"]), max_size=60).map(b"".join))  # fmt: skip
def test_any_bytes_are_read_or_refused(tmp_path, suffix, content):
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        for row in read_rows(path):
            assert isinstance(row.cells, dict)
            assert row.problem is None or row.problem.strip()
