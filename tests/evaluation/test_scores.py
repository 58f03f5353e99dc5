import doctest
import os
import socket

import evaluate
import numpy as np
import pytest
from conftest import ROOT
from sklearn import metrics as reference
from transformers import EvalPrediction

from metrics.multilabel_scores import multilabel_scores as module
from utils.evaluation.scores import compute_metrics, label_scores

rng = np.random.default_rng(5)
GOLD = (rng.random((80, 6)) < 0.3).astype(int)
GOLD[:, 5] = 0  # a label that never occurs
PROBABILITIES = np.clip(GOLD * 0.3 + rng.random((80, 6)) * 0.6, 0.01, 0.99)
THRESHOLDS = np.array([0.3, 0.4, 0.5, 0.45, 0.35, 0.6])


def test_every_contract_key_agrees_with_scikit_learn():
    scores = module.multilabel_scores(GOLD, PROBABILITIES, THRESHOLDS)
    decided, halved = PROBABILITIES >= THRESHOLDS, PROBABILITIES >= 0.5
    expected = {
        "hamming_loss": reference.hamming_loss(GOLD, decided),
        "subset_accuracy": reference.accuracy_score(GOLD, decided),
    }
    for average in ("micro", "macro", "weighted", "samples"):
        expected[f"f1_{average}"] = reference.f1_score(GOLD, decided, average=average, zero_division=0)
        expected[f"f1_{average}_at_0.5"] = reference.f1_score(GOLD, halved, average=average, zero_division=0)
    for average in ("micro", "macro"):
        expected[f"precision_{average}"] = reference.precision_score(GOLD, decided, average=average, zero_division=0)
        expected[f"recall_{average}"] = reference.recall_score(GOLD, decided, average=average, zero_division=0)
    expected["average_precision_macro"] = reference.average_precision_score(GOLD[:, :5], PROBABILITIES[:, :5])
    expected["roc_auc_macro"] = reference.roc_auc_score(GOLD[:, :5], PROBABILITIES[:, :5])
    expected["loss"] = np.mean([reference.log_loss(GOLD[:, i], PROBABILITIES[:, i], labels=[0, 1]) for i in range(6)])
    assert scores == pytest.approx(expected)


def test_the_evaluate_module_loads_by_path_without_a_network(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.chdir(tmp_path)  # from any folder
    loaded = evaluate.load(str(ROOT / "metrics" / "multilabel_scores"))
    scores = loaded.compute(predictions=PROBABILITIES, references=GOLD, thresholds=THRESHOLDS.tolist())
    assert scores == pytest.approx(module.multilabel_scores(GOLD, PROBABILITIES, THRESHOLDS))


def test_its_documented_example_is_true():
    previous = os.getcwd()
    os.chdir(ROOT)
    try:
        example = doctest.DocTestParser().get_doctest(
            module._KWARGS_DESCRIPTION, {"evaluate": evaluate}, "scores", None, 0
        )
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0
    finally:
        os.chdir(previous)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="shape"):
        module.multilabel_scores(GOLD, PROBABILITIES[:, :3])


def test_the_sweep_sees_what_one_half_hides():
    """The failure this project began with: good ranking, no probability near 0.5, and an F1 of zero."""
    gold = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    logits = np.where(gold == 1, -2.0, -4.0)  # probabilities of 0.12 and 0.02
    scores = compute_metrics(EvalPrediction(predictions=logits, label_ids=gold))
    assert scores["f1_micro_at_0.5"] == 0.0
    assert scores["f1_micro"] == 1.0
    assert 0.02 < scores["threshold"] < 0.12


def test_label_scores_leave_the_undefined_undefined():
    columns = label_scores(GOLD, PROBABILITIES, THRESHOLDS)
    assert columns["support"].tolist() == GOLD.sum(axis=0).tolist()
    assert np.isnan(columns["average_precision"][5])
    assert not np.isnan(columns["average_precision"][:5]).any()


@pytest.mark.parametrize("kind", ["some positive", "none", "all"])
def test_a_single_label_is_scored_as_a_label_and_not_as_two_classes(kind):
    """Against the same label beside another one that is always right, whose share is taken out again."""
    gold, probabilities = GOLD[:, :1].copy(), PROBABILITIES[:, :1]
    if kind != "some positive":
        gold[:] = kind == "all"
    decided = probabilities >= 0.4
    hits = (decided & (gold == 1)).sum()
    f1 = 2 * hits / (decided.sum() + gold.sum())
    scores = module.multilabel_scores(gold, probabilities, 0.4)
    for average in ("micro", "macro"):
        assert scores[f"f1_{average}"] == pytest.approx(f1)
        assert scores[f"precision_{average}"] == pytest.approx(hits / decided.sum())
        assert scores[f"recall_{average}"] == pytest.approx(hits / max(gold.sum(), 1))
    assert scores["f1_samples"] == pytest.approx(hits / len(gold))
    assert scores["subset_accuracy"] == pytest.approx((decided == gold).mean())
    assert ("average_precision_macro" in scores) == (kind == "some positive")
    columns = label_scores(gold, probabilities, np.array([0.4]))
    assert {key: column.shape for key, column in columns.items()} == dict.fromkeys(columns, (1,))
    assert columns["f1"][0] == pytest.approx(f1)
    assert columns["support"][0] == gold.sum()
