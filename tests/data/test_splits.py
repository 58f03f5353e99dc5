import json
import time

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import run_python

from utils.arguments import DataArguments
from utils.console import InputError
from utils.data import splits
from utils.data.labels import GO_EMOTIONS, TAXONOMIES, grouping_matrix, multi_hot
from utils.data.splits import fingerprint, label_names, load_splits, regroup, stratified_subset

ROWS = [('it\'s "fine"', [27]), ("so happy, and grateful", [17, 15]), ("why would anyone, ever", [7, 3])]


def write(folder, suffix, split="train", rows=ROWS, names=False):
    label = (lambda index: GO_EMOTIONS[index]) if names else (lambda index: index)
    path = folder / f"{split}{suffix}"
    if suffix == ".tsv":
        lines = [f"{text}\t{','.join(str(label(i)) for i in ids)}\tid{n}\n" for n, (text, ids) in enumerate(rows)]
        path.write_text("".join(lines), encoding="utf-8")
    elif suffix == ".csv":
        quoted = [(text.replace('"', '""'), ",".join(str(label(i)) for i in ids)) for text, ids in rows]
        path.write_text("text,labels\n" + "".join(f'"{text}","{ids}"\n' for text, ids in quoted), encoding="utf-8")
    elif suffix == ".jsonl":
        lines = [json.dumps({"text": text, "labels": [label(i) for i in ids]}) + "\n" for text, ids in rows]
        path.write_text("".join(lines), encoding="utf-8")
    else:
        columns = {"text": [text for text, _ in rows], "labels": [[label(i) for i in ids] for _, ids in rows]}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("names", [False, True], ids=["ids", "names"])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix, names):
    (tmp_path / "emotions.txt").write_text("\n".join(GO_EMOTIONS))
    write(tmp_path, suffix, "train", names=names)
    write(tmp_path, suffix, "dev", names=names)
    splits = load_splits(DataArguments(str(tmp_path)))
    assert set(splits) == {"train", "validation"}
    assert label_names(splits) == list(GO_EMOTIONS)
    assert list(zip(splits["train"]["text"], splits["train"]["labels"], strict=True)) == ROWS
    write(tmp_path, suffix, "test", names=names)
    assert load_splits(DataArguments(str(tmp_path)))["test"]["text"][0] == ROWS[0][0]


def test_other_label_sets_come_from_the_data_or_a_labels_file(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text('text,labels\ngood,"up,calm"\nbad,down\n')
    assert label_names(load_splits(DataArguments(str(tmp_path)))) == ["calm", "down", "up"]
    (tmp_path / "labels.txt").write_text("up\ndown\ncalm")
    assert label_names(load_splits(DataArguments(str(tmp_path)))) == ["up", "down", "calm"]


def test_every_problem_is_reported_with_file_and_line(tmp_path):
    (tmp_path / "emotions.txt").write_text("\n".join(GO_EMOTIONS))
    write(tmp_path, ".tsv", "validation")
    lines = [b"fine\t27\ta", b"out of range\t28\tb", b"unknown name\tjoi\tc", b" \t3\td", b"no labels\t\te",
             b"twice\t4,4\tf", b"broken \xff utf-8\t4\tg", b"only text", b"good\t1\th"]  # fmt: skip
    (tmp_path / "train.tsv").write_bytes(b"\n".join(lines))
    with pytest.raises(InputError) as caught:
        load_splits(DataArguments(str(tmp_path)))
    message = str(caught.value)
    assert "7 problem(s)" in message
    for line, words in {
        2: "label id 28 is outside 0 to 27", 3: "unknown label 'joi', did you mean 'joy'", 4: "text is empty",
        5: "no labels", 6: "stands twice", 7: "not UTF-8", 8: "column(s)",
    }.items():  # fmt: skip
        assert any(f"train.tsv line {line}:" in part and words in part for part in message.splitlines()), (
            line,
            message,
        )


@pytest.mark.parametrize("changed", ["train.csv", "validation.csv", "emotions.txt"])
@pytest.mark.parametrize("way", ["folder", "file"])
def test_data_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch, way, changed):
    """Half of the rows would be those of one version, and half of another's, or train's of one and validation's."""
    (tmp_path / "emotions.txt").write_text("\n".join(GO_EMOTIONS))
    files = [write(tmp_path, ".csv", split, ROWS * 9) for split in ("train", "validation")]
    read = splits.read_rows

    def read_and_change(path, **options):
        yield from read(path, **options)
        if path == files[0]:
            (tmp_path / changed).write_text((tmp_path / changed).read_text() + "\n")

    args = DataArguments(str(tmp_path if way == "folder" else files[0]))
    loaded = fingerprint(load_splits(args))
    with monkeypatch.context() as patch:
        patch.setattr(splits, "read_rows", read_and_change)
        if way == "file" and changed == "validation.csv":
            assert fingerprint(load_splits(args)) == loaded  # it is not read
        else:
            with pytest.raises(InputError, match=rf"{changed} was changed while it was read"):
                load_splits(args)


