"""Scores of a run: the `evaluate` module of metrics/, during training and at its end."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support
from transformers import EvalPrediction

from metrics.multilabel_scores.multilabel_scores import multilabel_scores, several_columns
from utils.data.labels import GO_EMOTIONS, TAXONOMIES, grouping_matrix
from utils.evaluation.bootstrap import intervals
from utils.evaluation.thresholds import decide, fit_thresholds
from utils.run_folder import METRIC_PREFIX


def split_scores(
    split: str, names: Sequence[str], gold: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray
) -> dict[str, float]:
    """All scores of `validation` or `test`, at `thresholds` where a threshold matters.

    Their keys are `eval_{metric}` and `test_{metric}`.

    Bootstrap intervals come as `{metric}_ci_low` and `{metric}_ci_high`. For GoEmotions' own labels the paper's groups
    are scored as well: a group is predicted, or gold, where one of its emotions is.
    """
    scores = multilabel_scores(gold, probabilities, thresholds) | intervals(gold, probabilities, thresholds)
    if tuple(names) == GO_EMOTIONS:
        decided = decide(probabilities, thresholds).astype(np.int64)
        for taxonomy in TAXONOMIES:
            groups = grouping_matrix(names, taxonomy)
            grouped = (gold.astype(np.int64) @ groups > 0, decided @ groups > 0)
            scores[f"{taxonomy}_f1_macro"] = f1_score(*grouped, average="macro", zero_division=0)
    return {f"{METRIC_PREFIX[split]}_{name}": float(value) for name, value in scores.items()}


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """What the Trainer evaluates each epoch: all scores at the best global threshold of that epoch, and that one.

    Without the loss, which is the Trainer's own.

    After little training no probability may reach 0.5, and every score at 0.5 is zero although the ranking is already
    good. The sweep shows what the model knows; it is also what the best checkpoint is chosen by.
    """
    probabilities = expit(np.asarray(prediction.predictions, dtype=np.float64))
    gold = np.asarray(prediction.label_ids)
    thresholds = fit_thresholds(gold, probabilities, "global", "f1_micro")
    scores = multilabel_scores(gold, probabilities, thresholds)
    del scores["loss"]
    return {**scores, "threshold": float(thresholds[0])}


def label_scores(gold: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Per label: support, precision, recall, F1 at its threshold, and average precision (nan without positives)."""
    gold = gold.astype(int)
    decided = decide(probabilities, thresholds).astype(int)
    precision, recall, f1, support = precision_recall_fscore_support(
        several_columns(gold), several_columns(decided), labels=range(gold.shape[1]), average=None, zero_division=0
    )
    average_precision = np.full(gold.shape[1], np.nan)
    seen = support > 0
    if seen.any():
        ranked = (np.ascontiguousarray(gold[:, seen]), np.ascontiguousarray(probabilities[:, seen]))
        average_precision[seen] = average_precision_score(*ranked, average=None)
    return {
        "support": support,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "threshold": np.asarray(thresholds),
        "average_precision": average_precision,
    }
