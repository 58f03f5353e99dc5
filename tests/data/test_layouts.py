"""Every layout that labels come in means what it says, or is refused in a sentence that names the way on."""

import json
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from utils.arguments import DataArguments
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS
from utils.data.overview import twins
from utils.data.splits import describe, label_names, load_splits

TEXTS = ["the parcel came late", "charged twice, please pay back", "where is my parcel", "I want my money back"]
NAMES = ["billing", "delivery", "refund"]
IDS = [[1], [0, 2], [1], [2]]
LABELS = [[NAMES[i] for i in ids] for ids in IDS]


def write(folder: Path, rows: list[dict], suffix: str = ".jsonl", **options) -> DataArguments:
    """The same rows as training and validation split, and the arguments that name them."""
    for split in ("train", "validation"):
        path = folder / f"{split}{suffix}"
        if suffix == ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        elif suffix == ".csv":
            pandas.DataFrame(rows).to_csv(path, index=False)
        else:
            pandas.DataFrame(rows).to_parquet(path)
    return DataArguments(str(folder), **options)


def found(args: DataArguments) -> tuple[list[str], list[list[str]]]:
    splits = load_splits(args)
    names = label_names(splits)
    return names, [[names[i] for i in sorted(ids)] for ids in splits["train"]["labels"]]


def refused(args: DataArguments) -> str:
    with pytest.raises(InputError) as caught:
        load_splits(args)
    return str(caught.value)


def rows_of(cells: list) -> list[dict]:
    return [{"text": text, "labels": cell} for text, cell in zip(TEXTS, cells, strict=True)]