def test_only_the_first_twenty_problems_are_listed(tmp_path):
    (tmp_path / "emotions.txt").write_text("\n".join(GO_EMOTIONS))
    write(tmp_path, ".tsv", "validation")
    write(tmp_path, ".tsv", "train", rows=[("text", [100 + i]) for i in range(50)])
    with pytest.raises(InputError, match="50 problem") as caught:
        load_splits(DataArguments(str(tmp_path)))
    assert str(caught.value).count("outside 0 to 27") == 20
    assert "30 more" in str(caught.value)


def test_the_same_problem_of_many_rows_is_said_once(tmp_path):
    (tmp_path / "emotions.txt").write_text("\n".join(GO_EMOTIONS))
    write(tmp_path, ".tsv", "validation")
    write(tmp_path, ".tsv", "train", rows=[("text", [99])] * 50 + [("text", [98])] * 2)
    with pytest.raises(InputError) as caught:
        load_splits(DataArguments(str(tmp_path)))
    _, *lines = str(caught.value).splitlines()
    assert lines[0].endswith(
        "train.tsv line 1: label id 99 is outside 0 to 27; 49 more alike: train.tsv line 2, train.tsv line 3, …"
    )
    assert [line.split(":")[0].split()[-1] for line in lines[1:]] == ["51", "52"]


def test_a_file_of_another_encoding_is_one_sentence_with_what_to_do(tmp_path):
    rows = "".join(f"{'x' * number} für Käufer,joy\n" for number in range(30))
    (tmp_path / "tickets.csv").write_text(f"text,labels\n{rows}", encoding="cp1252")
    with pytest.raises(InputError) as caught:
        load_splits(DataArguments(str(tmp_path / "tickets.csv")))
    first, line, remedy = str(caught.value).splitlines()
    assert first == "tickets.csv has 30 problem(s); nothing was trained:"
    assert "tickets.csv line 2: not UTF-8 (byte 3 of the line); 29 more alike: " in line
    assert "`iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`" in remedy


