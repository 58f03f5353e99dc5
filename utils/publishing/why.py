"""What a card says of the words that move the labels: one text explained, and the strongest words of each label.

The validation texts for it are few, so that it adds little to a run: those in which the labels are clearest, as many as
a number of characters affords that grows with the training split, to a limit. A long text costs the square of its
length.
"""

from pathlib import Path
from typing import Any

import numpy as np

from utils.console import left_out
from utils.explaining.attributions import Explainer
from utils.explaining.strongest import clearest_texts, strongest_words
from utils.model.classifiers import Classifier, load_classifier
from utils.publishing.example import examples
from utils.run_folder import RUN_FILE, WORDS_FILE, RunFolder, write_json

# Of all variants of all texts, at a thousand for a comment of a dozen words: a hundred comments at most, which takes
# MiniLM seven seconds of one core.
FEWEST, A_ROW, MOST = 20_000, 30, 100_000
STRONGEST = 10  # words of a label


def record_words(run: RunFolder, classifier: Classifier | None = None, folder: Path | None = None) -> None:
    """Write what the card says of words; where that fails, one line says why, and the card says nothing of them.

    Args:
        run: a run whose example is recorded.
        classifier: its model; None: it is loaded.
        folder: where the file is written to; None: the run's own.
    """
    with left_out("what the card says of words"):
        model = classifier or load_classifier(run.path)[0]
        _, (texts, _, probabilities) = run.read_predictions("validation")
        record = RunFolder(folder or run.path).read(RUN_FILE)
        characters = min(max(FEWEST, A_ROW * record["dataset"]["rows"]["train"]), MOST)
        chosen = clearest_texts(texts, np.asarray(probabilities), characters)
        strongest = strongest_words(model, [texts[index] for index in chosen], STRONGEST)
        example = next((item["text"] for item in examples(record)), None)
        content = {
            "method": "one word left out" if run.is_encoder else "coefficients",
            "texts": len(chosen),
            "example": None if example is None else _explained(model, example),
            "labels": {label: [word._asdict() for word in words] for label, words in strongest.items()},
        }
        write_json((folder or run.path) / WORDS_FILE, content)


def _explained(classifier: Classifier, text: str) -> dict[str, Any]:
    """The label with the highest score, and what each word contributed to it."""
    label = classifier.labels[int(classifier.predict([text])[0].argmax())]
    return {"text": text, **Explainer(classifier, label)([text], [[]])[0][0]}
