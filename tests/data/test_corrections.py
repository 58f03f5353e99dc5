"""Corrections are applied to exactly the rows that they were made from, or refused with all that does not fit."""

import csv
import io
import json

import pytest
from datasets import Dataset, DatasetDict

from utils.arguments import DataArguments
from utils.console import InputError
from utils.data import splits as splits_module
from utils.data.corrections import COLUMNS, Corrected, labels_cell, needs_lists, read_labels
from utils.data.labels import GO_EMOTIONS
from utils.data.splits import describe, fingerprint, label_names, load_splits

ROWS = {
    "train": [
        ("so happy", "joy,love"),
        ("damn, that is good", "anger"),
        ("why?", "curiosity"),
        ("ok\nthen", "neutral"),
    ],
    "validation": [("great", "joy"), ("awful", "anger")],
    "test": [("fine", "neutral"), ("lovely", "love")],
}
NAMES = ["anger", "curiosity", "joy", "love", "neutral"]
HOSTILE = [
    "plain",
    "a,b",
    "[x]",
    " blank ",
    '"quoted"',
    "<script>",
    "=1+1",
    "two\nlines",
    "'",
    "\u202eright",
    "é",
    "null",
]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split, rows in ROWS.items():
        write_csv(folder / f"{split}.csv", [("text", "labels"), *rows])
    (folder / "labels.txt").write_text("\n".join(NAMES))
    return folder


def write_csv(path, rows, **options):
    file = io.StringIO(newline="")
    csv.writer(file, **options).writerows(rows)
    path.write_bytes(file.getvalue().encode(options.pop("encoding", "utf-8")))


def line(split, number, corrected, verdict="edit", **changed):
    """One correction of a row of ROWS; `number` counts from 0."""
    text, labels = ROWS[split][number]
    first = 2 + sum("\n" in row[0] for row in ROWS[split][:number]) + number
    row = {"split": split, "place": f"{split}.csv line {first}", "text": text, "labels": labels,
           "corrected_labels": corrected, "verdict": verdict}  # fmt: skip
    return row | changed


def save(folder, *lines, name="corrections.csv", columns=(*COLUMNS, "verdict"), **options):
    path = folder / name
    write_csv(path, [columns, *([row[column] for column in columns] for row in lines)], **options)
    return str(path)


def corrected(data, *lines, **options):
    return load_splits(DataArguments(str(data), corrections=[save(data.parent, *lines)], **options))


def refused(data, *lines, **options):
    with pytest.raises(InputError) as caught:
        corrected(data, *lines, **options)
    return str(caught.value)


def named(splits, split):
    names = label_names(splits)
    return [",".join(names[i] for i in ids) for ids in splits[split]["labels"]]


def test_train_is_corrected_validation_if_asked_and_test_never(data, capsys):
    lines = [line("train", 0, "joy", "accept"), line("train", 1, "anger,joy"), line("train", 3, "neutral", "keep"),
             line("validation", 1, "joy"), line("test", 0, "joy"), line("test", 1, "love", "keep")]  # fmt: skip
    plain = load_splits(DataArguments(str(data)))
    splits = corrected(data, *lines)
    assert named(splits, "train") == ["joy", "anger,joy", "curiosity", "neutral"]
    for split in ("validation", "test"):
        assert named(splits, split) == named(plain, split)
    said = capsys.readouterr().out
    assert (
        "corrections.csv: 2 of 4 train rows corrected (1 label removed, 1 added), 1 kept, "
        "1 of validation not asked for (--correct_validation), 2 of test never applied\n"
    ) in said
    assert "joy 2/1" in said  # the first lines of a run count what is learned from
    described = describe(DataArguments(str(data)), splits)
    assert described["sha256"] == fingerprint(splits) != fingerprint(plain) == described["sha256_before_corrections"]
    (entry,) = described["corrections"]
    assert entry.pop("sha256")
    assert entry == {
        "file": "corrections.csv",
        "train": {"corrected": 2, "removed": 1, "added": 1, "kept": 1},
        "validation": {"not_applied": 1},
        "test": {"not_applied": 2},
    }
    splits = corrected(data, *lines, correct_validation=True)
    assert named(splits, "validation") == ["joy", "joy"]
    assert named(splits, "test") == named(plain, "test")
    assert "1 of 2 validation rows corrected (1 label removed, 1 added), 0 kept" in capsys.readouterr().out
    assert splits["train"]["place"] == plain["train"]["place"]


