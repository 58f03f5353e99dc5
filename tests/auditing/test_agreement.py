"""Agreement of texts that stand several times, against the pairs themselves, one by one."""

import itertools
import os

import numpy as np
import pytest

from utils.auditing.agreement import agreement, best_answer, copies_of
from utils.data.labels import multi_hot


def test_copies_are_equal_but_for_case_and_blanks():
    assert copies_of(["Thank you", "no", "thank  you ", "Thank you!", "NO", "thank you"]) == [[0, 2, 5], [1, 4]]


def test_scores_are_those_of_each_row_against_another_copy():
    draw = np.random.default_rng(1)
    groups, start = [], 0
    for size in draw.integers(2, 6, size=30):
        groups.append(list(range(start, start + size)))
        start += size
    gold, decided = (draw.random((start, 4)) < 0.4 for _ in range(2))
    gold[:, 3] = decided[:, 3] = False  # a label that nobody gives
    found = agreement(groups, gold.astype(np.float32), decided.astype(np.float32))
    hits, either, equal, by_label = 0.0, 0.0, 0.0, np.zeros((2, 4))
    for group in groups:
        for one, other in itertools.permutations(group, 2):
            weight = 1 / (len(group) - 1)
            hits += 2 * weight * (gold[one] & gold[other]).sum()
            either += weight * (gold[one].sum() + gold[other].sum())
            by_label += weight * np.stack([2 * (gold[one] & gold[other]), gold[one].astype(int) + gold[other]])
            equal += weight * (gold[one] == gold[other]).all()
    assert (found.texts, found.rows) == (30, start)
    assert found.copies["f1_micro"].value == pytest.approx(hits / either)
    assert found.copies["f1_macro"].value == pytest.approx((by_label[0, :3] / by_label[1, :3]).mean())
    assert found.equal == pytest.approx(equal / start)
    assert found.model["f1_micro"].value == pytest.approx(2 * (gold & decided).sum() / (gold.sum() + decided.sum()))
    for name in ("f1_micro", "f1_macro"):
        assert found.best[name].value > max(found.copies[name].value, found.model[name].value)
    for score in (*found.copies.values(), *found.model.values()):
        assert score.low < score.value < score.high


def test_no_answer_scores_more_than_the_best_one():
    draw = np.random.default_rng(2)
    sizes = np.array([2, 3, 2])
    given = np.stack([draw.binomial(size, 0.5, size=3) for size in sizes])

    def score(answer):
        return 2 * (given * answer).sum() / (given.sum() + (answer * sizes[:, None]).sum())

    every = (np.array(bits).reshape(3, 3) for bits in itertools.product([0, 1], repeat=9))
    assert score(best_answer(given, sizes)) == pytest.approx(max(score(answer) for answer in every))


def test_without_copies_there_is_nothing_to_say():
    found = agreement(copies_of(["a", "b"]), np.ones((2, 1)), np.ones((2, 1)))
    assert (found.texts, found.rows, found.copies, found.model) == (0, 0, {}, {})
    assert np.isnan(found.equal)


@pytest.mark.skipif(not os.environ.get("GOEMOTIONS_DIR"), reason="GOEMOTIONS_DIR is not set: no local GoEmotions")
def test_goemotions_copies(goemotions):
    texts = [text for rows in goemotions.values() for text in rows["text"]]
    gold = np.concatenate([multi_hot(rows["labels"], 28) for rows in goemotions.values()])
    found = agreement(copies_of(texts), gold, gold)
    assert (found.texts, found.rows) == (186, 506)
    assert found.copies["f1_micro"].value == pytest.approx(0.674, abs=0.001)
