"""Label names and the two shapes labels take: lists of ids per comment, and multi-hot rows."""

import re
from collections.abc import Sequence

import numpy as np

# In the order of the dataset's ClassLabel feature, which fixes the ids (Demszky et al., 2020).
GO_EMOTIONS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip

# The paper's groupings of the 27 emotions, each with neutral beside them (Demszky et al., 2020, section 5 and data).
TAXONOMIES = {
    "ekman": {
        "anger": ("anger", "annoyance", "disapproval"),
        "disgust": ("disgust",),
        "fear": ("fear", "nervousness"),
        "joy": (
            "admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude", "joy", "love",
            "optimism", "pride", "relief",
        ),
        "sadness": ("disappointment", "embarrassment", "grief", "remorse", "sadness"),
        "surprise": ("confusion", "curiosity", "realization", "surprise"),
        "neutral": ("neutral",),
    },
}  # fmt: skip
TAXONOMIES["sentiment"] = {
    "positive": TAXONOMIES["ekman"]["joy"],
    "negative": sum((TAXONOMIES["ekman"][group] for group in ("anger", "disgust", "fear", "sadness")), ()),
    "ambiguous": TAXONOMIES["ekman"]["surprise"],
    "neutral": ("neutral",),
}


def find_neutral(names: Sequence[str]) -> int | None:
    """Which of the labels is called neutral, in capitals or not; None where none is."""
    return next((index for index, name in enumerate(names) if name.casefold() == "neutral"), None)


def grouping_matrix(names: Sequence[str], taxonomy: str) -> np.ndarray:
    """Zeros and ones, shape (labels, groups): which group of `TAXONOMIES[taxonomy]` each label belongs to."""
    return np.array([[name in members for members in TAXONOMIES[taxonomy].values()] for name in names], dtype=np.int64)


def label_maps(names: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """`id2label` and `label2id` as a model configuration wants them."""
    return dict(enumerate(names)), {name: index for index, name in enumerate(names)}


def on_one_line(text: str) -> str:
    r"""A name or a text with its line ends and other control characters written out, `\n` for the end of a line.

    Control characters are also those that turn the direction of writing, and halves of a character (surrogates).
    """
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", lambda found: repr(found[0])[1:-1], text
    )


def multi_hot(label_ids: Sequence[Sequence[int]], num_labels: int) -> np.ndarray:
    """Lists of label ids as a float32 matrix of zeros and ones, shape (rows, num_labels)."""
    rows = np.repeat(np.arange(len(label_ids)), [len(ids) for ids in label_ids])
    columns = np.fromiter((index for ids in label_ids for index in ids), dtype=np.int64, count=len(rows))
    matrix = np.zeros((len(label_ids), num_labels), dtype=np.float32)
    matrix[rows, columns] = 1.0
    return matrix