WRITTEN = {
    "lists": lambda labels: labels,
    "python": str,
    "json": json.dumps,
    "tuple": lambda labels: str(tuple(labels)),
    "set": lambda labels: "{" + ", ".join(map(repr, labels)) + "}",
    "numpy": lambda labels: str(np.array(labels)),
    "numpy repr": lambda labels: repr(np.array(labels)),
    "label studio": lambda labels: {"choices": labels},
    "label studio as text": lambda labels: json.dumps({"choices": labels}),
    "commas": ",".join,
    "commas and blanks": ", ".join,
    "unquoted": lambda labels: f"[{', '.join(labels)}]",
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_lists_are_read_however_they_are_written(tmp_path, how, suffix):
    if suffix == ".csv" and how in ("lists", "label studio"):
        pytest.skip("CSV holds text: pandas writes both as Python does, which is another case")
    assert found(write(tmp_path, rows_of([WRITTEN[how](labels) for labels in LABELS]), suffix)) == (NAMES, LABELS)


def test_a_data_frame_of_lists_goes_through_csv_and_parquet(tmp_path):
    for suffix in (".csv", ".parquet"):
        (tmp_path / suffix).mkdir()
        assert found(write(tmp_path / suffix, rows_of(LABELS), suffix)) == (NAMES, LABELS)


@pytest.mark.parametrize("separator", ["|", ";", "/", " & ", "\t"])
def test_a_separator_is_named_by_the_option_and_asked_for_where_it_is_not(tmp_path, separator):
    rows = rows_of([separator.join(labels) for labels in LABELS])
    assert found(write(tmp_path, rows, label_separator=separator)) == (NAMES, LABELS)
    sentence = refused(write(tmp_path, rows))
    assert "--label_separator" in sentence
    assert "\n" not in sentence


def test_names_with_the_signs_that_join_others_are_names_where_the_data_says_so(tmp_path):
    odd = ["a|b", "c; d", "e/f"]
    lists = [[odd[i] for i in ids] for ids in IDS]
    assert found(write(tmp_path, rows_of(lists))) == (odd, lists)
    single = [[odd[i % 3]] for i in range(4)]
    rows = rows_of([labels[0] for labels in single])
    assert found(write(tmp_path, rows, label_separator=",")) == (odd, single)
    (tmp_path / "labels.txt").write_text("\n".join(odd))
    assert found(write(tmp_path, rows)) == (odd, single)


VECTORS = [[0, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("kind", [int, float, bool])
@pytest.mark.parametrize("as_text", [False, True])
def test_vectors_of_zeros_and_ones_need_names(tmp_path, kind, as_text):
    cells = [[kind(item) for item in vector] for vector in VECTORS]
    rows = rows_of([str(cell) if as_text else cell for cell in cells])
    assert found(write(tmp_path, rows, label_names=",".join(NAMES))) == (NAMES, LABELS)
    assert "vectors of 3 zeros and ones, without names; name them in labels.txt" in refused(write(tmp_path, rows))


def test_vectors_over_two_labels_are_not_taken_for_ids(tmp_path):
    rows = rows_of([[0, 1], [1, 0], [0, 1], [1, 0]])
    expected = [["rude"], ["spam"], ["rude"], ["spam"]]
    assert found(write(tmp_path, rows, label_names="spam,rude")) == (["spam", "rude"], expected)
    assert "--label_names" in refused(write(tmp_path, rows))


@pytest.mark.parametrize("values", [(0, 1), (False, True), (0.0, 1.0)])
def test_one_column_per_label_is_found_or_named(tmp_path, values):
    rows = [{"id": f"x{n}", "comment_text": text} | {name: values[i in ids] for i, name in enumerate(NAMES)}
            for n, (text, ids) in enumerate(zip(TEXTS, IDS, strict=True))]  # fmt: skip
    for suffix in (".csv", ".jsonl", ".parquet"):
        (tmp_path / suffix).mkdir()
        assert found(write(tmp_path / suffix, rows, suffix)) == (NAMES, LABELS)
    args = write(tmp_path, rows, label_columns="refund, billing", allow_unlabelled=True)
    assert found(args) == (["refund", "billing"], [[], ["refund", "billing"], [], ["refund"]])
    assert "--label_columns rude: there is no such column" in refused(
        write(tmp_path, rows, label_columns="rude,refund")
    )
    rows[2]["refund"] = 7
    assert "column refund is 7, not 0 or 1" in refused(write(tmp_path, rows, label_columns="refund,billing"))


def test_a_single_column_of_truth_values_is_a_label_of_its_own(tmp_path):
    rows = [{"text": text, "toxic": n % 2 == 0} for n, text in enumerate(TEXTS)]
    assert "--label_columns toxic" in refused(write(tmp_path, rows, label_column="toxic"))
    args = write(tmp_path, rows, label_columns="toxic", allow_unlabelled=True)
    assert found(args) == (["toxic"], [["toxic"], [], ["toxic"], []])


@pytest.mark.parametrize("cell", [lambda ids: ids, str, lambda ids: ",".join(map(str, ids))])
def test_ids_need_names(tmp_path, cell):
    rows = rows_of([cell(ids) for ids in IDS])
    sentence = refused(write(tmp_path, rows))
    for words in ("labels are ids (0, 1, 2), without names", "labels.txt", "--label_names", "go_emotions"):
        assert words in sentence
    assert found(write(tmp_path, rows, label_names=",".join(NAMES))) == (NAMES, LABELS)
    names = tmp_path / "names of mine.txt"
    names.write_text("\n".join(NAMES))
    assert found(write(tmp_path, rows, label_names=str(names))) == (NAMES, LABELS)
    assert found(write(tmp_path, rows, label_names="go_emotions"))[0] == list(GO_EMOTIONS)
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    assert found(write(tmp_path, rows)) == (NAMES, LABELS)


def test_one_id_or_name_per_row(tmp_path):
    single = [[NAMES[ids[0]]] for ids in IDS]
    for cells in ([ids[0] for ids in IDS], [str(ids[0]) for ids in IDS], [float(ids[0]) for ids in IDS]):
        assert "labels are ids" in refused(write(tmp_path, rows_of(cells)))
        assert found(write(tmp_path, rows_of(cells), label_names=",".join(NAMES))) == (NAMES, single)
    assert found(write(tmp_path, rows_of([labels[0] for labels in single])))[1] == single


@pytest.mark.parametrize("count", [6, 11])
def test_names_are_those_of_the_data_though_most_are_goemotions(tmp_path, count):
    names = sorted([*GO_EMOTIONS[: count - 3], "boredom", "envy", "pain"]) if count > 6 else sorted(GO_EMOTIONS[:6])
    rows = [{"text": f"text {i}", "labels": [name]} for i, name in enumerate(names)]
    assert found(write(tmp_path, rows))[0] == names


def test_names_of_digits_are_names_where_labels_txt_lists_them(tmp_path):
    rows = [
        {"text": "fire", "labels": ["112"]},
        {"text": "help", "labels": ["911", "112"]},
        {"text": "x", "labels": [911]},
    ]
    assert "labels are ids (112, 911)" in refused(write(tmp_path, rows))
    (tmp_path / "labels.txt").write_text("911\n112\n")
    assert found(write(tmp_path, rows)) == (["911", "112"], [["112"], ["911", "112"], ["911"]])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"late delivery\nrude  staff\n$10 | more, <b>\n", ["late delivery", "rude  staff", "$10 | more, <b>"]),
        ("\ufeffbilling\r\ndelivery\r\nrefund\r\n\r\n".encode(), NAMES),
        ("\n".join(NAMES).encode("utf-16"), NAMES),
        ("höflich\nlieferung\nrefund".encode(), ["höflich", "lieferung", "refund"]),
    ],
)
def test_labels_txt_has_a_name_a_line_with_any_characters(tmp_path, content, names):
    (tmp_path / "labels.txt").write_bytes(content)
    assert found(write(tmp_path, rows_of(IDS)))[0] == names


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("höflich\nx\ny".encode("latin-1"), "is not UTF-8 (byte 2)"),
        (b"a\n\nb\nc", "line 2 is empty"),
        (b"a\nb\na\n", "names 'a' more than once"),
        (b"\n", "is empty"),
    ],
)
def test_a_labels_txt_that_is_none_is_refused(tmp_path, content, words):
    (tmp_path / "labels.txt").write_bytes(content)
    assert words in refused(write(tmp_path, rows_of(IDS)))