def test_unlabelled_rows_are_taken_only_when_asked(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text('{"text": "a", "labels": []}\n{"text": "b", "labels": ["joy"]}\n')
    with pytest.raises(InputError, match="--allow_unlabelled"):
        load_splits(DataArguments(str(tmp_path)))
    splits = load_splits(DataArguments(str(tmp_path), allow_unlabelled=True))
    assert multi_hot(splits["train"]["labels"], 1).sum(axis=1).tolist() == [0, 1]


def test_a_missing_split_or_column_is_named(tmp_path):
    write(tmp_path, ".csv", "train", names=True)
    write(tmp_path, ".csv", "test", names=True)
    with pytest.raises(InputError, match="no validation split") as caught:
        load_splits(DataArguments(str(tmp_path)))
    assert "test" in str(caught.value)
    (tmp_path / "validation.csv").write_text("comment,labels\nhello,joy\n")
    with pytest.raises(InputError, match="no column text"):
        load_splits(DataArguments(str(tmp_path)))


def test_ambiguous_files_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no data"):
        load_splits(DataArguments(str(tmp_path)))
    write(tmp_path, ".csv")
    write(tmp_path, ".tsv")
    with pytest.raises(InputError, match="2 files for the train split"):
        load_splits(DataArguments(str(tmp_path)))
    with pytest.raises(InputError, match="no such folder"):
        load_splits(DataArguments("./nowhere"))


def test_without_the_hub_one_sentence_names_the_dataset_and_the_ways_on():
    done = run_python("run_baseline.py", "--output_dir", "outputs/never")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "google-research-datasets/go_emotions" in error[0]
    assert "local folder" in error[0]
    assert "demo" in error[0]


def deviation(subset, full):
    """The largest difference of a label's share, and the smallest count among labels due at least one row."""
    wanted = multi_hot(full["labels"], 28).mean(axis=0)
    counts = multi_hot(subset["labels"], 28).sum(axis=0)
    return np.abs(counts / len(subset) - wanted).max(), counts[wanted * len(subset) >= 1].min()


@pytest.mark.parametrize("size", [100, 203, 500])
def test_subsets_are_exact_stratified_and_repeatable(demo, size):
    subset = stratified_subset(demo["train"], size, seed=3)
    assert len(subset) == size
    difference, rarest = deviation(subset, demo["train"])
    assert difference <= 0.01
    assert rarest >= 1
    assert subset["text"] == stratified_subset(demo["train"], size, seed=3)["text"]
    assert subset["text"] != stratified_subset(demo["train"], size, seed=4)["text"]
    assert len(set(subset["text"])) == size


def test_a_subset_no_smaller_than_the_data_is_the_data(demo):
    assert stratified_subset(demo["test"], 10_000, seed=0) is demo["test"]
    assert stratified_subset(demo["test"], None, seed=0) is demo["test"]


def test_goemotions_is_read_whole(goemotions):
    assert {split: len(rows) for split, rows in goemotions.items()} == {
        "train": 43410,
        "validation": 5426,
        "test": 5427,
    }
    assert sum('"' in text for text in goemotions["train"]["text"]) == 1097
    assert max(map(len, goemotions["train"]["text"])) == 703
    assert int(multi_hot(goemotions["train"]["labels"], 28).sum(axis=0)[GO_EMOTIONS.index("grief")]) == 77


@pytest.mark.parametrize("seed", [0, 1])
def test_goemotions_subsets(goemotions, seed):
    started = time.perf_counter()
    train = stratified_subset(goemotions["train"], 2000, seed)
    seconds = time.perf_counter() - started
    validation = stratified_subset(goemotions["validation"], 200, seed)
    assert (len(train), len(validation)) == (2000, 200)
    for subset, full in ((train, goemotions["train"]), (validation, goemotions["validation"])):
        difference, rarest = deviation(subset, full)
        assert difference <= 0.01
        assert rarest >= 1
    assert seconds < 5


def test_the_fingerprint_is_of_the_content(demo, tmp_path):
    assert fingerprint(demo) == fingerprint(load_splits(DataArguments("demo")))
    changed = demo["train"].select(range(10))
    assert fingerprint(demo) != fingerprint(type(demo)({**demo, "train": changed}))


@pytest.mark.parametrize(("taxonomy", "groups"), [("ekman", 7), ("sentiment", 4)])
def test_every_emotion_belongs_to_one_group_of_the_paper(demo, taxonomy, groups):
    matrix = grouping_matrix(GO_EMOTIONS, taxonomy)
    assert matrix.shape == (28, groups)
    assert (matrix.sum(axis=1) == 1).all()
    grouped = regroup(demo, taxonomy)
    assert label_names(grouped) == list(TAXONOMIES[taxonomy])
    for before, after in zip(demo["test"]["labels"], grouped["test"]["labels"], strict=True):
        assert len(after) == len(set(after)) <= len(before)
        assert all(any(GO_EMOTIONS[i] in TAXONOMIES[taxonomy][label_names(grouped)[j]] for j in after) for i in before)


def test_a_file_with_a_single_label_is_split(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("text,labels\n" + "".join(f"comment number {number},happy\n" for number in range(40)))
    splits = load_splits(DataArguments(str(path)))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 32, "validation": 4, "test": 4}
