"""Standard input in its formats, files as spreadsheets write them, and a column per label."""

import io
import json

import numpy as np
import pandas
import pytest
from conftest import file_rows

import run_inference
from utils.console import InputError
from utils.data.rows import read_rows, stream_kind
from utils.model.classifiers import load_classifier
from utils.run_folder import RunFolder

TEXTS = ["so happy; thank you", "this is disgusting", "ok, then"]


@pytest.fixture
def infer(finished_run, capsys, monkeypatch):
    """Rows that run_inference.py prints for what stands on standard input, and what it says beside them."""

    def call(content: bytes, *options: str):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
        assert run_inference.main(["--model", str(finished_run), "--precision", "fp32", *options]) == 0
        said = capsys.readouterr()
        return [json.loads(line) for line in said.out.splitlines()], said.err

    return call


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("\n".join(TEXTS), "txt"),
        ("\n".join(json.dumps({"id": i, "text": text}) for i, text in enumerate(TEXTS)), "jsonl"),
        ("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(TEXTS)), "csv"),
        ("id;text\n" + "".join(f'{i};"{text}"\n' for i, text in enumerate(TEXTS)), "csv"),
        ("id\ttext\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(TEXTS)), "tsv"),
    ],
)
def test_a_header_or_an_object_on_standard_input_is_no_comment(infer, content, kind):
    rows, said = infer(content.encode())
    assert [row["text"] for row in rows] == TEXTS
    assert ("standard input is read as" in said) == (kind != "txt")
    for options in (("--input_format", kind), ("--input_file", "-")):
        again, _ = infer(content.encode(), *options)
        assert [row["text"] for row in again] == TEXTS


def test_the_format_that_is_asked_for_wins(infer):
    rows, said = infer(b"text\nfine\n", "--input_format", "txt")
    assert [row["text"] for row in rows] == ["text", "fine"]
    assert said == ""


def test_comments_with_commas_are_lines_of_text():
    for line in (b"text me, please\nok", b"Well, text me later\nok", b"a,b\nc,d"):
        assert stream_kind(io.BufferedReader(io.BytesIO(line)), "text") == ".txt"


def test_an_input_format_is_for_standard_input_alone(finished_run, tmp_path):
    (tmp_path / "in.csv").write_text("text\nfine\n")
    with pytest.raises(InputError, match="--input_format is for standard input"):
        run_inference.main(
            ["--model", str(finished_run), "--input_file", str(tmp_path / "in.csv"), "--input_format", "csv"]
        )


@pytest.mark.parametrize("output", [".csv", ".jsonl", ".parquet"])
def test_a_column_for_every_label_holds_the_unfolded_probability(finished_run, tmp_path, output, capsys):
    """The finished run is folded: its scores are not the probabilities that its predictions hold."""
    names, (texts, _, probabilities) = RunFolder(finished_run).read_predictions("validation")
    given, written = tmp_path / "in.jsonl", tmp_path / f"out{output}"
    rows = [{"text": text, "probability_joy": "mine"} for text in texts[:7]] + [{"text": " "}]
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--model", str(finished_run), "--precision", "fp32", "--input_file", str(given)]
    assert run_inference.main([*arguments, "--output_file", str(written), "--all_scores"]) == 3
    readers = {".csv": pandas.read_csv, ".parquet": pandas.read_parquet,
               ".jsonl": lambda path: pandas.read_json(path, lines=True)}  # fmt: skip
    table = readers[output](written)
    found = table[[f"probability_{name}" for name in names]].to_numpy(dtype=float)
    np.testing.assert_allclose(found[:7], probabilities[:7], atol=2e-5)
    assert np.isnan(found[7]).all()
    assert table["input_probability_joy"].tolist()[:7] == ["mine"] * 7
    assert file_rows(written)[0]["labels"] is not None


def test_a_baseline_has_a_column_for_every_label_too(baseline_run, capsys):
    assert run_inference.main(["--model", str(baseline_run), "--all_scores", "so happy"]) == 0
    row = json.loads(capsys.readouterr().out)
    classifier, _ = load_classifier(str(baseline_run))
    expected = classifier.predict(["so happy"])[0]
    assert [row[f"probability_{label}"] for label in classifier.labels] == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"sep=;\r\nid;text\r\n1;a; \r\n".replace(b"a; ", b"so, so"), ["id", "text"]),
        ("id,text\n1,où\n".encode("utf-16"), ["id", "text"]),
        (b"id,text\r1,fine\r2,good\r", ["id", "text"]),
        ("\ufeffid|text\n1|fine\n".encode(), ["id", "text"]),
        (b",text,n\n0,fine,1\n", ["", "text", "n"]),
    ],
)
def test_csv_as_spreadsheets_and_pandas_write_it(tmp_path, content, columns):
    (tmp_path / "in.csv").write_bytes(content)
    rows = list(read_rows(tmp_path / "in.csv"))
    assert [row.problem for row in rows] == [None] * len(rows)
    assert list(rows[0].cells) == columns
    assert rows[0].cells["text"] in ("so, so", "où", "fine")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.csv", b"text,text\na,b\n", "'text' more than once"),
        ("in.csv", "id,text\n1,fine\n".encode("utf-16-le"), "every other byte is zero"),
        ("in.json", b'[{"text": "a"},', "begins like a JSON array and is none"),
    ],
)
def test_a_file_that_cannot_be_read_right_is_refused_as_a_whole(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        ("id\ttweet\n101\tI am so happy, thank you!\n102\tThis is bad.\n", {"id": "101"}),
        ("text\tcreated at\nso happy today\tx\n", {"text": "so happy today", "created at": "x"}),
        ("\ttext\tlabels\n0\tfine by me\tjoy\n", {"text": "fine by me", "": "0"}),
        ("Nr\tKommentar\n7\tso ein Tag heute\n8\tnoch einer davon\n", {"Nr": "7"}),
        ("so happy\t17,15\teezlygj\nfine\t27\ted7ypvh\n", {"text": "so happy", "labels": "17,15"}),
        ("fine\tjoy\tid0\nso so\tjoy,love\tid1\n", {"text": "fine", "labels": "joy"}),
    ],
)
def test_a_tsv_has_a_header_unless_it_is_in_the_release_s_layout(tmp_path, content, cells):
    (tmp_path / "in.tsv").write_text(content)
    assert cells.items() <= next(read_rows(tmp_path / "in.tsv")).cells.items()
