import gzip

import pytest

from utils.arguments import DataArguments
from utils.console import InputError
from utils.data.splits import load_splits
from utils.data.unlabelled import read_unlabelled


@pytest.fixture(scope="module")
def splits(small_data):
    return load_splits(DataArguments(str(small_data)))


def test_texts_come_in_their_order_once_and_without_those_of_the_dataset(splits, tmp_path, capsys):
    ours = {split: rows["text"][0] for split, rows in splits.items()}
    lines = ["What a day.", ours["train"].upper(), "  so   it is", ours["validation"], "what a  DAY.", ours["test"]]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    with gzip.open(tmp_path / "b.csv.gz", "wt", encoding="utf-8") as file:
        file.write('id,comment\n1,"two\nlines"\n2,So it is\n')
    texts = read_unlabelled([str(tmp_path / "a.txt"), str(tmp_path / "b.csv.gz")], None, splits)
    assert texts == ["What a day.", "  so   it is", "two\nlines"]
    said = "a.txt, b.csv.gz: 3 texts without labels (3 that the dataset has and 2 that stand there twice are left out)"
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("asked", [None, "body"])
def test_the_column_is_the_one_that_is_asked_for_or_a_usual_one(splits, tmp_path, asked):
    (tmp_path / "a.jsonl").write_text('{"text": "This one.", "body": "Or this."}\n', encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "The only one."}\n', encoding="utf-8")
    texts = read_unlabelled([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], asked, splits)
    assert texts == ["Or this." if asked else "This one.", "The only one."]


def test_labels_that_are_not_read_are_said(splits, tmp_path, capsys):
    (tmp_path / "more.csv").write_text("text,tags\nThe parcel is late.,delivery\n", encoding="utf-8")
    assert read_unlabelled([str(tmp_path / "more.csv")], None, splits) == ["The parcel is late."]
    said = " ".join(capsys.readouterr().out.split())
    assert "more.csv: column 'tags' is not read; rows whose labels count belong in --dataset_name" in said


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.txt", None, "there is no such file"),
        ("texts.docx", b"x", "unknown kind of file '.docx'"),
        ("nothing.txt", b"", "0 texts without labels; give texts that the dataset does not have"),
        ("other.csv", b"id,name\n1,a\n", r"\(columns: id, name\): no column text; name it with --text_column"),
        ("two.csv", b"body,review\na,b\n", "body and review may hold the text; say which with --text_column"),
        ("gaps.txt", b"one\n\nthree\n", "has 1 problem.*gaps.txt line 2: the text is empty"),
        ("latin.txt", b"caf\xe9\n", "latin.txt line 1: not UTF-8"),
        ("number.jsonl", b'{"text": 3}\n', "number.jsonl line 1: the text is int, not a string"),
        ("half.jsonl", b'{"text": "\\ud83d"}\n', "half of a surrogate pair"),
    ],
)
def test_what_cannot_be_read_is_refused(splits, tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"(?s)--unlabelled_file .*{sentence}"):
        read_unlabelled([str(tmp_path / name)], None, splits)


def test_a_file_of_known_texts_alone_is_refused(splits, tmp_path):
    (tmp_path / "known.txt").write_text(splits["train"]["text"][0] + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"0 texts without labels \(1 that the dataset has .*give texts that"):
        read_unlabelled([str(tmp_path / "known.txt")], None, splits)
