"""Label names and the two shapes labels take: lists of ids per comment, and multi-hot rows."""

from collections.abc import Sequence

import numpy as np

# In the order of the dataset's ClassLabel feature, which fixes the ids (Demszky et al., 2020).
GO_EMOTIONS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip


def label_maps(names: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """`id2label` and `label2id` as a model configuration wants them."""
    return dict(enumerate(names)), {name: index for index, name in enumerate(names)}


def multi_hot(label_ids: Sequence[Sequence[int]], num_labels: int) -> np.ndarray:
    """Lists of label ids as a float32 matrix of zeros and ones, shape (rows, num_labels)."""
    rows = np.repeat(np.arange(len(label_ids)), [len(ids) for ids in label_ids])
    columns = np.fromiter((index for ids in label_ids for index in ids), dtype=np.int64, count=len(rows))
    matrix = np.zeros((len(label_ids), num_labels), dtype=np.float32)
    matrix[rows, columns] = 1.0
    return matrix