def test_names_in_the_metadata_of_parquet_and_saved_datasets_are_read(tmp_path):
    for inner in (List(ClassLabel(names=NAMES[::-1])), ClassLabel(names=NAMES[::-1])):
        single = not isinstance(inner, List)
        cells = [ids[0] if single else ids for ids in IDS]
        features = Features({"text": Value("string"), "labels": inner})
        rows = Dataset.from_dict({"text": TEXTS, "labels": cells}, features=features)
        expected = [[NAMES[::-1][i] for i in (ids[:1] if single else ids)] for ids in IDS]
        parquet, saved = tmp_path / f"parquet{single}", tmp_path / f"saved{single}"
        parquet.mkdir()
        for split in ("train", "validation"):
            rows.to_parquet(str(parquet / f"{split}.parquet"))
        DatasetDict({"train": rows, "validation": rows}).save_to_disk(str(saved))
        for folder in (parquet, saved):
            assert found(DataArguments(str(folder))) == (NAMES[::-1], expected)


# --- columns ----------------------------------------------------------------------------------------------------------


def test_columns_are_named_found_or_asked_for(tmp_path):
    rows = [
        {"Nr": n, "Kommentar": text, "Themen": labels}
        for n, (text, labels) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]
    no_text, no_labels = refused(write(tmp_path, rows)).split(". And ")
    assert no_text.endswith("(columns: Nr, Kommentar, Themen): no column text; name it with --text_column")
    assert no_labels.startswith("no column labels; name it with --label_column, or")
    assert "name it with --label_column" in refused(write(tmp_path, rows, text_column="Kommentar"))
    assert found(write(tmp_path, rows, text_column="Kommentar", label_column="Themen")) == (NAMES, LABELS)
    said = refused(write(tmp_path, rows, text_column="text", label_column="labels"))
    assert "--text_column text: there is no such column. And --label_column labels: there is no such column." in said
    usual = [{"Sentence": row["Kommentar"], "tags": row["Themen"]} for row in rows]
    assert found(write(tmp_path, usual)) == (NAMES, LABELS)
    both = [row | {"review": "x"} for row in usual]
    assert "Sentence and review may hold the text; say which with --text_column" in refused(write(tmp_path, both))
    both = [row | {"topic": "x"} for row in usual]
    assert "tags and topic may hold the labels; say which with --label_column" in refused(write(tmp_path, both))


