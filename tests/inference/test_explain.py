"""`run_inference.py --explain`: in a terminal, in every kind of file, as a page; and what it refuses."""

import csv
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import file_rows
from scipy.special import logit

import run_inference
from utils.console import InputError
from utils.data.rows import Row
from utils.inference import jobs, label_rows
from utils.inference.label_rows import RowClassifier
from utils.inference.marked import pieces
from utils.inference.page import page_of
from utils.inference.terminal import why

TEXTS = ["I'm so happy today!! 😂", "ok", "<img src=x onerror=alert(1)> thanks & “bye”", "thank you\tall\n"]
HOSTILE = "<script>alert('&')</script>\u202e\x1b[31m"
CELL = {
    "label": HOSTILE, "log_odds": 1.0, "without_words": -1.0, "together": 0.5,
    "words": [{"word": "so", "contribution": -0.5}, {"word": "happy", "contribution": 2.02},
              {"word": "<b>", "contribution": -0.02}],
}  # fmt: skip
ROW = {"text": "so  happy <b>\x1b[2J", "labels": [HOSTILE], "scores": [0.73], "words": [CELL]}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    rows = [{"text": text, "words": "mine"} for text in TEXTS] + [{"text": "", "words": "mine"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def infer(model, *arguments):
    return run_inference.main(["--model", str(model), "--precision", "fp32", "--use_cpu", *map(str, arguments)])


def refused(*arguments):
    with pytest.raises(InputError) as caught:
        infer(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["finished_run", "baseline_run"])
def test_every_kind_of_file_says_the_same(kind, source, tmp_path, request):
    found = {}
    for suffix in ("jsonl", "parquet", "csv", "tsv.gz"):
        output = tmp_path / f"out.{suffix}"
        arguments = ["--top_k", "2", "--input_file", source, "--output_file", output, "--explain"]
        assert infer(request.getfixturevalue(kind), *arguments) == 3  # the empty text
        rows = file_rows(output)
        assert [row["input_words"] for row in rows] == ["mine"] * 5
        cells = [row["words"] for row in rows]
        found[suffix] = [json.loads(cell or "[]") if isinstance(cell, str) else cell for cell in cells]
    assert found["parquet"] == found["csv"] == found["tsv.gz"] == found["jsonl"]
    for row, cells in zip(file_rows(tmp_path / "out.jsonl"), found["jsonl"], strict=True):
        assert [cell["label"] for cell in cells] == row["labels"]
        for score, cell in zip(row["scores"], cells, strict=True):
            assert cell["log_odds"] == pytest.approx(logit(score), abs=1e-3)
            total = cell["without_words"] + sum(item["contribution"] for item in cell["words"]) + cell["together"]
            assert total == pytest.approx(cell["log_odds"], abs=1e-9)
    assert [item["word"] for item in found["jsonl"][0][0]["words"]] == ["I'm", "so", "happy", "today", "!!", "😂"]
    assert found["jsonl"][-1] == []


def test_one_label_is_explained_for_every_text(finished_run, capsys):
    assert infer(finished_run, *TEXTS, "--all_scores", "--threshold", "1", "--explain", "joy") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[cell["label"] for cell in row["words"]] for row in rows] == [["joy"]] * len(TEXTS)
    assert all("probability_joy" in row and not row["labels"] for row in rows)


def test_what_cannot_be_explained_is_refused_in_a_sentence(finished_run, source, tmp_path, monkeypatch):
    assert "no label 'joi'; did you mean 'joy'?" in refused(finished_run, "ok", "--explain", "joi")
    assert "add --explain" in refused(finished_run, "ok", "--output_file", tmp_path / "out.html")
    monkeypatch.setattr(sys, "stdin", None)
    assert "'so happy' is read as the LABEL of --explain; texts stand before it" in refused(
        finished_run, "--explain", "so happy"
    )


@pytest.mark.parametrize("suffix", ["jsonl", "html"])
def test_a_killed_job_goes_on_with_the_same_explanation_only(finished_run, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(label_rows, "WINDOW", 2)
    monkeypatch.setattr(jobs, "WINDOW", 2)
    (tmp_path / "in.txt").write_text("so happy\nthank you\nok\nsorry\n")
    places = ["--input_file", tmp_path / "in.txt", "--output_file", tmp_path / f"out.{suffix}"]
    assert infer(finished_run, *places, "--explain", "joy") == 0
    whole = (tmp_path / f"out.{suffix}").read_bytes()
    (tmp_path / f"out.{suffix}").unlink()
    stored, kept = jobs._store, []
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_store", lambda *given: kept.append(stored(*given)) if not kept else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            infer(finished_run, *places, "--explain", "joy")
    assert "its explain was joy, now it is anger" in refused(finished_run, *places, "--explain", "anger", "--resume")
    assert infer(finished_run, *places, "--explain", "joy", "--resume") == 0
    assert (tmp_path / f"out.{suffix}").read_bytes() == whole


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_a_page_shows_hostile_texts_and_labels_as_they_are_and_fetches_nothing():
    page = page_of([ROW, {"text": None, "labels": [], "scores": [], "words": []}], "text") + page_of(
        [ROW], "text", False
    )
    assert page.count("<!doctype html>") == 1
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    parsed = Tags()
    parsed.feed(page[page.index("<main>") :])
    assert {tag for tag, _ in parsed.seen} <= {"main", "h1", "h2", "p", "article", "bdi", "small", "span", "sup"}
    assert {name for _, names in parsed.seen for name in names} <= {"class", "style", "dir"}
    assert "<script>alert('&')</script>\\u202e\\x1b[31m" in parsed.text
    assert "so  happy <b>\\x1b[2J" in parsed.text
    assert "+2.02" in parsed.text
    assert "−0.50" in parsed.text
    assert "−0.02" not in parsed.text  # too little to be marked
    assert not {"http:", "https:", "src=", "url("} & set(page.split())


def test_in_a_terminal_nothing_hangs_on_colour():
    plain, coloured = why(ROW["text"], [CELL], colours=False), why(ROW["text"], [CELL], colours=True)
    assert "so(−0.50) happy(+2.02) <b>" in plain
    assert "−1.00 without any word, +1.50 words, +0.50 together: log-odds +1.00" in plain
    assert "\x1b" not in plain
    assert "\x1b[31mso(−0.50)\x1b[0m \x1b[32m\x1b[1mhappy(+2.02)\x1b[0m" in coloured
    assert coloured.replace("\x1b[0m", "").replace("\x1b[31m", "").replace("\x1b[32m", "").replace(
        "\x1b[1m", ""
    ) == plain  # fmt: skip


@pytest.mark.parametrize(("setting", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_want_them(finished_run, monkeypatch, capsys, setting, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert infer(finished_run, "so happy today", "--explain", "joy") == 0
    out = capsys.readouterr().out
    assert "joy: " in out
    assert ("\x1b[" in out) is coloured
    assert infer(finished_run, "so happy today", "--explain", "joy", "--text_column", "words") == 0
    assert capsys.readouterr().out == out


def test_pieces_are_the_text():
    words = [{"word": "a", "contribution": 0.0}, {"word": "a", "contribution": 1.0}]
    assert [piece.text for piece in pieces(" a  a!", words)] == [" ", "a", "  ", "a", "!"]
    assert [piece.share for piece in pieces("a a", words)] == [0.0, 0.0, 1.0]


def test_a_column_that_the_reader_cannot_see_stays_in_its_place():
    """Rows that got no label, or cannot be classified, have an empty cell, and the others keep theirs."""

    class Named:
        labels, folded = ["joy"], None

        def encode(self, texts):
            return texts

        def probabilities(self, encoded, progress):
            return np.array([[0.9 if "happy" in text else 0.1] for text in encoded], dtype=np.float32)

    explain = lambda texts, labels, progress: [[text] * len(names) for text, names in zip(texts, labels, strict=True)]  # noqa: E731
    rows = RowClassifier(Named(), np.array([0.5]), explain=explain)
    found = rows.classify(rows.prepare([Row("1", {"text": each}) for each in ("ok", "", "happy", "so happy")]))
    assert [row["words"] for row, _ in found] == [[], [], ["happy"], ["so happy"]]


def test_csv_holds_json_that_a_spreadsheet_keeps_in_one_cell(finished_run, source, tmp_path):
    infer(finished_run, "--top_k", "1", "--input_file", source, "--output_file", tmp_path / "out.csv", "--explain")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert json.loads(rows[0]["words"])[0]["words"][2]["word"] == "happy"
