"""How fast a classifier is on a machine that is busy otherwise: by the time for which its core worked."""

import time
from collections.abc import Sequence

from utils.model.classifiers import Classifier


def texts_per_second(classifier: Classifier, texts: Sequence[str]) -> float:
    """Texts per CPU second of this process, tokenising included; for a classifier that computes with one thread."""
    started = time.process_time()
    classifier.predict(texts)
    return len(texts) / (time.process_time() - started)