def test_both_ways_to_name_labels_contradict_each_other():
    with pytest.raises(InputError, match="give one of them"):
        DataArguments("x", label_column="a", label_columns="b,c")


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_first_lines_say_what_was_understood(tmp_path, capsys):
    rows = rows_of([["Joy"], ["joy", "refund"], ["joy"], ["joy"]])
    args = write(tmp_path, rows)
    (tmp_path / "validation.jsonl").write_text('{"text": "a", "labels": ["joy"]}\n')
    load_splits(args)
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "text in column 'text', labels in column 'labels' (lists)",
        "3 label(s), rows in train/validation: Joy 1/0, joy 3/1, refund 1/0",
        "in fewer than 5 training rows: Joy, joy, refund",
        "in no validation row, so without a threshold of their own: Joy, refund",
        "alike but for case, accents' form or blanks: 'Joy' and 'joy'",
    ):
        assert words in said


def test_twins_by_case_accents_and_blanks():
    assert twins(["é", "e\u0301", "a b", "ab", "A B", "c"]) == [["é", "e\u0301"], ["a b", "ab", "A B"]]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "val.csv"),
        ("TRAIN.CSV", "Valid.Csv"),
        ("train.csv.gz", "dev.csv.zst"),
        ("data/train-00000-of-00001.csv", "data/validation-00000-of-00001.csv"),
    ],
)
def test_splits_are_found_under_their_usual_names(tmp_path, names):
    content = "text,labels\n" + "".join(
        f'"{text}","{",".join(row)}"\n' for text, row in zip(TEXTS, LABELS, strict=True)
    )
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        kind = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        path.write_bytes(pyarrow.Codec(kind).compress(content.encode(), asbytes=True) if kind else content.encode())
    assert found(DataArguments(str(tmp_path))) == (NAMES, LABELS)


def test_shards_are_read_in_their_order_and_all_of_them(tmp_path):
    for number in (10, 2, 1):
        rows = [{"text": f"shard {number}", "labels": ["a"]}]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"train-{number}.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "dev.parquet")
    assert list(load_splits(DataArguments(str(tmp_path)))["train"]["text"]) == ["shard 1", "shard 2", "shard 10"]
    (tmp_path / "test-00000-of-00002.parquet").write_bytes((tmp_path / "dev.parquet").read_bytes())
    assert "the test split has 1 of 2 shards" in refused(DataArguments(str(tmp_path)))


def test_a_json_array_is_read(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.json").write_text(json.dumps(rows_of(LABELS), indent=1))
    assert found(DataArguments(str(tmp_path))) == (NAMES, LABELS)


def test_one_file_is_split_by_labels_and_seed_with_equal_texts_on_one_side(tmp_path, capsys):
    path = tmp_path / "tickets.csv"
    rows = [f"ticket number {n // 2}{' ' * (n % 2)};{NAMES[n // 2 % 3]}" for n in range(300)]
    path.write_text("message;tags\n" + "\n".join(rows))
    args = DataArguments(str(path))
    splits = load_splits(args, seed=1)
    assert {split: len(part) for split, part in splits.items()} == {"train": 240, "validation": 30, "test": 30}
    texts = [{text.strip() for text in part["text"]} for part in splits.values()]
    assert not texts[0] & texts[1] | texts[0] & texts[2] | texts[1] & texts[2]
    for part in splits.values():
        shares = np.bincount([ids[0] for ids in part["labels"]], minlength=3) / len(part)
        assert np.abs(shares - 1 / 3).max() <= 0.07
    assert load_splits(args, seed=1)["test"]["text"] == splits["test"]["text"]
    assert load_splits(args, seed=2)["test"]["text"] != splits["test"]["text"]
    described = describe(args, splits, seed=1)
    assert described["split"] == {"validation_share": 0.1, "test_share": 0.1, "seed": 1}
    assert described["hub_id"] is None
    no_test = load_splits(DataArguments(str(path), validation_share=0.2, test_share=0.0), seed=1)
    assert {split: len(part) for split, part in no_test.items()} == {"train": 240, "validation": 60}


def test_a_folder_with_train_alone_is_split_when_asked(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(LABELS)))
    assert "--validation_share" in refused(DataArguments(str(tmp_path)))
    splits = load_splits(DataArguments(str(tmp_path), validation_share=0.25))
    assert {split: len(part) for split, part in splits.items()} == {"train": 3, "validation": 1}
    assert "a validation split of its own" in refused(write(tmp_path, rows_of(LABELS), validation_share=0.2))
    (tmp_path / "validation.jsonl").unlink()
    assert "must be above 0" in refused(DataArguments(str(tmp_path), validation_share=0.6, test_share=0.4))
    assert "has no validation split" in refused(DataArguments(str(tmp_path), validation_share=0.0, test_share=0.2))


