"""What a model gets wrong: its most confident mistakes, and the labels it takes for one another."""

import json
from collections.abc import Sequence

import numpy as np

from utils.evaluation.thresholds import decide


def confident_mistakes(
    names: Sequence[str],
    texts: Sequence[str],
    gold: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    count: int = 20,
) -> list[dict[str, object]]:
    """The rows whose worst label is furthest from the truth, worst first; one row each.

    A label is wrong where the decision at its threshold is; how wrong is |gold − probability|. Many of these mistakes
    are the annotation's: reading them is the quickest way to see what bounds the scores.

    Several labels in one cell are joined by commas; where a name has one itself, every such cell is a JSON list.
    """
    has_commas = any("," in name for name in names)

    def joined(row: np.ndarray) -> str:
        found = [names[i] for i in np.flatnonzero(row).tolist()]
        return json.dumps(found, ensure_ascii=False) if has_commas else ",".join(found)

    decided = decide(probabilities, thresholds)
    distance = np.where(decided != (gold > 0), np.abs(gold - probabilities), 0.0)
    worst = distance.argmax(axis=1).tolist()
    ranked = np.argsort(-distance.max(axis=1), kind="stable")[:count].tolist()
    return [
        {
            "text": texts[row],
            "label": names[worst[row]],
            "mistake": "predicted, not gold" if decided[row, worst[row]] else "gold, not predicted",
            "probability": round(float(probabilities[row, worst[row]]), 4),
            "gold": joined(gold[row]),
            "predicted": joined(decided[row]),
        }
        for row in ranked
        if distance[row].max() > 0
    ]


def confused_pairs(
    names: Sequence[str], gold: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, count: int = 20
) -> list[dict[str, object]]:
    """How often one label was gold and missed while another was predicted and not gold; the most frequent pairs.

    `share` is the part of the missed label's rows to which it happened.
    """
    decided = decide(probabilities, thresholds)
    missed, invented = (gold > 0) & ~decided, decided & (gold == 0)
    pairs = missed.astype(np.float64).T @ invented.astype(np.float64)  # whole numbers, a hundred times as fast as ints
    share = pairs / np.maximum((gold > 0).sum(axis=0), 1)[:, None]
    ranked = np.argsort(-pairs.ravel(), kind="stable")[:count]
    return [
        {
            "gold": names[i],
            "predicted": names[j],
            "rows": int(pairs[i, j]),
            "share": round(float(share[i, j]), 4),
        }
        for i, j in zip(*(axis.tolist() for axis in np.unravel_index(ranked, pairs.shape)), strict=True)
        if pairs[i, j] > 0
    ]
