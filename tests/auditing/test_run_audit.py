"""run_audit.py: its files, that it goes on where it was stopped, another judge, and what it says."""

import codecs
import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest

import run_audit
import run_baseline
from run_baseline import BaselineArguments
from utils.arguments import DataArguments, FinetuneArguments, ModelArguments, OutputArguments, parse_arguments
from utils.auditing import judges
from utils.auditing.agreement import Agreement, Score
from utils.auditing.findings import Suspect
from utils.auditing.tables import summary
from utils.console import InputError
from utils.data.corrections import read_labels
from utils.data.labels import GO_EMOTIONS
from utils.data.splits import load_splits
from utils.run_folder import read_json

FILES = {
    "audit.json", "suspects.csv", "labels.csv", "agreement.csv", "confused_labels.csv", "out_of_fold.parquet",
    "report.html", "folds",
}  # fmt: skip


def table(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def disputed(demo, tmp_path_factory):
    """A file of the demo corpus in which thirty labels are wrong, and ten texts stand twice, half of them disputed."""
    path = tmp_path_factory.mktemp("disputed") / "comments.csv"
    rows = [
        [text, [GO_EMOTIONS[i] for i in ids]]
        for text, ids in zip(demo["train"]["text"], demo["train"]["labels"], strict=True)
    ]
    thanks = [row for row in rows if row[1] == ["gratitude"]][:30]
    wrong = {text for text, _ in thanks[:15]}
    for number, row in enumerate(thanks[:15]):
        row[1] = [GO_EMOTIONS[number]]
    rows += [[text.upper(), labels if number % 2 else ["fear"]] for number, (text, labels) in enumerate(rows[200:210])]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "labels"])
        writer.writerows([text, ",".join(labels)] for text, labels in rows)
    return path, wrong


@pytest.fixture(scope="module")
def audited(disputed, tmp_path_factory):
    """The folder of an audit of all splits of that file by the baseline."""
    folder = tmp_path_factory.mktemp("audits") / "audited"
    run_audit.main(
        ["--dataset_name", str(disputed[0]), "--baseline", "--folds", "4", "--output_dir", str(folder),
         "--audit_splits", "train", "validation", "test"]
    )  # fmt: skip
    return folder


def test_the_files_are_there_and_say_no_local_path(audited, disputed):
    assert {path.name for path in audited.iterdir()} == FILES
    for name in ("audit.json", "report.html", "suspects.csv", "agreement.csv"):
        assert str(disputed[0].parent) not in (audited / name).read_text(encoding="utf-8")
    about = read_json(audited / "audit.json")
    assert about["dataset"]["name"] == "comments.csv"
    assert about["judged_by"] == "baseline"
    assert about["folds"] == 4
    assert sum(about["rows"].values()) == len(table(disputed[0]))
    assert 0.3 < about["out_of_fold"]["f1_micro"] < 0.9


def test_wrong_labels_are_among_the_first_suspects(audited, disputed):
    suspects = table(audited / "suspects.csv")
    scores = [float(suspect["score"]) for suspect in suspects]
    assert scores == sorted(scores, reverse=True)
    assert len(suspects) >= 100
    found = {suspect["text"] for suspect in suspects[:40]}
    assert len(found & disputed[1]) >= 7
    for suspect in suspects:
        given, corrected = (read_labels(suspect[name], GO_EMOTIONS) for name in ("labels", "corrected_labels"))
        assert (suspect["label"] in given) == (suspect["kind"] == "wrong") != (suspect["label"] in corrected)
        assert corrected
        assert set(given) - {suspect["label"]} <= set(corrected)


def test_places_lead_back_to_the_rows_of_the_file(audited, disputed):
    lines = disputed[0].read_text(encoding="utf-8").splitlines()
    for suspect in table(audited / "suspects.csv")[:20]:
        name, line = suspect["place"].rsplit(" line ", 1)
        assert name == "comments.csv"
        assert next(csv.reader([lines[int(line) - 1]]))[0] == suspect["text"]