def test_a_file_that_changes_nothing_leaves_the_data_as_it_is(data):
    plain = load_splits(DataArguments(str(data)))
    splits = corrected(data, line("train", 0, "love, joy", "keep"), line("train", 1, "anger", "edit"))
    assert fingerprint(splits) == fingerprint(plain)
    assert splits.corrections[0]["train"] == {"corrected": 0, "removed": 0, "added": 0, "kept": 2}


@pytest.mark.parametrize(
    "saved",
    [
        {"delimiter": ";"}, {"delimiter": "\t"}, {"encoding": "utf-8-sig"}, {"encoding": "utf-16"},
        {"lineterminator": "\r\n"}, {"lineterminator": "\n"}, {"quoting": csv.QUOTE_ALL},
        {"columns": ("corrected_labels", "note", "labels", "text", "place", "split")}, {"name": "c.csv.gz"},
    ],
)  # fmt: skip
def test_what_a_spreadsheet_makes_of_the_file_is_read(data, saved):
    import gzip

    lines = [line("train", 1, "joy", note="a, b"), line("train", 3, "joy", note="", text="ok\r\nthen")]
    options = dict(saved)
    encoding = options.pop("encoding", None)
    path = data.parent / options.get("name", "corrections.csv")
    if "name" in options:
        path.write_bytes(gzip.compress((data.parent / save(data.parent, *lines, name="plain.csv")).read_bytes()))
    else:
        save(data.parent, *lines, **options)
    if encoding:
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    splits = load_splits(DataArguments(str(data), corrections=[str(path)]))
    assert named(splits, "train") == ["joy,love", "joy", "curiosity", "joy"]
    assert splits["train"]["text"][3] == "ok\nthen"


def test_all_that_does_not_fit_is_said_together_with_its_line(data):
    message = refused(
        data,
        line("train", 0, "joi"),
        line("train", 0, "joy", text="so  happy"),
        line("train", 0, "joy", labels="joy"),
        line("train", 1, "joy", place="train.csv line 99"),
        line("train", 1, "joy", "accept"),
        line("train", 1, "joy,love", "edit"),
        line("train", 2, "joy", "keep"),
        line("train", 2, ""),
        line("train", 2, "joy,joy"),
        line("train", 2, "joy", "maybe"),
        line("train", 2, "joy") | {"split": "dev"},
        line("test", 0, "joy", text="gone"),
        line("train", 0, "love", place="train.csv line 3"),
    )
    assert message.startswith("--corrections corrections.csv has 12 problem(s); nothing was trained:")
    for words in (
        "line 2: unknown label 'joi', did you mean 'joy'",
        "line 3: train.csv line 2 no longer reads the same: its text was 'so  happy' and is 'so happy'",
        "line 4: train.csv line 2 no longer reads the same: its labels were joy and are joy,love",
        "line 5: the dataset has no row 'train.csv line 99' (that text stands at train.csv line 3)",
        "line 7: train.csv line 3 was corrected otherwise on corrections.csv line 6",
        "line 8: verdict is keep, and corrected_labels are others than labels",
        "line 9: no labels are left (--allow_unlabelled takes such rows",
        "line 10: label 'joy' stands twice",
        "line 11: verdict is 'maybe'; accepted: accept, edit, keep",
        "line 12: split is 'dev'; accepted: train, validation, test",
        "line 13: test.csv line 2 no longer reads the same",
        "its text was 'so happy' (that text stands at train.csv line 2) and is 'damn, that is good'",
    ):
        assert words in message, words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no rows"),
        (b"split,place,text,labels,corrected_labels,verdict\r\n", "has no rows"),
        (b"place,text\r\na,b\r\n", "has no column split, labels, corrected_labels (found: place, text)"),
        (b"hello", "has no rows"),
        (b"split,place,text,labels,corrected_labels\r\ntrain,x\r\n", "line 2: 2 column(s) where the header has 5"),
        (b"split,place,text,labels,corrected_labels\r\ntrain,x,\xff,a,b\r\n", "line 2: not UTF-8"),
    ],
)
def test_a_file_that_is_none_is_refused(data, content, words):
    path = data.parent / "c.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_splits(DataArguments(str(data), corrections=[str(path)]))
    assert words in str(caught.value)


