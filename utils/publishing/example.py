"""The sentences that a card shows, and what the finished model answers to the first of them.

GoEmotions and the demo corpus have three of their own. Of other data, texts of its validation split are taken: short
ones, chosen by their gold labels and never by what the model answers. They are kept in run.json with the answer, so
that the card can show it as really printed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

from utils.arguments import HUB_DATASET
from utils.console import left_out
from utils.data.labels import on_one_line
from utils.evaluation.thresholds import choose_labels
from utils.model.classifiers import EncoderClassifier, load_classifier
from utils.run_folder import RUN_FILE, Predictions, RunFolder, write_json

EXAMPLE = "I'm so happy that I finally passed the deep learning exam!"
WIDGET: Sequence[Mapping[str, str]] = (
    {"example_title": "Joy and pride", "text": EXAMPLE},
    {
        "example_title": "Gratitude and confusion",
        "text": "Thanks for explaining, but I still don't see why it crashes on my machine.",
    },
    {"example_title": "Surprise", "text": "Wait, you two have known each other since school? I had no idea!"},
)
TOP_K = 3
MOST = 3  # sentences of a card
LONGEST = 200  # characters of one
IDEAL = 60
_PERSONAL = re.compile(r"@|://|www\.|\d{5}")  # an address or a long number: not for a card while there are others


def is_known(dataset: Mapping[str, Any]) -> bool:
    """Whether a dataset, as run.json describes it, is GoEmotions or the demo corpus: English comments with emotions."""
    return dataset["name"] == "demo" or dataset["hub_id"] == HUB_DATASET


def examples(record: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """The sentences of a run's card, each with its title; `record` is run.json, which has those of unknown data."""
    return record.get("examples", WIDGET)


def record_example(
    run: RunFolder, classifier: EncoderClassifier | None = None, folder: Path | None = None
) -> Sequence[str]:
    """Ask a run's model as its card does, and write sentences and answer into run.json.

    Where that fails, one line says why, and run.json says that there are none.

    Args:
        run: a run with a model.
        classifier: that model; None: it is loaded, as a stranger would.
        folder: where run.json is written to; None: the run's own.

    Returns the texts of the validation split that the card will show.
    """
    record = run.read(RUN_FILE)
    known = is_known(record["dataset"])
    chosen: Sequence[Mapping[str, str]] = ()
    answer: Any = None
    with left_out("the card's example"):
        chosen, answer = _asked(run, classifier, known)
    record["example"] = answer
    if not known or answer is None:
        record["examples"] = list(chosen)
    else:
        record.pop("examples", None)
    write_json((folder or run.path) / RUN_FILE, record)
    return [] if known else [item["text"] for item in chosen]


def _asked(
    run: RunFolder, classifier: EncoderClassifier | None, known: bool
) -> tuple[Sequence[Mapping[str, str]], Any]:
    """The sentences of a run's card, and what its model answers to the first."""
    if not run.is_encoder:
        chosen = WIDGET if known else choose_examples(*run.read_predictions("validation"))
        baseline, thresholds = load_classifier(run.path)
        text = chosen[0]["text"]
        ((labels, scores),) = choose_labels(baseline.predict([text]), baseline.labels, 0 * thresholds, top_k=TOP_K)
        return chosen, {"text": text, "labels": labels, "scores": scores}
    model: dict[str, Any] = {"model": str(run)}
    if classifier is not None:
        model = {"model": classifier.model, "tokenizer": classifier.tokenizer}
    answer = pipeline("text-classification", device="cpu", trust_remote_code=False, **model)
    tokenizer: Any = answer.tokenizer
    chosen = WIDGET if known else choose_examples(
        *run.read_predictions("validation"),
        lambda text: len(tokenizer(text, verbose=False)["input_ids"]) <= tokenizer.model_max_length,
    )  # fmt: skip
    return chosen, answer(chosen[0]["text"], top_k=TOP_K)


def choose_examples(
    names: Sequence[str], predictions: Predictions, fits: Callable[[str], bool] = lambda text: True
) -> list[dict[str, str]]:
    """One to three short texts, each with its gold labels as its title: of the most frequent labels, then of none.

    Args:
        names: label names.
        predictions: those of validation; the probabilities don't matter.
        fits: whether the model reads a text as a whole.

    Only where no text has at most `LONGEST` characters is the beginning of one taken.
    """
    texts, gold = [text.strip() for text in predictions.texts], predictions.gold > 0
    order = sorted(range(len(texts)), key=lambda row: abs(len(texts[row]) - IDEAL))
    order = [row for row in order if _is_showable(texts[row]) and fits(texts[row])]
    order = [row for row in order if not _PERSONAL.search(texts[row])] or order
    if not order:
        return [{"example_title": "The beginning of a text", "text": next(filter(fits, _beginnings(texts)), "text")}]
    frequent = np.argsort(-gold.sum(axis=0), kind="stable").tolist()
    sought = [*(gold[:, label] for label in frequent), gold.sum(axis=1) == 0, np.ones(len(texts), dtype=bool)]
    chosen: dict[str, str] = {}
    for wanted in sought:
        row = next((row for row in order if wanted[row] and texts[row] not in chosen), None)
        if row is not None and len(chosen) < MOST:
            labels = [on_one_line(names[label]) for label in np.flatnonzero(gold[row]).tolist()]
            chosen[texts[row]] = ", ".join(labels) or "No label"
    return [{"example_title": title, "text": text} for text, title in chosen.items()]


def _is_showable(text: str) -> bool:
    """Whether a card can show a text as it is: short, on one line, no option of a command, no fence of a code block."""
    plain = on_one_line(text) == text and "```" not in text and not text.startswith("-")
    return plain and 0 < len(text) <= LONGEST


def _beginnings(texts: Sequence[str]) -> Iterator[str]:
    """Beginnings of the texts, shorter and shorter, in one line each."""
    for length in (LONGEST, 100, 50, 20, 10, 5):
        for text in texts:
            words = " ".join(text.replace("`", "'").split()).lstrip("-")
            if words:
                yield on_one_line(words)[:length].rstrip()