def test_copies_are_listed_and_scored(audited):
    copies = table(audited / "agreement.csv")
    assert len(copies) == 20
    assert {row["copies"] for row in copies} == {"2"}
    assert [row["different"] for row in copies[:2]] == ["2", "2"]
    agreement = read_json(audited / "audit.json")["agreement"]
    assert agreement["texts"] == 10
    assert 0.4 < agreement["equal"] < 0.7
    assert agreement["copies"]["f1_micro"]["low"] < agreement["copies"]["f1_micro"]["high"]


def test_labels_have_rates_with_intervals(audited):
    labels = {row["label"]: row for row in table(audited / "labels.csv")}
    assert list(labels) == sorted(GO_EMOTIONS)
    assert sum(int(row["suspected_wrong"]) for row in labels.values()) > 10
    assert (
        float(labels["grief"]["wrong_ci_low"])
        <= float(labels["grief"]["wrong"])
        <= float(labels["grief"]["wrong_ci_high"])
    )


def test_probabilities_are_kept_by_row(audited, disputed):
    kept = pyarrow.parquet.read_table(audited / "out_of_fold.parquet")
    names = json.loads(kept.schema.metadata[b"label_names"])
    assert len(kept) == len(table(disputed[0]))
    assert names == sorted(GO_EMOTIONS)
    assert np.array(kept["probabilities"].to_pylist()).shape == (len(kept), 28)


def test_another_judge_is_asked_and_reported(audited, disputed, demo, tmp_path, capsys):
    run_baseline.main(["--dataset_name", "demo", "--output_dir", str(tmp_path / "judge"), "--n_jobs", "1"])
    arguments = [
        "--dataset_name",
        str(disputed[0]),
        "--baseline",
        "--folds",
        "4",
        "--output_dir",
        str(tmp_path / "audit"),
    ]
    run_audit.main([*arguments, "--judge", str(tmp_path / "judge")])
    suspects = table(tmp_path / "audit" / "suspects.csv")
    assert all(0 <= float(suspect["judge"]) <= 1 for suspect in suspects)
    assert len({suspect["text"] for suspect in suspects[:40]} & disputed[1]) >= 8
    assert read_json(tmp_path / "audit" / "audit.json")["judges"] == ["judge"]
    capsys.readouterr()
    run_audit.main(["--dataset_name", "demo", "--baseline", "--folds", "2", "--output_dir", str(tmp_path / "same"),
                    "--judge", str(tmp_path / "judge")])  # fmt: skip
    assert "has learned from these very labels" in " ".join(capsys.readouterr().out.split())


def test_an_encoders_audit_goes_on_and_ends_as_if_it_had_not_been_stopped(finetune_arguments, tmp_path, monkeypatch):
    arguments = [*finetune_arguments, "--max_steps", "2", "--folds", "3"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_audit.main([*arguments, "--output_dir", str(whole)])
    trained = []
    train = judges.EmotionTrainer.train

    def stop_at_the_second(trainer):
        trained.append(len(trainer.train_dataset))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(trainer)

    monkeypatch.setattr(judges.EmotionTrainer, "train", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_audit.main([*arguments, "--output_dir", str(stopped)])
    run_audit.main([*arguments, "--output_dir", str(stopped)])
    assert len(trained) == 4
    for name in FILES - {"folds", "out_of_fold.parquet"}:
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    assert {path.name for path in stopped.iterdir()} == FILES  # no checkpoints
    with pytest.raises(InputError, match=r"holds an audit of something else .learning_rate 0.001 then, 0.5 now"):
        run_audit.main([*arguments, "--learning_rate", "0.5", "--output_dir", str(stopped)])
    with pytest.raises(InputError, match=r"holds an audit of something else .folds 3 then, 2 now"):
        run_audit.main([*arguments, "--folds", "2", "--output_dir", str(stopped)])
    run_audit.main([*arguments, "--folds", "2", "--output_dir", str(stopped), "--overwrite_output_dir"])
    assert len(list((stopped / "folds").glob("fold-*"))) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--folds", "1"], "--folds is 1"),
        (["--audit_splits", "dev"], "--audit_splits names dev; accepted: train, validation, test"),
        (["--teacher", "runs/a"], "--teacher"),
        (["--taxonomy", "ekman"], "--taxonomy"),
        (["--push_to_hub"], "--push_to_hub"),
    ],
)
def test_what_an_audit_does_not_do_is_refused(arguments, said, tmp_path):
    with pytest.raises(InputError, match=said):
        run_audit.main(["--dataset_name", "demo", "--baseline", "--output_dir", str(tmp_path / "a"), *arguments])
    assert not (tmp_path / "a").exists()


