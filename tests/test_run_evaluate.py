"""What run_evaluate.py makes of a finished run is what run_finetune.py would have made with the same arguments."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import pipeline

import run_baseline
import run_evaluate
import run_finetune
import run_push
from utils.console import InputError
from utils.evaluation.thresholds import decide
from utils.model.classifiers import load_classifier
from utils.model.folding import CONFIG_KEY
from utils.publishing.hub import Publication
from utils.run_folder import RunFolder, read_csv, read_json, write_json

REPORT = ("thresholds.json", "threshold_strategies.csv", "per_label.csv", "mistakes.csv", "confusions.csv",
          "calibration.csv", "predictions/validation.parquet", "predictions/test.parquet")  # fmt: skip
GLOBAL = ["--threshold_strategy", "global", "--threshold_metric", "f1_macro"]
PLATT = ["--calibration", "platt", "--fold_thresholds", "false"]


@pytest.fixture(scope="module")
def learned(finetune_arguments, tmp_path_factory):
    """Arguments and folder of a run that has learned enough for thresholds and calibrations to differ."""
    arguments = [
        *finetune_arguments,
        "--num_train_epochs",
        "8",
        "--learning_rate",
        "3e-3",
        "--head_learning_rate",
        "1e-2",
    ]
    folder = tmp_path_factory.mktemp("runs") / "learned"
    run_finetune.main([*arguments, "--output_dir", str(folder)])
    return arguments, folder


@pytest.fixture(scope="module")
def calibrated(learned, tmp_path_factory):
    """The same run, calibrated when it was trained, its thresholds beside the model."""
    folder = tmp_path_factory.mktemp("runs") / "calibrated"
    run_finetune.main([*learned[0], *PLATT, "--output_dir", str(folder)])
    return folder


def copy_of(folder, place):
    return shutil.copytree(folder, place / "run", ignore=shutil.ignore_patterns("checkpoints"))


def evaluate(folder, *arguments):
    run_evaluate.main([str(folder), *arguments])
    return folder


def assert_alike(run, expected):
    """All that was made after training is alike: the report to the last byte, the weights to the last digits."""
    for name in REPORT:
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    results, others = (read_json(folder / "all_results.json") for folder in (run, expected))
    assert list(results) == list(others)
    timed = {name for name in results if "runtime" in name or "per_second" in name}
    assert {n: v for n, v in results.items() if n not in timed} == {n: v for n, v in others.items() if n not in timed}
    weights, other_weights = (load_file(folder / "model.safetensors") for folder in (run, expected))
    for name, tensor in weights.items():
        np.testing.assert_allclose(tensor, other_weights[name], atol=1e-6, rtol=1e-6)
    configs = [read_json(folder / "config.json") for folder in (run, expected)]
    assert configs[0] == configs[1]
    assert (run / "calibration.json").is_file() == (expected / "calibration.json").is_file()
    assert (run / "uncalibrated").exists() == (expected / "uncalibrated").exists()
    assert {path.name for path in (run / "plots").iterdir()} == {path.name for path in (expected / "plots").iterdir()}
    recipes = [re.search(r"```yaml\n(.*?)```", (f / "README.md").read_text(), re.DOTALL)[1] for f in (run, expected)]
    assert recipes[0] == recipes[1]


@pytest.mark.parametrize(
    "options",
    [
        GLOBAL,
        ["--threshold_strategy", "per_label"],
        ["--threshold_strategy", "fixed", "--fold_thresholds", "false"],
        PLATT,
    ],
    ids=lambda options: " ".join(options),
)
def test_a_run_evaluated_otherwise_is_the_run_trained_so(learned, calibrated, options, tmp_path):
    arguments, folder = learned
    trained = calibrated if options is PLATT else tmp_path / "trained"
    if options is not PLATT:
        run_finetune.main([*arguments, *options, "--output_dir", str(trained)])
    run = evaluate(copy_of(folder, tmp_path), *options)
    assert (run / "thresholds.json").read_bytes() != (folder / "thresholds.json").read_bytes()
    assert_alike(run, trained)
    kept = read_json(run / "run.json")
    assert kept["arguments"] == read_json(folder / "run.json")["arguments"]
    asked = dict(zip(options[::2], options[1::2], strict=True))
    assert {f"--{name}": str(value).lower() for name, value in kept["changed"].items()} == asked


@pytest.mark.parametrize("kind", ["learned", "calibrated"])
def test_nothing_asked_for_changes_nothing(kind, learned, calibrated, tmp_path):
    folder = calibrated if kind == "calibrated" else learned[1]
    run = evaluate(copy_of(folder, tmp_path))
    assert_alike(run, folder)
    for name in ("model.safetensors", "config.json", "run.json", "all_results.json", "trainer_state.json"):
        assert (run / name).read_bytes() == (folder / name).read_bytes(), name


def test_every_change_is_taken_back_without_a_trace(learned, tmp_path):
    """Through every calibration, folded and not: each is undone before the next, and at the end nothing is left."""
    _, folder = learned
    run = copy_of(folder, tmp_path)
    evaluate(run, "--calibration", "temperature", *GLOBAL)
    assert read_json(run / "calibration.json")["method"] == "temperature"
    evaluate(run, *PLATT, "--set_threshold", "joy=0.7")
    evaluate(run, "--fold_thresholds", "true")
    assert read_json(run / "calibration.json")["method"] == "platt"
    evaluate(run, "--calibration", "none", "--set_threshold", "none", "--threshold_strategy", "expected_f1",
             "--threshold_metric", "f1_micro")  # fmt: skip
    assert_alike(run, folder)
    assert "changed" not in read_json(run / "run.json")


def test_one_calibration_takes_anothers_place(learned, calibrated, tmp_path):
    """Not on top of it: a temperature fitted to a run with Platt scaling is that of the run without."""
    _, folder = learned
    from_platt = evaluate(copy_of(calibrated, tmp_path / "a"), "--calibration", "temperature")
    from_none = evaluate(copy_of(folder, tmp_path / "b"), "--calibration", "temperature", "--fold_thresholds", "false")
    assert (from_platt / "calibration.json").read_bytes() == (from_none / "calibration.json").read_bytes()
    assert_alike(from_platt, from_none)


def test_the_model_answers_as_the_stored_predictions_say(calibrated, tmp_path):
    run = copy_of(calibrated, tmp_path)
    uncalibrated = RunFolder(run).read_predictions("validation", "uncalibrated")[1]
    for method in ("temperature", "none"):
        evaluate(run, "--calibration", method)
        _, stored = RunFolder(run).read_predictions("validation")
        classifier, thresholds = load_classifier(run)
        np.testing.assert_allclose(classifier.predict(stored.texts), stored.probabilities, atol=1e-5)
        decided = decide(classifier.predict(stored.texts), thresholds)
        assert (decided == decide(stored.probabilities, thresholds)).all()
    assert (stored.probabilities == uncalibrated.probabilities).all()


def test_thresholds_by_hand_stay_until_they_are_taken_back(learned, tmp_path, capsys):
    run = copy_of(learned[1], tmp_path)
    fitted = read_json(run / "thresholds.json")["thresholds"]
    evaluate(run, "--set_threshold", "joy=0.7", "neutral=0.3", "--set_threshold", "grief=0.25")
    evaluate(run, "--set_threshold", "neutral=0.35")
    by_hand = {"joy": 0.7, "neutral": 0.35, "grief": 0.25}
    stored = read_json(run / "thresholds.json")
    assert (stored["strategy"], stored["metric"], stored["set_by_hand"]) == ("expected_f1", "f1_micro", by_hand)
    assert stored["thresholds"] == fitted | by_hand
    assert {row["label"]: float(row["threshold"]) for row in read_csv(run / "per_label.csv")} == fitted | by_hand
    assert read_json(run / "run.json")["changed"] == {"set_threshold": by_hand}
    _, predicted = RunFolder(run).read_predictions("test")
    decided = decide(predicted.probabilities, np.array(list((fitted | by_hand).values())))
    gold = predicted.gold > 0
    f1 = 2 * (decided & gold).sum() / (decided.sum() + gold.sum())
    assert read_json(run / "all_results.json")["test_f1_micro"] == pytest.approx(f1)
    # The table of strategies still shows what fitting gives.
    assert (run / "threshold_strategies.csv").read_bytes() == (learned[1] / "threshold_strategies.csv").read_bytes()
    card = (run / "README.md").read_text()
    assert "by hand joy 0.7, neutral 0.35, grief 0.25" in " ".join(card.split())
    assert "python run_evaluate.py OUTPUT_DIR --set_threshold joy=0.7 neutral=0.35 grief=0.25" in card
    assert "nothing was chosen on test" not in " ".join(card.split())

    evaluate(run, *GLOBAL)
    stored = read_json(run / "thresholds.json")
    assert stored["set_by_hand"] == by_hand
    assert len(set(stored["thresholds"].values())) == 4
    evaluate(run, "--set_threshold", "none", "joy=0.9")
    assert read_json(run / "thresholds.json")["set_by_hand"] == {"joy": 0.9}
    evaluate(run, "--set_threshold", "none")
    assert "set_by_hand" not in read_json(run / "thresholds.json")
    assert "by hand" not in (run / "README.md").read_text()


@pytest.mark.parametrize(
    "options", [["--set_threshold", "joy=0.05", "neutral=0.6"], GLOBAL, ["--calibration", "platt"]]
)
def test_one_half_in_a_plain_pipeline_decides_as_the_new_thresholds_do(learned, options, tmp_path):
    run = evaluate(copy_of(learned[1], tmp_path), *options)
    stored = read_json(run / "thresholds.json")
    assert stored["folded"]
    assert read_json(run / "config.json")[CONFIG_KEY] == stored["thresholds"]
    names, predicted = RunFolder(run).read_predictions("test")
    expected = decide(predicted.probabilities, np.array([stored["thresholds"][name] for name in names]))
    answers = pipeline("text-classification", model=str(run), top_k=None)(predicted.texts)
    decided = np.array([[{a["label"]: a["score"] for a in row}[name] >= 0.5 for name in names] for row in answers])
    assert (decided == expected).all()
    assert 0 < expected.mean() < 1


def test_onnx_files_follow_where_the_run_has_them(learned, tmp_path):
    arguments, _ = learned
    run = tmp_path / "run"
    run_finetune.main([*arguments, "--num_train_epochs", "1", "--export_onnx", "true", "--output_dir", str(run)])
    before = (run / "onnx" / "model.onnx").read_bytes()
    evaluate(run, "--set_threshold", "neutral=0.05", "--fold_thresholds", "true")
    assert (run / "onnx" / "model.onnx").read_bytes() != before
    torch, _ = load_classifier(run)
    onnx, _ = load_classifier(run, backend="onnx")
    texts = ["so happy today", "no"]
    np.testing.assert_allclose(onnx.predict(texts), torch.predict(texts), atol=1e-5)
    figures = read_json(run / "onnx" / "export.json")
    assert figures["f1_micro"] == pytest.approx(read_json(run / "all_results.json")["eval_f1_micro"])


def test_a_baseline_is_evaluated_otherwise_as_well(baseline_run, small_data, tmp_path):
    run = copy_of(baseline_run, tmp_path)
    pipeline_before = (run / "baseline.skops").read_bytes()
    evaluate(run, *GLOBAL, "--set_threshold", "joy=0.31")
    trained = tmp_path / "trained"
    run_baseline.main(["--dataset_name", str(small_data), *GLOBAL, "--output_dir", str(trained)])
    expected = read_json(trained / "thresholds.json")["thresholds"] | {"joy": 0.31}
    assert read_json(run / "thresholds.json")["thresholds"] == pytest.approx(expected, abs=1e-6)
    assert (run / "baseline.skops").read_bytes() == pipeline_before
    assert "by hand joy 0.31" in " ".join((run / "README.md").read_text().split())
    assert list(read_json(run / "all_results.json")) == list(read_json(trained / "all_results.json"))
    for option in (["--calibration", "platt"], ["--fold_thresholds", "false"]):
        with pytest.raises(InputError, match="holds a baseline; only an encoder is calibrated or folded"):
            evaluate(run, *option)


def test_a_run_without_test_rows_is_evaluated_on_validation(learned, tmp_path):
    run = copy_of(learned[1], tmp_path)
    (run / "predictions" / "test.parquet").unlink()
    write_json(
        run / "all_results.json", {k: v for k, v in read_json(run / "all_results.json").items() if k[:4] != "test"}
    )
    record = read_json(run / "run.json")
    record["dataset"]["rows"].pop("test")
    write_json(run / "run.json", record)
    evaluate(run, *GLOBAL)
    assert not [name for name in read_json(run / "all_results.json") if name.startswith("test")]
    assert "On the validation split" in (run / "README.md").read_text()


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("joi=0.3", "no label 'joi'; did you mean 'joy'?"),
        ("joy=1", "a threshold is a number between 0 and 1"),
        ("joy=nan", "a threshold is a number between 0 and 1"),
        ("joy=high", "a threshold is a number between 0 and 1"),
        ("joy", "accepted: LABEL=VALUE, such as admiration=0.5, or none"),
    ],
)
def test_a_threshold_that_is_none_is_refused_and_nothing_is_changed(learned, item, words, tmp_path):
    run = copy_of(learned[1], tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        evaluate(run, "--set_threshold", "neutral=0.3", item)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_calibration_that_was_not_recorded_stays(calibrated, tmp_path):
    """As older versions left their runs: thresholds are fitted on what is there, nothing is calibrated twice."""
    run = copy_of(calibrated, tmp_path)
    (run / "calibration.json").unlink()
    shutil.rmtree(run / "uncalibrated")
    for method in ("none", "temperature"):
        with pytest.raises(InputError, match="without a record of how"):
            evaluate(run, "--calibration", method)
    evaluate(run, "--calibration", "platt", *GLOBAL)
    assert (run / "model.safetensors").read_bytes() == (calibrated / "model.safetensors").read_bytes()
    expected = evaluate(copy_of(calibrated, tmp_path / "recorded"), *GLOBAL)
    others = [read_json(folder / "thresholds.json")["thresholds"] for folder in (run, expected)]
    assert others[0] == pytest.approx(others[1], abs=1e-6)


@pytest.mark.parametrize("name", ["uncalibrated/validation.parquet", "uncalibrated/output_layer.safetensors"])
def test_what_undoing_needs_and_is_missing_is_said(calibrated, name, tmp_path):
    run = copy_of(calibrated, tmp_path)
    (run / name).unlink()
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"has no predictions of the validation split|cannot be uncalibrated"):
        evaluate(run, "--calibration", "none")
    assert (run / "model.safetensors").read_bytes() == before
    assert not list(run.glob(".run_change*"))


def test_pushing_an_unfolded_model_is_recorded_too(learned, tmp_path, monkeypatch):
    run = copy_of(learned[1], tmp_path)
    monkeypatch.setattr("utils.publishing.hub.check_access", lambda publication, *known: publication)
    monkeypatch.setattr(Publication, "push", lambda self, run: SimpleNamespace(commit_url="url", oid="0"))
    run_push.main([str(run), "--hub_model_id", "me/x", "--fold_thresholds", "false"])
    assert read_json(run / "run.json")["changed"] == {"fold_thresholds": False}
    assert "fold_thresholds: false" in (run / "README.md").read_text()
    run_push.main([str(run), "--hub_model_id", "me/x", "--fold_thresholds", "true"])
    assert "changed" not in read_json(run / "run.json")
    assert json.loads((run / "thresholds.json").read_text())["folded"]
