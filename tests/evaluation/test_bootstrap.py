import numpy as np
import pytest
from sklearn.metrics import f1_score

from metrics.multilabel_scores.multilabel_scores import multilabel_scores
from utils.evaluation.bootstrap import SCORES, compare, intervals, label_f1_intervals, resampled_scores


def draw(seed=0, rows=300, decimals=2):
    """Gold and probabilities with ties and, in some resamples, a label without positives."""
    rng = np.random.default_rng(seed)
    gold = (rng.random((rows, 5)) < [0.4, 0.2, 0.1, 0.05, 0.006]).astype(float)
    gold[0] = 1
    return gold, np.round(np.clip(0.35 * gold + 0.6 * rng.random((rows, 5)), 0, 1), decimals)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_each_resample_is_scored_as_its_rows_written_out_would_be(decimals):
    gold, probabilities = draw(decimals=decimals)
    thresholds = np.array([0.3, 0.4, 0.5, 0.4, 0.4])
    found = resampled_scores(gold, probabilities, thresholds, resamples=20, seed=4)
    drawn = np.random.default_rng(4).multinomial(300, np.full(300, 1 / 300), size=20)
    for index, weights in enumerate([np.ones(300, int), *drawn]):
        rows = np.repeat(np.arange(300), weights)
        expected = multilabel_scores(gold[rows], probabilities[rows], thresholds)
        for name in SCORES:
            assert found[name][index] == pytest.approx(expected[name], abs=1e-6), (name, index)


def test_intervals_hold_the_score_and_narrow_with_more_rows():
    gold, probabilities = draw()
    bounds = intervals(gold, probabilities, np.full(5, 0.45))
    scores = multilabel_scores(gold, probabilities, 0.45)
    wide = {}
    for name in SCORES:
        low, high = bounds[f"{name}_ci_low"], bounds[f"{name}_ci_high"]
        assert low < scores[name] < high
        wide[name] = high - low
    more = intervals(np.tile(gold, (16, 1)), np.tile(probabilities, (16, 1)), np.full(5, 0.45))
    assert more["f1_micro_ci_high"] - more["f1_micro_ci_low"] == pytest.approx(wide["f1_micro"] / 4, rel=0.2)


def test_the_interval_of_a_label_is_that_of_its_f1_on_resamples_written_out():
    gold, probabilities = draw()
    found = label_f1_intervals(gold, probabilities, np.full(5, 0.45), resamples=50, seed=4)
    drawn = np.random.default_rng(4).multinomial(300, np.full(300, 1 / 300), size=50)
    rows = [np.repeat(np.arange(300), weights) for weights in drawn]
    for label in range(5):
        scores = [f1_score(gold[r, label], probabilities[r, label] >= 0.45, zero_division=0) for r in rows]
        assert found[:, label] == pytest.approx(np.percentile(scores, [2.5, 97.5]), abs=1e-6)


def test_a_better_model_is_told_from_luck():
    gold, probabilities = draw(rows=1000)
    thresholds = np.full(5, 0.45)
    worse = np.clip(probabilities + np.random.default_rng(1).normal(scale=0.3, size=probabilities.shape), 0, 1)
    verdict = compare(gold, (worse, thresholds), (probabilities, thresholds))["f1_micro"]
    assert verdict.low > 0
    assert verdict.p_value <= 0.01
    assert verdict.difference == pytest.approx(verdict.second - verdict.first)

    found = 0  # two equally noisy models differ by luck alone: about one in twenty looks like more
    for seed in range(20):
        rng = np.random.default_rng(seed)
        one, other = (np.clip(probabilities + rng.normal(scale=0.2, size=probabilities.shape), 0, 1) for _ in range(2))
        found += compare(gold, (one, thresholds), (other, thresholds), resamples=200)["f1_micro"].p_value < 0.05
    assert found <= 4
    assert compare(gold, (probabilities, thresholds), (probabilities, thresholds))["f1_micro"].p_value == 1.0


def test_what_is_not_defined_has_no_interval_and_no_verdict():
    """Without a positive anywhere there is no average precision; F1 is 0 and stays so."""
    _, probabilities = draw(rows=40)
    gold, thresholds = np.zeros_like(probabilities), np.full(5, 0.5)
    assert intervals(gold, probabilities, thresholds) == {
        "f1_micro_ci_low": 0, "f1_micro_ci_high": 0, "f1_macro_ci_low": 0, "f1_macro_ci_high": 0
    }  # fmt: skip
    assert set(compare(gold, (probabilities, thresholds), (probabilities, thresholds))) == {"f1_micro", "f1_macro"}
    gold[:, 0] = 1  # a label of every row has no ranking either, here as in multilabel_scores
    assert "average_precision_macro" not in multilabel_scores(gold, probabilities, thresholds)
    assert "average_precision_macro_ci_low" not in intervals(gold, probabilities, thresholds)
    gold[:, 1] = np.arange(40) == 7  # one positive: the third of the resamples that lack it are left out
    bounds = intervals(gold, probabilities, thresholds)
    score = multilabel_scores(gold, probabilities, thresholds)["average_precision_macro"]
    assert 0 < bounds["average_precision_macro_ci_low"] <= score <= bounds["average_precision_macro_ci_high"]
