"""What a card says of the words that move the labels: one text explained, and the strongest words of each label."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from utils.console import left_out
from utils.explaining.attributions import Explainer
from utils.explaining.strongest import strongest_words
from utils.model.classifiers import Classifier, load_classifier
from utils.publishing.example import examples
from utils.run_folder import RUN_FILE, WORDS_FILE, RunFolder, write_json

LABELS = 40  # with the most comments, where there are more
STRONGEST = 10  # words of a label


def record_words(run: RunFolder, classifier: Classifier | None = None, folder: Path | None = None) -> None:
    """Write what the card says of words; where that fails, one line says why, and the card says nothing of them.

    Args:
        run: a run whose example is recorded.
        classifier: its model; None: it is loaded.
        folder: where the file is written to; None: the run's own.
    """
    content: dict[str, Any] | None = None
    with left_out("what the card says of words"):
        content = _words(run, classifier or load_classifier(run.path)[0], RunFolder(folder or run.path).read(RUN_FILE))
    if content is not None:
        write_json((folder or run.path) / WORDS_FILE, content)


def _words(run: RunFolder, classifier: Classifier, record: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the file; `record` is run.json, which has the example."""
    _, (texts, gold, probabilities) = run.read_predictions("validation")
    labels = sorted(np.argsort(-gold.sum(axis=0), kind="stable")[:LABELS].tolist())
    answered = logit(np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7))
    strongest = strongest_words(classifier, texts, answered, labels, STRONGEST)
    example = next((item["text"] for item in examples(record)), None)
    return {
        "method": "one word left out" if run.is_encoder else "coefficients",
        "texts": len(texts),
        "example": None if example is None else _explained(classifier, example),
        "labels": {label: [word._asdict() for word in words] for label, words in strongest.items()},
    }


def _explained(classifier: Classifier, text: str) -> dict[str, Any]:
    """The label with the highest score, and what each word contributed to it."""
    label = classifier.labels[int(classifier.predict([text])[0].argmax())]
    return {"text": text, **Explainer(classifier, label)([text], [[]])[0][0]}
