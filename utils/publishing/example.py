"""What a finished model answers to one sentence, kept in run.json, so that its card can show it as really printed."""

from pathlib import Path
from typing import Any

from transformers import pipeline

from utils.evaluation.thresholds import choose_labels
from utils.model.classifiers import EncoderClassifier, load_classifier
from utils.run_folder import RUN_FILE, RunFolder, write_json

EXAMPLE = "I'm so happy that I finally passed the deep learning exam!"
TOP_K = 3


def record_example(run: RunFolder, classifier: EncoderClassifier | None = None, folder: Path | None = None) -> None:
    """Ask a run's model as its card does, and write the answer into run.json.

    Args:
        run: a run with a model.
        classifier: that model; None: it is loaded, as a stranger would.
        folder: where run.json is written to; None: the run's own.
    """
    answer = _by_pipeline(run, classifier) if run.is_encoder else _by_baseline(run)
    write_json((folder or run.path) / RUN_FILE, run.read(RUN_FILE) | {"example": answer})


def _by_pipeline(run: RunFolder, classifier: EncoderClassifier | None) -> Any:
    """The stock pipeline's answer."""
    model: dict[str, Any] = {"model": str(run)}
    if classifier is not None:
        model = {"model": classifier.model, "tokenizer": classifier.tokenizer}
    return pipeline("text-classification", device="cpu", **model)(EXAMPLE, top_k=TOP_K)


def _by_baseline(run: RunFolder) -> dict[str, Any]:
    """The row that run_inference.py prints."""
    classifier, thresholds = load_classifier(run.path)
    probabilities = classifier.predict([EXAMPLE])
    ((labels, scores),) = choose_labels(probabilities, classifier.labels, 0 * thresholds, top_k=TOP_K)
    return {"text": EXAMPLE, "labels": labels, "scores": scores}
