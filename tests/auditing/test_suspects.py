"""Suspicions: errors put in on purpose come first, on one scale for rare and frequent labels, single rows and many."""

import numpy as np
import pytest

from utils.auditing.findings import find, unlearned
from utils.auditing.suspects import confident_counts, error_rates, suspicion, together


@pytest.fixture(scope="module")
def noisy():
    """Five labels, of half of the rows to one in a hundred; 4 % of each label are errors, in both directions."""
    draw = np.random.default_rng(0)
    share = np.array([0.5, 0.2, 0.1, 0.03, 0.01])
    true = draw.random((8000, 5)) < share
    odds = np.where(true, 3.0, -4.0) + draw.normal(0, 1.5, true.shape)
    gold = true.copy()
    for label in range(5):
        positives = np.flatnonzero(true[:, label])
        errors = max(3, len(positives) // 25)
        gold[draw.choice(positives, errors, replace=False), label] = False
        gold[draw.choice(np.flatnonzero(~true[:, label]), errors, replace=False), label] = True
    return gold.astype(np.float32), (1 / (1 + np.exp(-odds))).astype(np.float32), gold != true


def precision(scores, errors, count):
    return errors.ravel()[np.argsort(-scores.ravel(), kind="stable")[:count]].mean()


def test_errors_come_first(noisy):
    gold, probabilities, errors = noisy
    scores, count = suspicion(gold, probabilities), int(errors.sum())
    assert scores.shape == gold.shape
    assert (scores > 0).all()
    assert (scores < 1).all()
    assert precision(scores, errors, count // 2) > 0.9
    plain = np.where(gold > 0, 1 - probabilities, probabilities)
    assert precision(scores, errors, count) > precision(plain, errors, count)


def test_the_higher_the_score_the_likelier_an_error(noisy):
    gold, probabilities, errors = noisy
    scores = suspicion(gold, probabilities)
    low, middle, high = (errors[(scores >= at) & (scores < to)].mean() for at, to in ((0, 0.05), (0.05, 0.5), (0.5, 1)))
    assert low < 0.01 < middle < high
    assert high > 0.8


def test_rare_labels_and_both_directions_are_found(noisy):
    gold, probabilities, errors = noisy
    first = suspicion(gold, probabilities) >= 0.5
    for label in range(5):
        for given in (0, 1):
            kind = errors[:, label] & (gold[:, label] == given)
            assert first[kind, label].mean() > 0.3, (label, given)


def test_rows_with_many_labels_do_not_crowd_out_the_rest(noisy):
    gold, probabilities, errors = noisy
    first = np.argsort(-suspicion(gold, probabilities).ravel(), kind="stable")[: int(errors.sum()) // 2] // 5
    many, affected = gold.sum(axis=1) >= 2, errors.any(axis=1)
    assert many[first].mean() < 1.5 * many[affected].mean()


def test_error_rates_are_near_those_that_were_put_in(noisy):
    gold, probabilities, errors = noisy
    rates = error_rates(confident_counts(gold, probabilities), gold)
    for label, (wrong, missing) in enumerate(rates):
        given = gold[:, label] > 0
        assert wrong.low <= wrong.value <= wrong.high
        assert missing.low <= missing.value <= missing.high
        assert abs(wrong.value - errors[given, label].mean()) < 0.06
    wide, narrow = (rates[label][0].high - rates[label][0].low for label in (4, 0))
    assert wide > narrow


def test_a_label_of_every_row_or_none_or_unknown_to_a_judge_is_nobodys_error():
    draw = np.random.default_rng(0)
    gold = np.zeros((50, 3), dtype=np.float32)
    gold[:, 0], gold[:25, 2] = 1, 1
    says = draw.random((50, 3)).astype(np.float32)
    assert np.isfinite(suspicion(gold, says)).all()
    assert all(np.isnan(rate.value) for pair in error_rates(confident_counts(gold, says), gold)[:2] for rate in pair)
    says[:, 1] = np.nan
    scores = suspicion(gold, says)
    assert np.isnan(scores[:, 1]).all()
    assert np.isfinite(scores[:, [0, 2]]).all()
    assert np.isfinite(together([scores, np.full(scores.shape, 0.3)])).all()


def test_a_fold_that_never_saw_a_label_does_not_call_it_wrong():
    gold = np.zeros((40, 2), dtype=np.float32)
    gold[0, 0], gold[::2, 1] = 1, 1  # the first label stands in one row
    fold_of = np.arange(40) % 4
    nothing = unlearned(gold, fold_of)
    assert nothing[fold_of == 0, 0].all()
    assert not nothing[fold_of != 0, 0].any()
    assert not nothing[:, 1].any()
    answers = np.full((40, 2), 0.01, dtype=np.float32)
    found = find([f"text {row}" for row in range(40)], gold, fold_of, answers, {})
    assert np.isnan(found.suspicion[0, 0])
    assert not [suspect for suspect in found.suspects if suspect.label == 0 and suspect.row == 0]


def test_one_label_alone(noisy):
    gold, probabilities, errors = (matrix[:, 1:2] for matrix in noisy)
    found = find([str(row) for row in range(len(gold))], gold, np.arange(len(gold)) % 2, probabilities, {})
    count = int(errors.sum())
    assert np.mean([errors[row, label] for row, label, _ in found.suspects[: count // 2]]) > 0.8


def test_another_judge_finds_what_the_first_has_learned_by_heart(noisy):
    gold, probabilities, _errors = noisy
    shared = gold.copy()
    wrong = np.flatnonzero((gold[:, 0] == 0) & (probabilities[:, 0] < 0.5))[:200]
    shared[wrong, 0] = 1
    taught = probabilities.copy()
    taught[wrong, 0] = 0.9  # the model repeats what all raters say
    at = np.zeros(gold.shape, dtype=bool)
    at[wrong, 0] = True
    texts, folds = [str(row) for row in range(len(gold))], np.arange(len(gold)) % 2
    alone = find(texts, shared, folds, taught, {}).suspicion
    both = find(texts, shared, folds, taught, {"another": probabilities}).suspicion
    assert np.median(both[at]) > 10 * np.median(alone[at])
