"""Causal models classify with an output layer that has no bias: a whole run of one, and what is off for it."""

import json

import numpy as np
import pytest
import torch
from conftest import causal_configs, run_python, saved
from transformers import AutoModelForSequenceClassification, pipeline

import run_finetune
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS
from utils.evaluation.thresholds import decide
from utils.model.classifiers import load_classifier
from utils.model.folding import fold_thresholds, scale_logits
from utils.model.head import has_bias, init_head_bias
from utils.run_folder import RunFolder, read_json


@pytest.fixture(scope="module", params=["gpt2", "qwen2"])
def run(request, tiny_bert, tmp_path_factory, finetune_arguments):
    """The folder of a run with all that is off asked for, its kind, and what the run said."""
    folder = tmp_path_factory.mktemp(request.param)
    base = saved(causal_configs()[request.param], tiny_bert, folder / "base")
    done = run_python(
        "run_finetune.py", *finetune_arguments, "--model_name_or_path", base, "--output_dir", folder / "run",
        "--fold_thresholds", "true", "--calibration", "platt", "--init_head_bias", "true", "--export_onnx", "true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "run", done.stdout


def test_what_is_off_is_said_and_the_run_comes_to_its_end(run):
    folder, said = run
    lines = [line for line in said.splitlines() if "no bias" in line]
    assert len(lines) == 3
    for option, line in zip(("initialisation", "--calibration platt", "--fold_thresholds"), lines, strict=True):
        assert option in line
    RunFolder(folder).require_finished()
    assert read_json(folder / "thresholds.json")["folded"] is False
    assert "folded_thresholds" not in read_json(folder / "config.json")
    card = (folder / "README.md").read_text()
    assert "Scores are sigmoids" in card
    assert "at or above its threshold in\n`thresholds.json`" in card
    assert (folder / "onnx" / "model.onnx").is_file() != ("ONNX was left out" in said)


def test_inference_and_pipeline_answer_as_the_stored_predictions_say(run):
    folder, _ = run
    names, (texts, gold, probabilities) = RunFolder(folder).read_predictions("test")
    stored = read_json(folder / "thresholds.json")["thresholds"]
    classifier, thresholds = load_classifier(str(folder))
    assert dict(zip(names, thresholds, strict=True)) == stored
    np.testing.assert_allclose(classifier.predict(texts), probabilities, atol=1e-6)
    np.testing.assert_allclose(classifier.predict(texts[:1]), probabilities[:1], atol=1e-6)
    answers = pipeline("text-classification", model=str(folder), top_k=None)(
        list(texts), batch_size=16, truncation=True
    )
    by_pipeline = np.array([[{a["label"]: a["score"] for a in row}[name] for name in names] for row in answers])
    np.testing.assert_allclose(by_pipeline, probabilities, atol=1e-6)
    decided = decide(probabilities, thresholds)
    f1 = 2 * (gold * decided).sum() / (gold.sum() + decided.sum())
    assert f1 == pytest.approx(read_json(folder / "all_results.json")["test_f1_micro"], abs=1e-6)
    if (folder / "onnx" / "model.onnx").is_file():
        onnx, _ = load_classifier(str(folder), backend="onnx")
        np.testing.assert_allclose(onnx.predict(texts), probabilities, atol=1e-4)


def test_folding_it_for_a_push_is_refused_in_one_sentence(run):
    folder, _ = run
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = run_python("run_push.py", folder, "--hub_model_id", "me/it", "--fold_thresholds", "true")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        f"error: --fold_thresholds true: the model in {folder} has an output layer without bias, which has no place "
        "for thresholds; accepted: false."
    )
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_temperature_needs_no_bias(tiny_bert, tmp_path, finetune_arguments, capsys):
    base = saved(causal_configs()["gpt2"], tiny_bert, tmp_path / "base")
    run_finetune.main([*finetune_arguments, "--model_name_or_path", str(base), "--calibration", "temperature",
                       "--output_dir", str(tmp_path / "run")])  # fmt: skip
    assert "is off for it (temperature" not in capsys.readouterr().out
    _, (texts, _, probabilities) = RunFolder(tmp_path / "run").read_predictions("validation")
    np.testing.assert_allclose(load_classifier(str(tmp_path / "run"))[0].predict(texts), probabilities, atol=1e-6)
    saved_again = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved_again["pad_token_id"] == 0


@pytest.mark.parametrize("kind", causal_configs())
def test_only_a_shift_is_refused(kind):
    config = causal_configs()[kind]
    config.num_labels, config.pad_token_id = 28, 0
    config.id2label = dict(enumerate(GO_EMOTIONS))
    model = AutoModelForSequenceClassification.from_config(config).eval()
    assert not has_bias(model)
    tokens = torch.tensor([[5, 6, 7]])
    before = model(tokens).logits
    scale_logits(model, np.full(28, 2.0), np.zeros(28))
    torch.testing.assert_close(model(tokens).logits, 2 * before)
    for refused in (
        lambda: scale_logits(model, np.ones(28), np.ones(28)),
        lambda: fold_thresholds(model, np.full(28, 0.3)),
        lambda: init_head_bias(model, np.ones((3, 28))),
    ):
        with pytest.raises(InputError, match="output layer"):
            refused()
    torch.testing.assert_close(model(tokens).logits, 2 * before)