def test_a_file_that_is_not_there_or_of_no_kind_or_without_text_is_refused(data, tmp_path):
    (tmp_path / "c.jsonl").write_text(json.dumps(line("train", 0, "joy", labels=["joy", "love"])))
    (tmp_path / "d.jsonl").write_text(json.dumps({"split": "train"}) + "\nnull\n")
    for name, words in (("no.csv", "there is no such file"), ("data", "unknown kind of file"),
                        ("c.jsonl", "labels is list, not text"), ("d.jsonl", "has no column place")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            load_splits(DataArguments(str(data), corrections=[str(tmp_path / name)]))
    with pytest.raises(InputError, match="--correct_validation without --corrections does nothing"):
        DataArguments(str(data), correct_validation=True)


def test_texts_that_differ_late_are_shown_where_they_differ(data):
    text = "the same words " * 9
    write_csv(data / "train.csv", [("text", "labels"), (f"{text}here", "joy")])
    row = {"split": "train", "place": "train.csv line 2", "text": f"{text}there", "labels": "joy", "verdict": "keep"}
    message = refused(data, row | {"corrected_labels": "joy"})
    assert "its text was '…ords the same words there' and is '…ords the same words here'" in message


def test_a_row_may_lose_its_last_label_where_that_is_allowed(data):
    assert named(corrected(data, line("train", 1, ""), allow_unlabelled=True), "train")[1] == ""


def test_the_dataset_is_split_before_it_is_corrected(tmp_path):
    """The rows of each split stay where the seed has put them, and each correction finds its row there."""
    path = tmp_path / "tickets.csv"
    write_csv(path, [("text", "labels"), *((f"text {i}", "abc"[i % 3]) for i in range(40))])
    plain = load_splits(DataArguments(str(path)), seed=1)
    rows = [{"split": split, "place": place, "text": text, "labels": "abc"[ids[0]], "corrected_labels": "a,b,c"}
            for split in plain for place, text, ids in zip(plain[split]["place"], plain[split]["text"],
                                                           plain[split]["labels"], strict=True)]  # fmt: skip
    file = save(tmp_path, *rows, columns=COLUMNS)
    splits = load_splits(DataArguments(str(path), corrections=[file]), seed=1)
    assert all(splits[split]["place"] == plain[split]["place"] for split in plain)
    assert (
        set(named(splits, "train"))
        != {"a,b,c"}
        == {",".join(sorted(cell.split(","))) for cell in named(splits, "train")}
    )
    assert named(splits, "test") == named(plain, "test")
    other = load_splits(DataArguments(str(path), corrections=[file]), seed=2)  # made with another split
    assert all(len(ids) == 3 for ids in other["train"]["labels"])
    assert all(len(ids) == 1 for split in ("validation", "test") for ids in other[split]["labels"])
    assert other.corrections[0]["test"] == {"not_applied": len(other["test"])}


def test_corrections_name_the_emotions_and_groups_follow(tmp_path):
    (tmp_path / "emotions.txt").write_text("\n".join(GO_EMOTIONS))
    for split in ("train", "validation"):
        write_csv(tmp_path / f"{split}.csv", [("text", "labels"), ("so good", "anger"), ("so bad", "sadness")])
    file = save(tmp_path, {"split": "train", "place": "train.csv line 2", "text": "so good", "labels": "anger",
                           "corrected_labels": "joy"}, columns=COLUMNS)  # fmt: skip
    args = DataArguments(str(tmp_path), corrections=[file], taxonomy="sentiment")
    splits = load_splits(args)
    assert named(splits, "train") == ["positive", "negative"]
    assert describe(args, splits)["corrections"][0]["train"]["corrected"] == 1


def test_corrected_goemotions_is_still_known_as_goemotions(data, monkeypatch):
    args = DataArguments(str(data), corrections=[save(data.parent, line("train", 0, "joy"))])
    monkeypatch.setattr(splits_module, "GO_EMOTIONS_SHA256", fingerprint(load_splits(DataArguments(str(data)))))
    splits = load_splits(args)
    assert describe(args, splits)["hub_id"] == splits_module.HUB_DATASET
    assert fingerprint(splits) != splits_module.GO_EMOTIONS_SHA256
    assert isinstance(splits, Corrected)


def test_of_shards_that_share_a_name_text_and_labels_tell_which_row_is_meant(data):
    (data / "data").mkdir()
    (data / "train.csv").rename(data / "train-1.csv")
    write_csv(data / "data" / "train-1.csv", [("text", "labels"), ("other", "joy"), ("damn, that is good", "love")])
    at = {"place": "train-1.csv line 3"}
    splits = corrected(data, line("train", 1, "joy", **at), line("train", 1, "neutral", labels="love", **at))
    assert sorted(named(splits, "train")) == ["curiosity", "joy", "joy", "joy,love", "neutral", "neutral"]
    assert splits.corrections[0]["train"]["corrected"] == 2


def test_several_files_follow_each_other(data):
    """An audit of corrected data makes corrections of corrected rows."""
    first = save(data.parent, line("train", 0, "joy"), name="1.csv")
    second = save(data.parent, line("train", 0, "love", labels="joy"), line("train", 1, "joy"), name="2.csv")
    splits = load_splits(DataArguments(str(data), corrections=[first, second]))
    assert named(splits, "train")[:2] == ["love", "joy"]
    assert [entry["file"] for entry in splits.corrections] == ["1.csv", "2.csv"]
    with pytest.raises(InputError, match=r"2\.csv has 1 problem"):
        load_splits(DataArguments(str(data), corrections=[second, first]))


def test_hostile_names_come_back_as_they_are():
    assert needs_lists(HOSTILE)
    assert not needs_lists(["plain", '"quoted"', "a b", "<script>"])
    for names in (HOSTILE, ["a", "b c", '"'], ["", "a"]):
        for labels in ([], names, names[:1], names[::-1]):
            assert read_labels(labels_cell(labels, names), names) == labels


def test_hostile_rows_are_found_again(tmp_path):
    texts = ["=1+1", "-1", "@x", '"', "a,b", "'", "\u2028 \u202e", "<b>", "x\ry\r\nz\n\n", "\ufeff", "a\tb", "\x00\x1b"]
    for split in ("train", "validation"):
        rows = [{"text": text, "labels": [name]} for text, name in zip(texts, HOSTILE, strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plain = load_splits(DataArguments(str(tmp_path)))["train"]
    names = plain.features["labels"].feature.names
    assert sorted(names) == sorted(name.strip() for name in HOSTILE)
    rows = [
        {"split": "train", "place": place, "text": text, "labels": labels_cell([names[ids[0]]], names),
         "corrected_labels": labels_cell(sorted({names[ids[0]], "plain"}), names)}
        for place, text, ids in zip(plain["place"], plain["text"], plain["labels"], strict=True)
    ]  # fmt: skip
    splits = load_splits(DataArguments(str(tmp_path), corrections=[save(tmp_path, *rows, columns=COLUMNS)]))
    assert splits["train"]["text"] == texts
    assert splits.corrections[0]["train"] == {"corrected": 11, "removed": 0, "added": 11, "kept": 1}


def test_cells_of_another_kind_of_names_are_said():
    with pytest.raises(ValueError, match="is no JSON list, which labels are here"):
        read_labels("a,b", ["a,b", "c"])
    for cell in ("[", "[1]", '["a"', "[" * 100_000):
        with pytest.raises(ValueError, match="is no JSON list of labels"):
            read_labels(cell, ["a"])
    assert read_labels('["a", "b"]', ["a", "b"]) == read_labels(" a , b ", ["a", "b"]) == ["a", "b"]


def test_rows_of_the_hub_are_known_by_their_places(monkeypatch, tmp_path):
    made = DatasetDict({split: Dataset.from_dict({"text": ["a", "b"], "labels": [["x"], ["y"]]}) for split in ROWS})
    made.save_to_disk(tmp_path / "saved")
    row = {"split": "train", "place": "train row 1", "text": "b", "labels": "y", "corrected_labels": "x,y"}
    file = save(tmp_path, row, columns=COLUMNS)
    splits = load_splits(DataArguments(str(tmp_path / "saved"), corrections=[file]))
    assert named(splits, "train") == ["x", "y,x"]


def test_suspects_of_an_audit_are_corrections_with_all_doubts_about_a_row(data):
    columns = ("split", "place", "text", "labels", "label", "kind", "corrected_labels")

    def doubt(number, label, kind, after):
        return line("train", number, after, label=label, kind=kind)

    def read(*lines, **options):
        path = save(data.parent, *lines, name="suspects.csv", columns=columns)
        return load_splits(DataArguments(str(data), corrections=[path], **options))

    splits = read(doubt(0, "joy", "wrong", "love"), doubt(0, "anger", "missing", "joy,love,anger"))
    assert named(splits, "train")[0] == "love,anger"
    assert splits.corrections[0]["train"] == {"corrected": 1, "removed": 1, "added": 1, "kept": 0}
    both = (doubt(0, "joy", "wrong", "love"), doubt(0, "love", "wrong", "joy"))
    with pytest.raises(InputError, match=r"the doubts about train.csv line 2, here and on .* leave no labels together"):
        read(*both)
    assert named(read(*both, allow_unlabelled=True), "train")[0] == ""
    with pytest.raises(InputError, match="was corrected otherwise"):
        read(doubt(0, "joy", "wrong", "love"), doubt(0, "joy", "wrong", "anger"))
