import itertools

import numpy as np
import pytest

from utils.evaluation.choices import METRICS, STRATEGIES
from utils.evaluation.thresholds import decide, fit_thresholds


def score(gold, probabilities, thresholds, metric):
    decided = probabilities.astype(np.float64) >= thresholds
    hits, total = (decided & (gold == 1)).sum(axis=0), decided.sum(axis=0) + gold.sum(axis=0)
    if metric == "f1_micro":
        return 2 * hits.sum() / max(total.sum(), 1)
    return np.mean(2 * hits / np.maximum(total, 1))


def draw(seed, decimals):
    rng = np.random.default_rng(seed)
    rows, labels = int(rng.integers(4, 14)), int(rng.integers(2, 4))
    gold = (rng.random((rows, labels)) < rng.choice([0.2, 0.5])).astype(int)
    gold[0] = 1  # every label occurs
    probabilities = np.clip(np.round(rng.random((rows, labels)), decimals), 0.01, 0.99).astype(np.float32)
    return gold, probabilities


@pytest.mark.parametrize("decimals", [1, 6], ids=["ties", "no ties"])
@pytest.mark.parametrize("metric", METRICS)
def test_thresholds_are_the_best_there_are(metric, decimals):
    """Against brute force over every threshold that decides anything differently."""
    for seed in range(40):
        gold, probabilities = draw(seed, decimals)
        values = np.unique(np.append(probabilities.astype(np.float64), 1.0))
        best = max(score(gold, probabilities, np.full(gold.shape[1], value), metric) for value in values)
        found = fit_thresholds(gold, probabilities, "global", metric)
        assert score(gold, probabilities, found, metric) == pytest.approx(best, abs=1e-12)

        own = [np.unique(np.append(column.astype(np.float64), 1.0)) for column in probabilities.T]
        combinations = itertools.islice(itertools.product(*own), 1500)
        best = max(score(gold, probabilities, np.array(chosen), metric) for chosen in combinations)
        found = fit_thresholds(gold, probabilities, "per_label", metric)
        assert score(gold, probabilities, found, metric) >= best - 1e-12


def test_thresholds_lie_between_probabilities_and_inside_the_unit_interval():
    gold = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    probabilities = np.array([[1.0, 0.0], [0.8, 0.3], [0.4, 0.0], [0.0, 0.3]], dtype=np.float32)
    thresholds = fit_thresholds(gold, probabilities, "per_label", "f1_macro")
    assert thresholds == pytest.approx([0.6, 0.15], abs=1e-7)
    for strategy, metric in itertools.product(STRATEGIES, METRICS):
        thresholds = fit_thresholds(gold, probabilities, strategy, metric)
        assert ((thresholds > 0) & (thresholds < 1)).all()


def test_a_probability_at_its_threshold_is_a_yes():
    assert decide(np.array([[0.5]], dtype=np.float32), np.array([0.5]))[0, 0]


def test_a_label_without_positives_gets_the_global_threshold():
    gold, probabilities = draw(1, 6)
    gold[:, 0] = 0
    for metric in METRICS:
        common = fit_thresholds(gold, probabilities, "global", metric)[0]
        assert fit_thresholds(gold, probabilities, "per_label", metric)[0] == common


def test_fixed_is_one_half_and_other_names_are_refused():
    gold, probabilities = draw(1, 6)
    assert (fit_thresholds(gold, probabilities, "fixed", "f1_micro") == 0.5).all()
    with pytest.raises(ValueError, match="accepted: fixed, global, per_label, expected_f1"):
        fit_thresholds(gold, probabilities, "best", "f1_micro")


def noisy_labels(seed, rows=600):
    """Ten labels with 2 to 40 % positives, and probabilities that are miscalibrated by each label's own shift."""
    rng = np.random.default_rng(seed)
    base = np.linspace(-4.5, -0.5, 10)
    logits = base + rng.normal(scale=1.5, size=(rows, 10))
    gold = (rng.random((rows, 10)) < 1 / (1 + np.exp(-logits))).astype(float)
    return gold, 1 / (1 + np.exp(-(0.7 * logits + np.linspace(1, -1, 10))))


@pytest.mark.parametrize("metric", METRICS)
def test_thresholds_for_the_expected_f1_carry_over_better_than_those_that_trust_each_positive(metric):
    """Fitted on few rows, scored on many: a higher mean score and a smaller fall from one to the other."""
    carried = {"per_label": [], "expected_f1": []}
    fallen = {"per_label": [], "expected_f1": []}
    for seed in range(8):
        gold, probabilities = noisy_labels(seed)
        new_gold, new_probabilities = noisy_labels(seed + 100, rows=6000)
        for strategy in carried:
            thresholds = fit_thresholds(gold, probabilities, strategy, metric)
            carried[strategy].append(score(new_gold, new_probabilities, thresholds, metric))
            fallen[strategy].append(score(gold, probabilities, thresholds, metric) - carried[strategy][-1])
    assert np.mean(carried["expected_f1"]) > np.mean(carried["per_label"])
    assert np.mean(fallen["expected_f1"]) < 0.7 * np.mean(fallen["per_label"])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("metric", METRICS)
def test_without_any_positive_every_threshold_is_one_half(strategy, metric):
    _, probabilities = draw(1, 6)
    assert (fit_thresholds(np.zeros_like(probabilities), probabilities, strategy, metric) == 0.5).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_single_label(strategy):
    gold, probabilities = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.2], [0.7], [0.6]])
    thresholds = fit_thresholds(gold, probabilities, strategy, "f1_micro")
    assert thresholds.shape == (1,)
    assert strategy == "fixed" or 0.2 < thresholds[0] < 0.7
