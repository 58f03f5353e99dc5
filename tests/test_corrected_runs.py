"""Runs on corrected labels say so: at their beginning, in run.json and in the card."""

import csv
import json

import pytest
from conftest import ROOT
from huggingface_hub import ModelCard

import run_baseline
from utils.console import InputError
from utils.data import splits
from utils.data.corrections import COLUMNS
from utils.publishing.card import write_card
from utils.run_folder import RunFolder

HOSTILE_NAME = "<b>`{{ x }}` | [l](http:x) *c*.csv"


def corrections_of(folder, path, count=5):
    """Corrections of the first rows of each split of a folder: `grief` is added."""
    rows = []
    for split in ("train", "validation", "test"):
        with (folder / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(list(csv.DictReader(file))[:count], start=2):
                place, after = (
                    f"{split}.csv line {number}",
                    ",".join({**dict.fromkeys(row["labels"].split(",")), "grief": 0}),
                )
                rows.append([split, place, row["text"], row["labels"], after])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return str(path)


def train(folder, *arguments):
    return run_baseline.main(["--dataset_name", *map(str, (folder, *arguments)), "--n_jobs", "1"])


def body_of(run):
    return " ".join((run / "README.md").read_text(encoding="utf-8").split("\n---\n", 1)[1].split())


@pytest.fixture(scope="module")
def corrected_run(small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrected")
    path = corrections_of(small_data, folder / HOSTILE_NAME)
    train(small_data, "--corrections", path, "--output_dir", folder / "run")
    return folder / "run"


def test_run_json_and_card_name_the_corrections(corrected_run, baseline_run):
    record = json.loads((corrected_run / "run.json").read_text())
    (entry,) = record["dataset"]["corrections"]
    assert entry["file"] == HOSTILE_NAME
    assert entry["train"] == {"corrected": 5, "removed": 0, "added": 5, "kept": 0}
    assert entry["validation"] == entry["test"] == {"not_applied": 5}
    plain = json.loads((baseline_run / "run.json").read_text())
    assert record["dataset"]["sha256_before_corrections"] == plain["dataset"]["sha256"] != record["dataset"]["sha256"]
    assert record["run_fingerprint"] != plain["run_fingerprint"]
    card = (corrected_run / "README.md").read_text(encoding="utf-8")
    assert str(corrected_run.parent) not in card
    assert "corrected" not in body_of(baseline_run)
    said = body_of(corrected_run).split("Labels were corrected before training: ")[1]
    assert said.startswith("of 5 training comments (0 removed, 5 added), as \\<b>\\`{{ x }}\\` \\| \\[l\\](")
    assert "says. All others, and those of test, are the dataset's own." in said
    assert "corrections:\n- " in card  # in the recipe


def test_the_card_of_corrected_goemotions_says_both(small_data, tmp_path, monkeypatch):
    plain = splits.load_splits(splits.DataArguments(str(small_data)))
    monkeypatch.setattr(splits, "GO_EMOTIONS_SHA256", splits.fingerprint(plain))
    without_test = tmp_path / "data"
    without_test.mkdir()
    path = corrections_of(small_data, tmp_path / "c.csv")
    train(small_data, "--corrections", path, "--correct_validation", "--output_dir", tmp_path / "run")
    body = body_of(tmp_path / "run")
    assert "comments of GoEmotions." in body
    assert "Labels were corrected before training: of 5 training comments (0 removed, 5 added) and 5 validation" in body
    assert "## Data [GoEmotions](" in body
    results = ModelCard.load(tmp_path / "run" / "README.md").data.eval_results
    assert {result.dataset_name for result in results} == {"GoEmotions"}  # test, which is as it was

    run = RunFolder(tmp_path / "run")
    scores = {key: value for key, value in run.read("all_results.json").items() if not key.startswith("test_")}
    (run.path / "all_results.json").write_text(json.dumps(scores))
    write_card(run)
    results = ModelCard.load(run.path / "README.md").data.eval_results
    assert {result.dataset_name for result in results} == {"GoEmotions, labels corrected"}


def test_what_does_not_fit_stops_a_run_before_it_begins(small_data, tmp_path):
    path = corrections_of(ROOT / "data" / "demo", tmp_path / "c.csv", 3)
    (tmp_path / "c.csv").write_text((tmp_path / "c.csv").read_text().replace("train.csv line 2,", "train.csv line 2,x"))
    with pytest.raises(InputError, match=r"c\.csv line 2: train\.csv line 2 no longer reads the same"):
        train(small_data, "--corrections", path, "--output_dir", tmp_path / "run")
    assert not (tmp_path / "run" / "run_begun.json").exists()
    with pytest.raises(InputError, match=r"the run reads .*, which would be replaced"):
        train(small_data, "--corrections", tmp_path / "run" / "README.md", "--output_dir", seeded(tmp_path / "run"))


def seeded(folder):
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text("")
    return folder
