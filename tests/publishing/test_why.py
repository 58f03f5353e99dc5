"""What a card says of the words that move the labels."""

import shutil

import pytest
from markdown_it import MarkdownIt
from scipy.special import logit

from utils.explaining import strongest
from utils.explaining.strongest import strongest_words
from utils.model.classifiers import load_classifier
from utils.publishing import why
from utils.publishing.card import write_card
from utils.publishing.why import record_words
from utils.run_folder import RunFolder, read_json, write_json

HOSTILE = [
    "|",
    "`a`",
    "<img src=x>",
    "*",
    "\\",
    "[x](http://y)",
    "www.x.yz",
    "&amp;",
    "\u202e",
    "😂",
    "~~",
    "_b_",
    "$1$",
]


@pytest.fixture(params=["finished_run", "baseline_run"])
def run(request, tmp_path):
    folder = shutil.copytree(
        request.getfixturevalue(request.param), tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")
    )
    return RunFolder(folder)


def section(run):
    card = (run.path / "README.md").read_text(encoding="utf-8")
    return card.partition("## Which words move it")[2].partition("\n## ")[0]


def cells(markdown):
    """The text of each cell of the tables in a Markdown text, as a reader sees it."""
    found = []
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    for place, token in enumerate(tokens):
        if token.type == "td_open":
            children = tokens[place + 1].children
            assert {child.type for child in children} <= {"text", "text_special"}
            found.append("".join(child.content for child in children))
    return found


def test_a_finished_run_has_its_words_and_its_card_shows_them(run):
    stored = read_json(run.path / "words.json")
    labels = load_classifier(run.path)[0].labels
    assert list(stored["labels"]) == labels
    assert stored["texts"] == 60
    assert all(len(words) <= 10 for words in stored["labels"].values())
    assert all(1 <= word["texts"] <= 2 for words in stored["labels"].values() for word in words)
    example = stored["example"]
    total = example["without_words"] + sum(item["contribution"] for item in example["words"]) + example["together"]
    assert total == pytest.approx(example["log_odds"], abs=1e-9)
    assert example["text"] == read_json(run.path / "run.json")["examples"][0]["text"]
    shown = section(run)
    assert cells(shown)[::2] == labels
    assert "over the 60 validation comments" in " ".join(shown.split())
    assert "not why it is so" in shown


def test_the_words_of_a_label_are_those_that_move_it(baseline_run, monkeypatch):
    monkeypatch.setattr(strongest, "LEAST", 0.01)  # the run has learned from 200 rows
    classifier, _ = load_classifier(baseline_run)
    texts = ["thank you so much", "thank him", "no thank you", "I hate it", "rare"]
    found = strongest_words(classifier, texts, logit(classifier.predict(texts).astype(float)), range(28), 3)
    word = found["gratitude"][0]
    assert (word.word, word.texts) == ("thank", 2)
    assert word.contribution > 0
    assert all(each.word != "rare" for words in found.values() for each in words)  # in one text only


def test_hostile_words_and_labels_stay_text(run):
    stored = read_json(run.path / "words.json")
    words = [{"word": word, "contribution": -1.0, "texts": 2} for word in HOSTILE]
    first = next(iter(stored["labels"]))
    write_json(run.path / "words.json", stored | {"labels": stored["labels"] | {first: words}})
    write_card(run)
    assert cells(section(run))[1] == ", ".join(f"{word} −1.00" for word in HOSTILE).replace("\u202e", "\\u202e")


def test_a_run_is_finished_without_its_words_where_they_cannot_be_had(run, monkeypatch, capsys):
    (run.path / "words.json").unlink()
    monkeypatch.setattr(why, "strongest_words", lambda *_: 1 / 0)
    record_words(run)
    assert "What the card says of words is left out: division by zero." in capsys.readouterr().out
    write_card(run)
    assert section(run) == ""
    (run.path / "words.json").write_text("[]")
    write_card(run)
    assert section(run) == ""
