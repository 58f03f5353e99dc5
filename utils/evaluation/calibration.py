"""Are probabilities what they say? Measures of calibration, and two ways to mend it, fitted on validation.

Both ways are linear in the logits (scale · z + shift), so that a calibrated model is the same architecture with another
output layer: every client gets calibrated scores. Temperature scaling (Guo et al. 2017) has one scale for all labels;
Platt scaling (Platt 1999) has a scale and a shift a label.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from utils.evaluation.choices import METHODS
from utils.model.folding import Calibration
from utils.run_folder import METRIC_PREFIX, Predictions

BINS = 15


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return logit(np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7))


def fittable(gold: np.ndarray) -> np.ndarray:
    """Which labels have rows with them and rows without, so that a calibration can be fitted; shape (labels,)."""
    positives = np.sum(np.asarray(gold) > 0, axis=0)
    return np.logical_and(positives > 0, positives < len(gold))


def fit_calibration(gold: np.ndarray, probabilities: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of the logits, each of shape (labels,), that fit the logistic loss best.

    Args:
        gold: zeros and ones, shape (rows, labels).
        probabilities: in [0, 1], same shape.
        method: one of `METHODS`.

    A label with a single class among these rows keeps scale 1 and shift 0 under Platt scaling; where all are such, so
    does every label under both.
    """
    labels = gold.shape[1]
    scale, shift = np.ones(labels), np.zeros(labels)
    logits, gold, fitted = _logits(probabilities), np.asarray(gold) > 0, fittable(gold)
    if method == "temperature" and fitted.any():
        model = LogisticRegression(C=1e6, fit_intercept=False).fit(logits.reshape(-1, 1), gold.ravel())
        scale[:] = model.coef_[0, 0]
    elif method == "platt":
        for label in np.flatnonzero(fitted):
            model = LogisticRegression(C=10.0).fit(logits[:, [label]], gold[:, label])
            scale[label], shift[label] = model.coef_[0, 0], model.intercept_[0]
    elif method not in METHODS:
        raise ValueError(f"unknown calibration {method!r}; accepted: {', '.join(METHODS)}")
    return scale, shift


def calibrate(probabilities: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """sigmoid(scale · logit p + shift), float64 of the same shape."""
    return expit(scale * _logits(probabilities) + shift)


def calibrate_predictions(predictions: Mapping[str, Predictions], calibration: Calibration) -> dict[str, Predictions]:
    """`calibrate` for the probabilities of every split; the method `none` leaves them as they are, to the last bit."""
    method, scale, shift = calibration
    return {
        split: predicted
        if method == "none"
        else predicted._replace(probabilities=calibrate(predicted.probabilities, scale, shift))
        for split, predicted in predictions.items()
    }


def brier_score(gold: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared error of the probabilities over all rows and labels, in [0, 1]; lower is better (Brier 1950)."""
    return float(np.mean((probabilities.astype(np.float64) - gold) ** 2))


def reliability(gold: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share of positives and number of row-label pairs in each of `BINS` bins of equal width.

    Empty bins are left out.
    """
    gold, probabilities = np.ravel(gold), np.ravel(probabilities).astype(np.float64)
    index = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    filled = counts > 0
    means = [
        np.bincount(index, weights=values, minlength=BINS)[filled] / counts[filled] for values in (probabilities, gold)
    ]
    return means[0], means[1], counts[filled]


def expected_calibration_error(gold: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean distance between probability and share of positives over the bins, weighted by their size; in [0, 1]."""
    predicted, observed, counts = reliability(gold, probabilities)
    return float(np.average(np.abs(predicted - observed), weights=counts))


def cross_fitted(gold: np.ndarray, probabilities: np.ndarray, method: str) -> np.ndarray:
    """Calibrated probabilities of rows that the calibration was not fitted on: each half by the other."""
    halves = np.random.default_rng(0).permutation(len(gold)) % 2
    result = np.empty(probabilities.shape)
    for half in (0, 1):
        fitted = fit_calibration(gold[halves != half], probabilities[halves != half], method)
        result[halves == half] = calibrate(probabilities[halves == half], *fitted)
    return result


def calibration_rows(names: Sequence[str], predictions: Mapping[str, Predictions]) -> list[dict[str, object]]:
    """Calibration error and Brier score of every method, over all labels (`all`, or `all labels` if one is called so)
    and for each.

    Args:
        names: label names.
        predictions: those of `validation`, which are cross-fitted, and optionally of `test`, for which the calibration
            is fitted on all of validation.
    """
    _, validation_gold, validation_probabilities = predictions["validation"]
    rows, overall = [], "all labels" if "all" in names else "all"
    for method in METHODS:
        fitted = fit_calibration(validation_gold, validation_probabilities, method)
        calibrated = {"validation": cross_fitted(validation_gold, validation_probabilities, method)}
        if "test" in predictions:
            calibrated["test"] = calibrate(predictions["test"].probabilities, *fitted)
        for index, label in enumerate([overall, *names]):
            columns = slice(None) if index == 0 else [index - 1]
            row: dict[str, object] = {"calibration": method, "label": label}
            for split, probabilities in calibrated.items():
                gold, prefix = predictions[split].gold[:, columns], METRIC_PREFIX[split]
                row[f"{prefix}_ece"] = expected_calibration_error(gold, probabilities[:, columns])
                row[f"{prefix}_brier"] = brier_score(gold, probabilities[:, columns])
            rows.append(row)
    return rows
