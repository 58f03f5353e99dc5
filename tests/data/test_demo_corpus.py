"""The demo corpus is what its README says: hand-written, balanced, without templates or near-duplicates."""

import re
from collections import Counter

import numpy as np
import pytest

from utils.data.labels import GO_EMOTIONS, multi_hot


@pytest.fixture(scope="module")
def texts(demo):
    return [text for split in demo for text in demo[split]["text"]]


def words(text):
    return re.findall(r"[\w']+", text.lower())


def test_size_and_balance(demo):
    counts = {split: multi_hot(demo[split]["labels"], 28).sum(axis=0) for split in demo}
    assert sum(map(len, demo.values())) >= 1200
    assert counts["train"].min() >= 25
    assert counts["validation"].min() >= 5
    assert counts["test"].min() >= 5
    for split in demo:
        assert counts[split].argmax() == GO_EMOTIONS.index("neutral")
        several = np.mean([len(ids) > 1 for ids in demo[split]["labels"]])
        assert 0.14 <= several <= 0.20


def test_neutral_stands_alone(demo):
    neutral = GO_EMOTIONS.index("neutral")
    assert all(ids == [neutral] for split in demo for ids in demo[split]["labels"] if neutral in ids)


def test_no_near_duplicates_within_or_across_splits(texts):
    bags = [set(words(text)) for text in texts]
    vocabulary = {word: index for index, word in enumerate(sorted(set().union(*bags)))}
    matrix = np.zeros((len(bags), len(vocabulary)), dtype=np.float32)
    for row, bag in enumerate(bags):
        matrix[row, [vocabulary[word] for word in bag]] = 1
    shared = matrix @ matrix.T
    sizes = matrix.sum(axis=1)
    overlap = shared / (sizes[:, None] + sizes[None, :] - shared)
    np.fill_diagonal(overlap, 0)
    worst = np.unravel_index(overlap.argmax(), overlap.shape)
    assert overlap.max() <= 0.45, (texts[worst[0]], texts[worst[1]])


def test_no_stock_phrases(texts):
    fours = Counter(gram for text in texts for gram in set(zip(*(words(text)[i:] for i in range(4)), strict=False)))
    assert fours.most_common(1)[0][1] <= 3
    openings = Counter(tuple(words(text)[:2]) for text in texts)
    assert openings.most_common(1)[0][1] <= 0.01 * len(texts)


def test_comments_vary_in_length_and_form(texts):
    lengths = [len(words(text)) for text in texts]
    assert min(lengths) <= 5
    assert max(lengths) >= 25
    assert 8 <= np.median(lengths) <= 20
    assert 0.05 <= np.mean(["?" in text for text in texts]) <= 0.4
    assert np.mean([text[0].islower() for text in texts]) >= 0.03
