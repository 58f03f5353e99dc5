"""What a finished model answers to one sentence, kept in run.json, so that its card can show it as really printed."""

from typing import Any

from transformers import pipeline

from utils.evaluation.thresholds import choose_labels
from utils.model.classifiers import load_classifier
from utils.run_folder import RUN_FILE, RunFolder, write_json

EXAMPLE = "I'm so happy that I finally passed the deep learning exam!"
TOP_K = 3


def record_example(run: RunFolder) -> None:
    """Ask the model that `run` holds as its card does, and write the answer into run.json."""
    write_json(run.path / RUN_FILE, run.read(RUN_FILE) | {"example": _answer(run)})


def _answer(run: RunFolder) -> Any:
    """The stock pipeline's answer for an encoder; for a baseline, the row that run_inference.py prints."""
    if run.is_encoder:
        return pipeline("text-classification", model=str(run), device="cpu")(EXAMPLE, top_k=TOP_K)
    classifier, thresholds = load_classifier(run.path)
    probabilities = classifier.predict([EXAMPLE])
    ((labels, scores),) = choose_labels(probabilities, classifier.labels, 0 * thresholds, top_k=TOP_K)
    return {"text": EXAMPLE, "labels": labels, "scores": scores}
