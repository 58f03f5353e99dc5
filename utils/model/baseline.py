"""TF-IDF and logistic regression, as `run_baseline.py` saves them in a file of skops, which runs nothing when read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from skops import io as skops_io

from utils.console import InputError
from utils.progress import OnRows, no_progress
from utils.run_folder import THRESHOLDS_FILE

TRUSTED_TYPES = ("sklearn.multiclass._ConstantPredictor",)  # stands in for a label that no training row carries


class BaselineClassifier:
    """TF-IDF and logistic regression as `run_baseline.py` saves them."""

    folded: np.ndarray | None = None

    def __init__(self, path: str, labels: Sequence[str]):
        """`path`: a file of skops, which cannot run anything while it is loaded.

        Raises:
            InputError: it is no such file, or holds something else than a baseline for these labels.
        """
        try:
            unknown = set(skops_io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES)
            if unknown:
                raise InputError(f"{path} holds types beyond scikit-learn's ({', '.join(unknown)}); it is not loaded.")
            self.pipeline, self.labels = skops_io.load(path, trusted=list(TRUSTED_TYPES)), list(labels)
            columns = self.pipeline.predict_proba(["a text"]).shape[1]
        except InputError:
            raise
        except Exception as error:  # of zipfile, json, skops and scikit-learn
            raise InputError(f"{path} is no baseline as run_baseline.py saves it ({error!r}).") from error
        if columns != max(2, len(self.labels)):
            raise InputError(
                f"{path} answers for {columns} labels, and {THRESHOLDS_FILE} beside it names {len(self.labels)}; take "
                "files that belong together."
            )

    def predict(self, texts: Sequence[str], progress: OnRows = no_progress) -> np.ndarray:
        """See `Classifier`."""
        return self.probabilities(self.encode(texts), progress)

    def encode(self, texts: Sequence[str]) -> list[str]:
        """The texts themselves: the pipeline has its own way from them to numbers."""
        return list(texts)

    def probabilities(self, encoded: list[str], progress: OnRows = no_progress) -> np.ndarray:
        """`predict` for what `encode` returned."""
        probabilities = label_probabilities(self.pipeline, encoded, self.labels).astype(np.float32)
        progress(len(encoded))
        return probabilities


def label_probabilities(pipeline: Any, texts: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """A baseline's probabilities, float64 of shape (texts, labels).

    A single label has been fitted beside a column that no row carries, for scikit-learn knows no single label; see
    `several_columns` in metrics/multilabel_scores.
    """
    return pipeline.predict_proba(texts)[:, : len(labels)]