def test_judges_that_have_hardly_learned_say_so_beside_their_score(demo, tmp_path, capsys):
    run_audit.main(["--dataset_name", "demo", "--baseline", "--folds", "2", "--max_train_samples", "200",
                    "--output_dir", str(tmp_path / "few")])  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"macro-F1 0\.\d+\. That is little: models that have hardly learned", said)
    others = len(demo["validation"]) + len(demo["test"])
    assert f"{others} rows of validation and test were not judged; --audit_splits train validation test does." in said
    assert "dataset_config_name" not in said


def test_tables_open_in_a_spreadsheet_and_are_taken_whole_as_corrections(audited, disputed):
    for name in ("suspects.csv", "labels.csv", "agreement.csv", "confused_labels.csv"):
        assert (audited / name).read_bytes().startswith(codecs.BOM_UTF8)
    assert len({row["place"] for row in table(audited / "suspects.csv")}) < len(table(audited / "suspects.csv"))
    corrected = load_splits(DataArguments(str(disputed[0]), corrections=[str(audited / "suspects.csv")]))
    assert corrected.corrections[0]["train"]["corrected"] > 50


def test_an_audit_and_a_search_have_folders_of_their_own(tmp_path):
    kinds, recipe = (DataArguments, OutputArguments, BaselineArguments), tmp_path / "recipe.yaml"
    recipe.write_text("output_dir: outputs/minilm\n")

    def folder(*arguments):
        return parse_arguments(kinds, arguments, "", str(recipe), beside="_audit")[2].output_dir

    assert folder() == "outputs/minilm_audit"
    assert folder("--output_dir", "here") == "here"
    recipe.write_text("seed: 1\n")
    assert folder() == "outputs/run_audit"


def test_one_label_in_one_row_is_no_plural():
    agreed = Agreement(1, 2, 1.0, *({name: Score(1, 1, 1) for name in ("f1_micro", "f1_macro")},) * 3)
    found = SimpleNamespace(
        gold=np.eye(2), suspects=[Suspect(0, 0, 0.9)], f1={"f1_micro": 0.9, "f1_macro": 0.9}, agreement=agreed,
        suspicion=np.zeros((2, 2)),
    )  # fmt: skip
    said = " ".join(summary(["a", "b"], found))
    assert "1 label in 1 row is likelier an error than not: 1 given that does not belong, 0 missing." in said
    assert "1 text stands several times (2 rows)." in said


def test_the_printed_training_has_the_recipe_without_what_only_an_audit_takes(tmp_path):
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text("model_name_or_path: minilm\nlearning_rate: 1e-4\nfolds: 2\naudit_splits: [train, test]\n")
    asked = ["--config", str(recipe), "--learning_rate", "2e-4", "--folds", "3", "--output_dir", str(tmp_path / "a")]
    kinds = (DataArguments, ModelArguments, FinetuneArguments)
    _, model, args = parse_arguments(kinds, [*run_audit.as_training(asked), "--output_dir", "x"], "", run_audit.RECIPE)
    assert model.model_name_or_path == "minilm"
    assert args.learning_rate == 2e-4
    assert args.head_learning_rate is None  # as the recipe says, not as that of run_finetune.py without --config does
    plain = tmp_path / "plain.yaml"
    plain.write_text("model_name_or_path: minilm\noutput_dir: outputs/minilm\n")
    assert run_audit.as_training(["--config", str(plain), "--seed", "1"]) == ["--config", str(plain), "--seed", "1"]
