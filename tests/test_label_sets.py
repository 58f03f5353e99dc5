"""Baselines on label sets of every kind, from the rows to the card: one label, many, odd names, nothing to fit on."""

import csv
import json
import re

import numpy as np
import pytest
from matplotlib.image import imread

import run_baseline
from utils.console import InputError
from utils.model.classifiers import load_classifier
from utils.run_folder import RunFolder

ODD = ["A/B", "C|D", 'e"f', "<g>", "h`i", "ünïcode 😀", "x\ny", "a: b", "- z", "{{ t }}", "$10_to_$20", "late, or lost",
       "__init__", "*", "[x](y)", "&amp;", "a\\|b", "text", "labels", "scores", "label", "all"]  # fmt: skip


def write_splits(folder, names, rows=3, **splits):
    """Rows that each carry one of the names and say so by a word of its own, or those that are given for a split."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = [(f"a sentence about subject{i}", [name]) for i, name in enumerate(names)] * rows
    for split in ("train", "validation", "test"):
        lines = [json.dumps({"text": text, "labels": labels}) for text, labels in splits.get(split, usual)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    if not any("\n" in name for name in names):
        (folder / "labels.txt").write_text("\n".join(names))
    return folder


def train(folder, *options):
    """The run of a baseline on a folder's rows."""
    run_baseline.main(
        ["--dataset_name", str(folder), "--output_dir", str(folder / "run"), "--allow_unlabelled", "--n_jobs", "1",
         "--overwrite_output_dir", *options]
    )  # fmt: skip
    return folder / "run"


def read(run, name):
    return json.loads((run / name).read_text())


def table_of_labels(run):
    """The card's table of labels, its cells as Markdown shows them."""
    lines = (run / "README.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| label "))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]
        rows.append([re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell.strip()) for cell in cells])
    return rows


def test_a_single_label(tmp_path):
    spam, other = [(f"buy now {i}", ["spam"]) for i in range(4)], [(f"hello friend {i}", []) for i in range(8)]
    run = train(write_splits(tmp_path, ["spam"], train=spam + other, validation=spam + other, test=spam + other))
    results = read(run, "all_results.json")
    assert results["test_f1_micro"] == results["test_f1_macro"] == results["test_average_precision_macro"] == 1
    assert results["eval_f1_samples"] == pytest.approx(4 / 12)
    assert list(read(run, "thresholds.json")["thresholds"]) == ["spam"]
    classifier, thresholds = load_classifier(run)
    probabilities = classifier.predict(["buy now", "hello friend"])
    assert probabilities.shape == (2, 1)
    assert (probabilities[:, 0] >= thresholds[0]).tolist() == [True, False]
    assert not (run / "plots" / "cooccurrence.png").exists()
    card = (run / "README.md").read_text()
    assert "says whether a text has\nthe label spam" in card
    assert "cooccurrence" not in card
    assert table_of_labels(run) == [["spam", "4", "1.000", "1.000", "1.000", f"{thresholds[0]:.3f}", "1.000"]]


def test_a_label_that_every_row_carries_or_none(tmp_path):
    rows = [(f"buy now {word}", ["all"]) for word in ("one", "two", "three", "four")]
    for names in (["all"], ["all", "none"]):
        folder = write_splits(tmp_path / str(len(names)), names, train=rows, validation=rows, test=rows)
        run = train(folder)
        assert load_classifier(run)[0].predict(["buy"])[0].tolist() == [1.0, 0.0][: len(names)]
        assert read(run, "all_results.json")["test_f1_micro"] == 1
        assert "test_average_precision_macro" not in read(run, "all_results.json")


def test_two_labels_of_which_every_row_carries_one(tmp_path):
    run = train(write_splits(tmp_path, ["no", "yes"], rows=6))
    assert read(run, "all_results.json")["test_f1_micro"] == 1
    assert [row[:2] for row in table_of_labels(run)] == [["no", "6"], ["yes", "6"]]


