"""run_audit.py and what may go wrong: odd data, judges that fail, folders of others, files changed by hand."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from conftest import write_rows

import run_audit
import run_baseline
from utils.auditing import folds
from utils.auditing.folds import kept
from utils.console import InputError
from utils.data.corrections import read_labels
from utils.run_folder import read_json, write_json

WORDS = ("late", "parcel", "money", "refund", "invoice", "charged", "delivery", "broken", "help", "angry", "thanks")
RESULTS = {"audit.json", "out_of_fold.parquet", "suspects.csv", "labels.csv", "agreement.csv", "confused_labels.csv",
           "report.html"}  # fmt: skip


def texts(count):
    draw = np.random.default_rng(0)
    return [f"{' '.join(draw.choice(WORDS, 5))} {row}" for row in range(count)]


def data(folder, rows):
    """A dataset of (text, labels) in a folder of its own."""
    folder.mkdir()
    for split, part in (("train", rows), ("validation", rows[:4])):
        lines = [json.dumps({"text": text, "labels": labels}) for text, labels in part]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def audit(dataset, folder, *arguments):
    options = ["--baseline", "--folds", "2", "--dataset_name", str(dataset), "--output_dir", str(folder)]
    return run_audit.main([*options, *map(str, arguments)])


def rows_of(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def changed_by_hand(folder, count=3):
    """A file of corrections made of the first suspects, with the columns that it needs."""
    chosen = {}
    for row in rows_of(folder / "suspects.csv"):
        chosen.setdefault(row["place"], row)
    columns = ("split", "place", "text", "labels", "corrected_labels")
    path = folder.parent / f"{folder.name}_corrections.csv"
    write_rows(path, [{column: row[column] for column in columns} for row in list(chosen.values())[:count]])
    return path


@pytest.fixture(scope="module")
def audited(small_data, tmp_path_factory):
    return audit(small_data, tmp_path_factory.mktemp("audits") / "audited")


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unlabelled", [0, 3])
def test_a_single_label_in_a_file_that_is_split_here(tmp_path, unlabelled):
    cells = ["" if unlabelled and row % unlabelled == 0 else "urgent" for row in range(60)]
    rows = [{"text": text, "labels": cell} for text, cell in zip(texts(60), cells, strict=True)]
    write_rows(tmp_path / "one.csv", rows)
    folder = audit(tmp_path / "one.csv", tmp_path / "out", "--allow_unlabelled", "--max_train_samples", "40")
    assert read_json(folder / "audit.json")["rows"] == {"train": 40}
    found = rows_of(folder / "suspects.csv")
    assert len(found) == (40 if unlabelled else 0)
    assert {row["label"] for row in found} <= {"urgent"}


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_labels_of_one_row_of_no_row_and_of_every_row(tmp_path):
    """What cannot be judged is said; nobody divides by nothing."""
    rows = [(text, ["all", *["rare"] * (row == 7)]) for row, text in enumerate(texts(30))]
    folder = audit(data(tmp_path / "data", rows), tmp_path / "out", "--label_names", "all,none,rare")
    labels = {row["label"]: row for row in rows_of(folder / "labels.csv")}
    assert {label: (row["rows"], row["wrong"]) for label, row in labels.items() if label != "rare"} == {
        "all": ("30", ""), "none": ("0", ""),
    }  # fmt: skip
    assert {row["label"] for row in rows_of(folder / "suspects.csv")} <= {"rare"}


def test_odd_texts_and_label_names_come_back_from_table_and_page(tmp_path):
    names = [
        "a,b",
        'q"uote',
        "</script>",
        "\U0001f600",
        "=1+1",
        "[x]",
        "new\nline",
        "car\rriage",
        "a\u2028b",
        "__proto__",
    ]
    odd = ["a\rb", "a\r\nb", "a\nb", "</script><script>alert(1)</script>", "=cmd()", 'q"q', "\u202eabc", "x" * 10_000]
    rows = [(f"{odd[row % 8]} {text}", [names[row % 10]]) for row, text in enumerate(texts(80))]
    folder = audit(data(tmp_path / "odd", rows), tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == RESULTS | {"folds"}
    found = rows_of(folder / "suspects.csv")
    assert {row["text"] for row in found} <= {text for text, _ in rows}
    assert all(None not in row.values() for row in found)
    page = (folder / "report.html").read_text(encoding="utf-8")
    shown = json.loads(re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", page, re.DOTALL)[1])
    known = shown["names"]
    assert known == sorted(names)
    in_page = {
        (item["place"], known[doubt["label"]], doubt["kind"], doubt["score"], tuple(known[i] for i in item["given"]))
        for item in shown["items"] for doubt in item["doubts"]
    }  # fmt: skip
    assert in_page == {
        (row["place"], row["label"], row["kind"], float(row["score"]), tuple(read_labels(row["labels"], known)))
        for row in found
    }
    everything = "".join((folder / name).read_text(encoding="utf-8") for name in RESULTS if "parquet" not in name)
    assert str(tmp_path) not in everything


def test_one_text_alone_is_refused_and_says_so(tmp_path):
    rows = [("the same", ["a"]), ("The  same!", ["b"])] * 4
    with pytest.raises(InputError, match=r"--folds 2: the data has 1 different text\(s\); an audit takes at least two"):
        audit(data(tmp_path / "same", rows), tmp_path / "out")


# --- arguments --------------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_arguments_is_said_at_once(tmp_path):
    wrong = ["--folds", "1", "--audit_splits", "train", "all", "--judge", "", "--taxonomy", "ekman", "--teacher", "x",
             "--push_to_hub", "--resume_from_checkpoint", "--learning_rate", "-1"]  # fmt: skip
    with pytest.raises(InputError) as caught:
        run_audit.main([*wrong, "--output_dir", str(tmp_path / "out")])
    for name in ("folds", "audit_splits", "judge", "taxonomy", "teacher", "push_to_hub", "resume_from_checkpoint"):
        assert f"--{name}" in str(caught.value)
    assert "--learning_rate is -1.0" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_argument_that_asks_for_nothing_is_taken(small_data, tmp_path):
    audit(small_data, tmp_path / "out", "--resume_from_checkpoint", "false", "--push_to_hub", "false")


def test_splits_are_audited_in_their_order_however_they_are_named(small_data, tmp_path, capfd):
    folder = audit(small_data, tmp_path / "out", "--audit_splits", "test", "train", "test", "--max_train_samples", "90")
    assert read_json(folder / "audit.json")["rows"] == {"train": 90, "test": 60}
    said = capfd.readouterr()
    assert said.err == ""  # no bar of a library's own
    audit(small_data, folder, "--audit_splits", "train", "test", "--max_train_samples", "90")
    assert "learning from" not in capfd.readouterr().out


# --- judges -----------------------------------------------------------------------------------------------------------


def test_a_judge_that_cannot_be_loaded_costs_no_audit(small_data, audited, tiny_bert, baseline_run, tmp_path):
    folder = shutil.copytree(audited, tmp_path / "out")
    strangers = data(tmp_path / "data", [(text, ["x", "y"][row % 2 :]) for row, text in enumerate(texts(20))])
    stranger = run_baseline.main(["--dataset_name", str(strangers), "--output_dir", str(tmp_path / "run")])
    assert stranger
    before = contents(folder)
    for judge, sentence in (
        ("nowhere/at/all", "--judge: "),
        (tiny_bert, "--judge: .* is an encoder without a classifier"),
        (tmp_path / "run", "knows none of the labels"),
    ):
        with pytest.raises(InputError, match=sentence):
            audit(small_data, folder, "--seed", "7", "--overwrite_output_dir", "--judge", baseline_run, judge)
    assert contents(folder) == before


def test_a_model_is_one_judge_wherever_it_lies_and_however_often_it_is_named(
    small_data, audited, baseline_run, tmp_path, capsys
):
    folder, copied = shutil.copytree(audited, tmp_path / "out"), shutil.copytree(baseline_run, tmp_path / "copied")
    audit(small_data, folder, "--judge", baseline_run, baseline_run, f"{baseline_run}/", copied)
    said = capsys.readouterr().out
    assert said.count(" rows: it knows 28 of the labels") == 1
    assert read_json(folder / "audit.json")["judges"] == ["baseline"]
    once = (folder / "suspects.csv").read_bytes()
    audit(small_data, folder, "--judge", copied)
    assert "asking" not in capsys.readouterr().out
    assert (folder / "suspects.csv").read_bytes() == once


@pytest.mark.parametrize("dataset", ["a name", ["a list"], None, {}, {"sha256": 5}])
def test_what_a_judge_was_trained_on_may_be_unknown(small_data, audited, baseline_run, tmp_path, dataset):
    judge, folder = shutil.copytree(baseline_run, tmp_path / "run"), shutil.copytree(audited, tmp_path / "out")
    write_json(judge / "run.json", {**read_json(judge / "run.json"), "dataset": dataset})
    audit(small_data, folder, "--judge", judge)


def test_a_judge_that_has_learned_the_labels_is_known_also_where_they_were_corrected_since(
    small_data, audited, baseline_run, tmp_path, capsys
):
    audit(small_data, tmp_path / "out", "--corrections", changed_by_hand(audited), "--judge", baseline_run)
    assert "has learned from these very labels" in capsys.readouterr().out


def test_whether_an_answer_is_there_is_decided_for_all_processes_together(tmp_path, monkeypatch):
    """One that finds a file which the others do not see would wait for them in vain."""
    answers = np.full((3, 2), 0.25, dtype=np.float32)
    kept(tmp_path / "fold.parquet", "question", lambda: answers)
    monkeypatch.setattr(folds, "is_launched_with_others", lambda: True)
    monkeypatch.setattr(folds, "is_main_process", lambda: False)
    for sent, asked in ((None, 1), (answers, 0)):
        monkeypatch.setattr(folds, "broadcast_object_list", lambda found, sent=sent: found.__setitem__(0, sent))
        made = []
        assert (
            kept(tmp_path / "fold.parquet", "question", lambda made=made: made.append(1) or answers) == answers
        ).all()
        assert len(made) == asked


def test_all_processes_leave_together_the_main_one_included(small_data, audited, tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr(
        run_audit, "leave_together", lambda: left.append(sorted(path.name for path in folder.iterdir()))
    )
    folder = shutil.copytree(audited, tmp_path / "out")
    for main in (True, False):
        monkeypatch.setattr(run_audit, "is_main_process", lambda main=main: main)
        audit(small_data, folder)
    assert len(left) == 2
    assert set(left[0]) > RESULTS  # when everything was written


# --- corrections, and folders that hold something ---------------------------------------------------------------------


def test_suspects_become_corrections_by_hand(small_data, audited, tmp_path, capsys):
    path = changed_by_hand(audited, 5)
    run_baseline.main(
        ["--dataset_name", str(small_data), "--corrections", str(path), "--output_dir", str(tmp_path / "r")]
    )
    wanted = {row["text"]: set(row["corrected_labels"].split(",")) for row in rows_of(path)}
    assert f"{len(wanted)} of 200 train rows corrected" in capsys.readouterr().out
    again = audit(small_data, tmp_path / "again", "--corrections", path)
    names = [row["label"] for row in rows_of(again / "labels.csv")]
    for row in rows_of(again / "suspects.csv"):
        if row["text"] in wanted:
            assert set(read_labels(row["labels"], names)) == wanted[row["text"]]


def test_an_audit_of_corrected_labels_is_another_audit(small_data, audited, tmp_path):
    folder, corrections = shutil.copytree(audited, tmp_path / "out"), changed_by_hand(audited)
    before = contents(folder)
    with pytest.raises(
        InputError, match=r"audit of something else \(dataset .* then, .* with audited_corrections\.csv"
    ):
        audit(small_data, folder, "--corrections", corrections)
    assert contents(folder) == before
    audit(small_data, folder, "--corrections", corrections, "--overwrite_output_dir")
    with pytest.raises(
        InputError, match=r"audit of something else \(dataset .* with audited_corrections\.csv .* now\)"
    ):
        audit(small_data, folder)


def test_suspects_that_somebody_has_edited_are_not_replaced(small_data, audited, baseline_run, tmp_path):
    folder = shutil.copytree(audited, tmp_path / "out")
    with (folder / "suspects.csv").open("a", encoding="utf-8") as file:
        file.write("train,my own line\n")
    before = contents(folder)
    for more in ([], ["--judge", baseline_run]):
        with pytest.raises(InputError, match=r"suspects\.csv has been changed since the audit wrote it"):
            audit(small_data, folder, *more)
    with pytest.raises(InputError, match=r"the audit reads .*suspects\.csv, which would be replaced"):
        audit(small_data, folder, "--corrections", folder / "suspects.csv", "--overwrite_output_dir")
    assert contents(folder) == before
    (folder / "suspects.csv").rename(folder / "mine.csv")
    audit(small_data, folder)
    assert (folder / "suspects.csv").read_bytes() == (audited / "suspects.csv").read_bytes()
    assert (folder / "mine.csv").read_bytes() == before["suspects.csv"]


@pytest.mark.parametrize("question", [None, "{}", '{"dataset": {"name": "x"}}'])
def test_files_of_others_are_not_replaced(small_data, tmp_path, question):
    (tmp_path / "suspects.csv").write_text("mine")
    if question is not None:
        (tmp_path / "folds").mkdir()
        (tmp_path / "folds" / "question.json").write_text(question)
    before = contents(tmp_path)
    for more in ([], ["--overwrite_output_dir"]):
        with pytest.raises(InputError, match=r"holds suspects\.csv.*, and no folds/question\.json says that an audit"):
            audit(small_data, tmp_path, *more)
    assert contents(tmp_path) == before
