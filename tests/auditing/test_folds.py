"""Folds: no text on both sides, equal proportions; and probabilities of rows that the judge has not seen, kept."""

import numpy as np
import pytest

from utils.auditing.folds import alike, deal, normalised, out_of_fold
from utils.console import InputError
from utils.data.labels import multi_hot


def gold_of(rows):
    return multi_hot(rows["labels"], len(rows.features["labels"].feature.names))


def test_texts_that_differ_in_case_blanks_or_punctuation_are_alike():
    assert normalised("Thank  you!") == normalised("thank you") == normalised("ＴＨＡＮＫ you…")
    assert normalised("!!!") == normalised("! !!") != normalised("???")
    assert alike(["Yes.", "no", "YES", "no!", "😀"]).tolist() == [0, 1, 0, 1, 2]


def test_folds_keep_alike_texts_together_and_labels_in_proportion(demo):
    rows = demo["train"]
    texts = list(rows["text"]) + [text.upper() + "!" for text in rows["text"][:200]]
    gold = np.concatenate([gold_of(rows), gold_of(rows)[:200]])
    folds = deal(texts, gold, 4, seed=3)
    assert (folds[len(rows) :] == folds[:200]).all()
    assert np.bincount(folds).min() > len(texts) / 4 - 20
    shares = np.stack([gold[folds == fold].sum(axis=0) for fold in range(4)]) / gold.sum(axis=0)
    assert np.abs(shares - 0.25).max() < 0.12
    assert (deal(texts, gold, 4, seed=3) == folds).all()


@pytest.mark.parametrize("labels", [1, 2, 40])
def test_folds_of_few_rows_and_of_rows_without_labels(labels):
    gold = np.zeros((6, labels), dtype=np.float32)
    gold[:3, 0] = 1
    folds = deal([f"text {row}" for row in range(6)], gold, 2, seed=0)
    assert set(folds) == {0, 1}


def test_more_folds_than_different_texts_are_refused():
    with pytest.raises(InputError, match="--folds 3: the data has 2 different text"):
        deal(["a", "A!", "b"], np.ones((3, 1)), 3, seed=0)


def test_no_row_is_judged_by_a_model_that_has_seen_it_and_what_was_judged_is_kept(demo, tmp_path):
    rows, asked = demo["validation"], []
    folds = deal(rows["text"], gold_of(rows), 3, seed=0)

    def judge(train, texts):
        asked.append(len(texts))
        assert not set(train["text"]) & set(texts)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return np.full((len(texts), 28), len(asked) / 10)

    with pytest.raises(KeyboardInterrupt):
        out_of_fold(rows, folds, judge, tmp_path, "the question")
    first = out_of_fold(rows, folds, judge, tmp_path, "the question")
    assert len(asked) == 4  # the first two folds were not asked again
    assert [first[folds == fold].max().round(2) for fold in range(3)] == [0.1, 0.2, 0.4]
    out_of_fold(rows, folds, judge, tmp_path, "another question")
    assert len(asked) == 7
