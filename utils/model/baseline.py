"""TF-IDF and logistic regression, as `run_baseline.py` saves them in a file of skops, which runs nothing when read."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import logit
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

    @cached_property
    def _coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight of each TF-IDF feature for each label, shape (features, labels), and the intercepts.

        A label that no training text carries, or every one, has none: its log-odds are the ends of their range.
        """
        count = len(self.pipeline[0].vocabulary_)
        weights, intercepts = np.zeros((count, len(self.labels))), np.empty(len(self.labels))
        for index, estimator in enumerate(self.pipeline[-1].estimators_[: len(self.labels)]):
            if hasattr(estimator, "coef_"):
                weights[:, index], intercepts[index] = estimator.coef_[0], estimator.intercept_[0]
            else:
                intercepts[index] = logit(np.clip(estimator.predict_proba(np.zeros((1, count)))[0, 1], 1e-7, 1 - 1e-7))
        return weights, intercepts

    @property
    def intercepts(self) -> np.ndarray:
        """The log-odds of each label for a text without any known word, shape (labels,)."""
        return self._coefficients[1]

    def token_weights(self, texts: Sequence[str]) -> Iterator[list[tuple[int, int, np.ndarray]]]:
        """The known tokens of each text: beginning, end, and what each adds to the log-odds, shape (labels,).

        With the intercepts, these add up to the log-odds of the text's probabilities.
        """
        vectorizer, weights = self.pipeline[0], self._coefficients[0]
        pattern, rows = re.compile(vectorizer.token_pattern), vectorizer.transform(texts)
        for text, start, end in zip(texts, rows.indptr, rows.indptr[1:], strict=False):
            values = dict(zip(rows.indices[start:end].tolist(), rows.data[start:end].tolist(), strict=True))
            lowered = text.lower()
            places = list(range(len(text) + 1))
            if len(lowered) != len(text):  # "İ" becomes two signs
                places = [place for place, sign in enumerate(text) for _ in sign.lower()] + [len(text)]
            found = ((match, vectorizer.vocabulary_.get(match[0])) for match in pattern.finditer(lowered))
            tokens = [(match, feature) for match, feature in found if feature in values]
            counts = Counter(feature for _, feature in tokens)
            yield [
                (
                    places[match.start()],
                    places[match.end() - 1] + 1,
                    weights[feature] * (values[feature] / counts[feature]),
                )
                for match, feature in tokens
            ]


def label_probabilities(pipeline: Any, texts: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """A baseline's probabilities, float64 of shape (texts, labels).

    A single label has been fitted beside a column that no row carries, for scikit-learn knows no single label; see
    `several_columns` in metrics/multilabel_scores.
    """
    return pipeline.predict_proba(texts)[:, : len(labels)]


@contextmanager
def in_a_sentence(dataset_name: str) -> Iterator[None]:
    """What scikit-learn has to say: texts without a single word are refused with the name of the data, and labels that
    no training row carries, or every one, which the first lines of a run show, are passed over."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
            yield
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        raise InputError(
            f"{dataset_name}: no training text holds a word of two letters or more, and TF-IDF counts nothing else; an "
            "encoder also reads other signs (run_finetune.py)."
        ) from error
