"""A folded model makes, at 0.5 and in a plain pipeline, exactly the decisions of the thresholds."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import encoder_configs, refold
from scipy.special import expit, logit
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast, pipeline

from utils.data.labels import GO_EMOTIONS, label_maps
from utils.evaluation.thresholds import decide
from utils.model.classifiers import load_classifier
from utils.model.folding import CONFIG_KEY, fold_thresholds, unfold_thresholds
from utils.model.head import output_layer
from utils.model.loading import load_model


@pytest.fixture
def folder(request, tiny_bert, tmp_path, demo):
    """A classifier of the requested class, saved with its tokenizer.

    Its output layer is scaled so that each label's logits spread by 2 around a centre: 0 for most, −9 and 9 for four
    labels, whose thresholds come to lie near 0 and 1.
    """
    torch.manual_seed(1)
    config, _ = encoder_configs()[request.param]
    config.id2label, config.label2id = label_maps(GO_EMOTIONS)
    config.problem_type = "multi_label_classification"
    model = AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_bert)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    centre = torch.zeros(28)
    centre[:4] = torch.tensor([-9.0, -9.0, 9.0, 9.0])
    layer = output_layer(model)
    with torch.no_grad():
        layer.weight.normal_()
        logits = model(**tokenizer(list(demo["test"]["text"]), padding=True, return_tensors="pt")).logits
        layer.weight.mul_((2 / logits.std(dim=0))[:, None])
        layer.bias.copy_(centre - 2 * (logits.mean(dim=0) - layer.bias) / logits.std(dim=0))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def pipeline_decisions(folder, texts):
    answers = pipeline("text-classification", model=str(folder), top_k=None)(texts)
    return np.array([[{a["label"]: a["score"] for a in row}[name] >= 0.5 for name in GO_EMOTIONS] for row in answers])


@pytest.mark.parametrize("folder", encoder_configs(), indirect=True)
def test_one_half_in_a_plain_pipeline_decides_as_the_thresholds_do(folder, demo):
    texts = list(demo["test"]["text"])
    classifier, _ = load_classifier(str(folder))
    probabilities = classifier.predict(texts)
    # As fitting places them: between two neighbouring probabilities; here in the widest gap of the middle half.
    ordered = np.sort(logit(probabilities), axis=0)[50:160]
    widest = np.diff(ordered, axis=0).argmax(axis=0)
    thresholds = expit((ordered[widest, range(28)] + ordered[widest + 1, range(28)]) / 2)
    assert thresholds.min() < 0.001
    assert thresholds.max() > 0.999
    expected = decide(probabilities, thresholds)
    assert 0.2 < expected.mean(axis=0).min() < expected.mean(axis=0).max() < 0.8
    assert not (pipeline_decisions(folder, texts) == expected).all()

    stored = {"thresholds": dict(zip(GO_EMOTIONS, thresholds.tolist(), strict=True)), "folded": False}
    (folder / "thresholds.json").write_text(json.dumps(stored))
    for _ in range(2):  # folding what is folded changes nothing
        refold(folder, True)
        assert (pipeline_decisions(folder, texts) == expected).all()
    folded, halves = load_classifier(str(folder))
    assert (halves == 0.5).all()
    assert (decide(folded.predict(texts), halves) == expected).all()


@pytest.mark.parametrize("folder", ["roberta"], indirect=True)
def test_folding_is_recorded_and_undone(folder):
    thresholds = np.linspace(0.05, 0.95, 28)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    bias = output_layer(model).bias.clone()
    fold_thresholds(model, thresholds)
    assert getattr(model.config, CONFIG_KEY)["admiration"] == 0.05
    model.save_pretrained(folder)
    again = AutoModelForSequenceClassification.from_pretrained(folder)
    np.testing.assert_allclose(unfold_thresholds(again), thresholds)
    torch.testing.assert_close(output_layer(again).bias, bias, atol=1e-6, rtol=0)
    assert not hasattr(again.config, CONFIG_KEY)
    assert unfold_thresholds(again) is None


def test_training_goes_on_from_the_unfolded_model(finished_run, tmp_path, capsys):
    """A finished run is folded by default; loading it for training takes the thresholds out, with a word."""
    stored = json.loads((finished_run / "thresholds.json").read_text())
    assert stored["folded"]
    assert json.loads((finished_run / "config.json").read_text())[CONFIG_KEY] == stored["thresholds"]
    folded = AutoModelForSequenceClassification.from_pretrained(finished_run)
    unfolded, is_new = load_model(str(finished_run), GO_EMOTIONS)
    assert not is_new
    assert "taken out again" in capsys.readouterr().out
    thresholds = np.array(list(stored["thresholds"].values()))
    shift = (output_layer(unfolded).bias - output_layer(folded).bias).detach().numpy()
    np.testing.assert_allclose(shift, logit(thresholds), atol=1e-5)

    copy = shutil.copytree(finished_run, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    _, is_new = load_model(str(copy), ["other", "labels"])
    assert is_new


def test_a_finished_run_decides_in_the_pipeline_as_its_results_say(finished_run, small_data, demo):
    """micro-F1 of the plain pipeline at 0.5, recounted, is the micro-F1 that the run reports at its thresholds."""
    texts, labels = list(demo["test"]["text"])[:60], list(demo["test"]["labels"])[:60]
    gold = np.array([[index in ids for index in range(28)] for ids in labels])
    decided = pipeline_decisions(finished_run, texts)
    f1 = 2 * (gold & decided).sum() / (gold.sum() + decided.sum())
    assert f1 == pytest.approx(json.loads((finished_run / "all_results.json").read_text())["test_f1_micro"], abs=1e-9)
