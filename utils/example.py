"""What a finished model answers to one sentence, kept in run.json, so that its card can show it as really printed."""

from pathlib import Path
from typing import Any

from transformers import pipeline

from utils.classifiers import BASELINE_FILE, load_classifier
from utils.inference import choose_labels
from utils.results import read_json, write_json

EXAMPLE = "I'm so happy that I finally passed the deep learning exam!"
TOP_K = 3


def record_example(run_dir: Path) -> None:
    """Ask the model in `run_dir` as its card does, and write the answer into run.json."""
    write_json(run_dir / "run.json", read_json(run_dir / "run.json") | {"example": _answer(run_dir)})


def _answer(run_dir: Path) -> Any:
    """The stock pipeline's answer for an encoder; for a baseline, the row that run_inference.py prints."""
    if not (run_dir / BASELINE_FILE).is_file():
        return pipeline("text-classification", model=str(run_dir), device="cpu")(EXAMPLE, top_k=TOP_K)
    classifier, thresholds = load_classifier(str(run_dir))
    probabilities = classifier.predict([EXAMPLE])
    ((labels, scores),) = choose_labels(probabilities, classifier.labels, 0 * thresholds, top_k=TOP_K)
    return {"text": EXAMPLE, "labels": labels, "scores": scores}
