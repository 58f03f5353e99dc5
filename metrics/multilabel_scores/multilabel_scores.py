"""Scores of a multi-label classifier, from probabilities and one decision threshold per label."""

import datasets
import evaluate
import numpy as np
from sklearn import metrics as sklearn_metrics

_DESCRIPTION = """
F1, precision, recall, ranking and calibration scores of a multi-label classifier. A label is predicted where its
probability is at or above its threshold. Scores that need decisions come at the given thresholds; the four F1s come a
second time, with the suffix `_at_0.5`, at 0.5.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: probabilities in [0, 1], shape (rows, labels).
    references: zeros and ones, same shape.
    thresholds: one per label, or one number for all (default 0.5).

Returns a dict of floats. In [0, 1], higher is better: f1_micro, f1_macro, f1_weighted, f1_samples, precision_micro,
recall_micro, precision_macro, recall_macro, average_precision_macro, roc_auc_macro, subset_accuracy. In [0, 1], lower
is better: hamming_loss. Non-negative, lower is better: loss (mean binary cross-entropy over rows and labels).

A label that is neither predicted nor present counts as 0 in macro averages of F1, precision and recall. Average
precision and ROC AUC are undefined for a label without both classes: their macro averages run over the other labels,
and the key is absent when there is none.

Examples:
    >>> scores = evaluate.load("metrics/multilabel_scores")
    >>> results = scores.compute(
    ...     predictions=[[0.9, 0.2], [0.4, 0.8]], references=[[1, 0], [1, 1]], thresholds=[0.3, 0.5]
    ... )
    >>> results["f1_micro"], round(results["f1_micro_at_0.5"], 2), results["subset_accuracy"]
    (1.0, 0.8, 1.0)
"""

_CITATION = ""


def several_columns(matrix: np.ndarray) -> np.ndarray:
    """Zeros and ones, shape (rows, labels), with an empty column beside a single one.

    scikit-learn takes one column for the two classes `0` and `1`, and would score both; `labels=[0]` leaves the empty
    one out.
    """
    return np.pad(matrix, ((0, 0), (0, 1))) if matrix.shape[1] == 1 else matrix


def multilabel_scores(references: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | float = 0.5) -> dict:
    """The scores that `_KWARGS_DESCRIPTION` lists; `references` and `probabilities` have shape (rows, labels)."""
    references = np.asarray(references).astype(np.int64)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if references.shape != probabilities.shape or references.ndim != 2:
        raise ValueError(f"references {references.shape} and predictions {probabilities.shape} need one 2-d shape")
    decisions = (probabilities >= np.asarray(thresholds, dtype=np.float64)).astype(np.int64)
    decisions_at_half = (probabilities >= 0.5).astype(np.int64)

    scores = {}
    options = {"zero_division": 0, "labels": list(range(references.shape[1]))}
    gold, decided, decided_at_half = map(several_columns, (references, decisions, decisions_at_half))
    for average in ("micro", "macro", "weighted", "samples"):
        scores[f"f1_{average}"] = sklearn_metrics.f1_score(gold, decided, average=average, **options)
        scores[f"f1_{average}_at_0.5"] = sklearn_metrics.f1_score(gold, decided_at_half, average=average, **options)
    for average in ("micro", "macro"):
        precision, recall, _, _ = sklearn_metrics.precision_recall_fscore_support(
            gold, decided, average=average, **options
        )
        scores[f"precision_{average}"], scores[f"recall_{average}"] = precision, recall
    positives = references.sum(axis=0)
    both = (positives > 0) & (positives < len(references))
    if both.any():
        # A choice of columns is laid out column by column, of which scikit-learn would make a copy for every label.
        ranked = (np.ascontiguousarray(references[:, both]), np.ascontiguousarray(probabilities[:, both]))
        scores["average_precision_macro"] = sklearn_metrics.average_precision_score(*ranked, average="macro")
        scores["roc_auc_macro"] = sklearn_metrics.roc_auc_score(*ranked, average="macro")
    scores["hamming_loss"] = np.mean(references != decisions)
    scores["subset_accuracy"] = np.mean((references == decisions).all(axis=1))
    # float32 rounds a confident probability to exactly 1; its loss is that of the nearest float below.
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    scores["loss"] = -np.mean(np.where(references == 1, np.log(clipped), np.log1p(-clipped)))
    return {name: float(value) for name, value in scores.items()}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MultilabelScores(evaluate.Metric):
    """The `evaluate` face of `multilabel_scores`."""

    def _info(self) -> evaluate.MetricInfo:
        features = {
            "predictions": datasets.Sequence(datasets.Value("float64")),
            "references": datasets.Sequence(datasets.Value("int64")),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(features),
        )

    def _compute(self, predictions: np.ndarray, references: np.ndarray, thresholds: np.ndarray | float = 0.5) -> dict:
        return multilabel_scores(references, predictions, thresholds)