@pytest.mark.parametrize("name", ["no.csv", "./nowhere", "missing.parquet"])
def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(name):
    assert "there is no such folder or file" in refused(DataArguments(name))


def test_a_folder_with_one_file_of_another_name_says_how_to_give_it(tmp_path):
    (tmp_path / "tickets.csv").write_text("text,labels\na,b\n")
    assert f"Give one file with all rows by its name: {tmp_path / 'tickets.csv'}" in refused(
        DataArguments(str(tmp_path))
    )


@pytest.mark.parametrize("separator", [" ", " and ", "-", "_"])
def test_signs_that_names_have_join_labels_where_every_part_is_one(tmp_path, separator):
    joined = separator.join(["billing", "refund"])
    rows = rows_of(["billing", joined, "refund", "billing"])
    assert f"--label_separator {separator!r}" in refused(write(tmp_path, rows))
    expected = [["billing"], ["billing", "refund"], ["refund"], ["billing"]]
    assert found(write(tmp_path, rows, label_separator=separator)) == (["billing", "refund"], expected)
    names = rows_of(["billing", joined, "delivery", "billing"])  # of which one part is no label
    assert joined in found(write(tmp_path, names))[0]


@pytest.mark.parametrize("cell", [{"joy": 1, "anger": 0}, [{"label": "joy"}], ["joy", None], 0.5])
def test_what_is_no_layout_is_shown(tmp_path, cell):
    sentence = refused(write(tmp_path, rows_of([cell] * 4)))
    assert "docs/data.md shows every layout" in sentence
    assert "\n" not in sentence


def test_the_splits_that_are_lacking_are_taken_from_train(tmp_path):
    """As of many datasets on the Hub, which have train and test; what a dataset has stays as it is."""
    rows = "".join(f"text number {number},{'ab'[number % 2]}\n" for number in range(40))
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,labels\n" + rows)
    assert "--validation_share 0.1 to take it from train" in refused(DataArguments(str(tmp_path)))
    splits = load_splits(args := DataArguments(str(tmp_path), validation_share=0.25))
    assert {split: len(part) for split, part in splits.items()} == {"train": 30, "validation": 10, "test": 40}
    assert describe(args, splits)["split"] == {"validation_share": 0.25, "test_share": 0.0, "seed": 42}
    assert "has a test split of its own" in refused(DataArguments(str(tmp_path), validation_share=0.1, test_share=0.1))
    (tmp_path / "test.csv").rename(tmp_path / "dev.csv")
    splits = load_splits(DataArguments(str(tmp_path), test_share=0.25))
    assert {split: len(part) for split, part in splits.items()} == {"train": 30, "validation": 40, "test": 10}


def test_a_file_of_which_no_row_can_be_read_says_why(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"text;labels\n" + "spät;refund\n".encode("latin-1") * 5)
    assert "t.csv line 2: not UTF-8" in refused(DataArguments(str(tmp_path / "t.csv")))