def test_names_of_every_kind(tmp_path):
    """Files, pictures and card hold each name as it is; no table breaks, no column is taken for another."""
    names = sorted(ODD)
    run = train(write_splits(tmp_path, names))
    assert list(read(run, "thresholds.json")["thresholds"]) == names
    stored_names, predicted = RunFolder(run).read_predictions("test")
    assert stored_names == names
    assert predicted.texts == [f"a sentence about subject{i}" for i in range(len(names))] * 3
    np.testing.assert_array_equal(predicted.gold, np.tile(np.eye(len(names)), (3, 1)))
    assert predicted.probabilities.argmax(axis=1).tolist() == list(range(len(names))) * 3
    with (run / "per_label.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == names
    rows = table_of_labels(run)
    assert {len(row) for row in rows} == {7}
    assert [row[0] for row in rows] == [name.replace("\n", "\\n") for name in names]
    assert {path.name for path in (run / "plots").iterdir()} == {
        "per_label_f1.png", "threshold_curves.png", "reliability.png", "cooccurrence.png"
    }  # fmt: skip


def test_hundreds_of_labels_stay_readable(tmp_path):
    names = [f"label {i:04d}" for i in range(300)]
    pairs = [(f"subject{i} and subject{i * i % 50}", sorted({names[i], names[i * i % 50]})) for i in range(300)]
    run = train(write_splits(tmp_path, names, train=pairs, validation=pairs[::2], test=pairs[::2]))
    assert len(read(run, "thresholds.json")["thresholds"]) == 300
    with (run / "per_label.csv").open(newline="") as file:
        support = {row["label"]: int(row["support"]) for row in csv.DictReader(file)}
    assert len(support) == 300
    card = (run / "README.md").read_text()
    assert "(the 40 most frequent of 300;" in " ".join(card.split())
    shown = [row[0] for row in table_of_labels(run)]
    assert len(shown) == 40
    assert min(support[name] for name in shown) >= max(support[name] for name in names if name not in shown)
    assert len(card) < 12_000
    for picture in (run / "plots").glob("*.png"):
        assert imread(picture).shape[0] <= 1100


def test_no_positive_in_validation(tmp_path, capsys):
    rows = [
        ("the parcel came late", ["delivery"]),
        ("charged twice", ["billing"]),
        ("late, charged twice", ["billing"]),
    ]
    empty = [(text, []) for text, _ in rows]
    run = train(write_splits(tmp_path, ["billing", "delivery"], train=rows * 4, validation=empty, test=rows))
    assert "no positive in the validation rows of billing, delivery; decided at 0.5" in capsys.readouterr().out
    assert read(run, "thresholds.json")["thresholds"] == {"billing": 0.5, "delivery": 0.5}
    results = read(run, "all_results.json")
    assert results["eval_f1_micro"] == 0
    assert not [key for key in results if key.startswith("eval_average_precision")]
    assert results["test_average_precision_macro"] > 0
    card = " ".join((run / "README.md").read_text().split())
    assert "No threshold could be fitted" in card
    assert "Thresholds were fitted" not in card
    assert "at or above its threshold there (0.5: validation has no positive to fit one on)" in card

    some = [*empty, ("charged twice", ["billing"])]
    run = train(write_splits(tmp_path, ["billing", "delivery"], train=rows * 4, validation=some, test=rows))
    out = capsys.readouterr().out
    assert "validation rows of delivery; decided at the threshold of all labels together" in out
    assert "1 of the labels do not occur there" in " ".join((run / "README.md").read_text().split())


def test_texts_without_a_word_are_refused_and_the_old_run_stays(tmp_path):
    run = train(write_splits(tmp_path, ["no", "yes"]))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    write_splits(tmp_path, ["no", "yes"], train=[("😀🎉", ["yes"]), ("🎉 !", ["no"])])
    with pytest.raises(InputError, match="no training text holds a word of two letters or more") as caught:
        train(tmp_path)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_an_unfinished_baseline_beside_a_run_is_passed_over(tmp_path):
    first = train(write_splits(tmp_path, ["no", "yes"]))
    (first / "all_results.json").unlink()
    run_baseline.main(
        [
            "--dataset_name",
            str(tmp_path),
            "--output_dir",
            str(tmp_path / "second"),
            "--allow_unlabelled",
            "--n_jobs",
            "1",
        ]
    )
    assert (tmp_path / "second" / "README.md").is_file()
