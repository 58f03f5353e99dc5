"""Cards of models of somebody's own data: true of that data, and silent about what nobody has said."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import yaml
from conftest import ROOT
from hub_server import metadata_errors
from huggingface_hub import ModelCard

import run_baseline
import run_finetune
from utils.arguments import CardArguments
from utils.console import InputError
from utils.publishing.card import _in_shell, write_card
from utils.publishing.example import choose_examples
from utils.run_folder import Predictions, RunFolder, read_json

FOREIGN = ("emotion", "Reddit", "English", "comment", "mental state", "GoEmotions", "I'm so happy", "{{", "}}")
SAID = ["--language", "de", "--license", "cc-by-4.0", "--card_title", "Anliegen in Briefen"]
ROWS = [
    ("Das Paket ist bis heute nicht angekommen, wo bleibt es?", "Lieferung"),
    ('Sie haben "zweimal" abgebucht: $20 zu viel!', "Rechnung"),
    ("Paket kaputt, Geld zurück bitte", "Lieferung,Rechnung"),
    ("Anfrage von anna@example.org zur Lieferung", "Lieferung"),
    ("Ein sehr langer Brief. " * 20, "Lieferung"),
    ("Guten Tag\nund auf Wiedersehen", ""),
]


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters")
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) for text, labels in ROWS * 6]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(letters, tiny_bert, tmp_path_factory):
    """A baseline without a word about itself, and an encoder of which everything is said."""
    parent, data = tmp_path_factory.mktemp("runs"), ["--dataset_name", str(letters), "--allow_unlabelled"]
    run_baseline.main([*data, "--output_dir", str(parent / "baseline"), "--n_jobs", "1"])
    (parent / "said").mkdir()
    run_finetune.main(
        ["--config", str(ROOT / "recipes" / "quickstart.yaml"), "--model_name_or_path", str(tiny_bert), *data, *SAID,
         "--num_train_epochs", "1", "--precision", "fp32", "--use_cpu", "true", "--export_onnx", "false",
         "--output_dir", str(parent / "said" / "encoder")]
    )  # fmt: skip
    return {"baseline": parent / "baseline", "encoder": parent / "said" / "encoder"}


def card_of(run):
    return (run / "README.md").read_text(encoding="utf-8")


def block(text, language):
    found = re.findall(r"^```(\w*)\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    return next(content for kind, content in found if kind == language)


@pytest.mark.parametrize("kind", ["baseline", "encoder"])
def test_a_card_says_nothing_about_other_data(runs, kind):
    text = card_of(runs[kind])
    for word in FOREIGN:
        assert word.lower() not in text.lower(), word
    assert metadata_errors(text) == []
    data = ModelCard(text).data
    assert data.tags == ["multi-label-classification", *(["skops"] if kind == "baseline" else [])]
    assert data.eval_results[0].task_name == "Multi-label text classification"
    assert "a person has to decide" in " ".join(text.split())


def test_what_nobody_has_said_is_left_open(runs):
    data = ModelCard(card_of(runs["baseline"])).data
    assert data.language is None
    assert data.license is None
    assert "\n# Labels for texts: TF-IDF baseline\n" in card_of(runs["baseline"])


def test_what_is_said_stands_in_the_card_and_is_kept_for_the_next_one(runs, tmp_path):
    data = ModelCard(card_of(runs["encoder"])).data
    assert (data.language, data.license) == ("de", "cc-by-4.0")
    assert "\n# Anliegen in Briefen\n" in card_of(runs["encoder"])
    recipe = yaml.safe_load(block(card_of(runs["encoder"]), "yaml"))
    assert (recipe["language"], recipe["license"], recipe["card_title"]) == (["de"], "cc-by-4.0", "Anliegen in Briefen")
    for kind, run in runs.items():
        copy = shutil.copytree(run, tmp_path / kind / run.name, ignore=shutil.ignore_patterns("checkpoints"))
        write_card(RunFolder(copy))  # as run_push.py does
        assert card_of(copy) == card_of(run), kind


def test_examples_are_short_texts_of_validation_with_their_gold_labels(runs):
    for run in runs.values():
        widget = ModelCard(card_of(run)).data.widget
        assert [(item["example_title"], item["text"]) for item in widget] == [
            ("Lieferung", ROWS[0][0]),
            ("Rechnung", ROWS[1][0]),
            ("Lieferung, Rechnung", ROWS[2][0]),
        ]
        assert read_json(run / "run.json")["examples"] == widget


def test_the_recorded_example_is_one_of_them(runs):
    record = read_json(runs["baseline"] / "run.json")
    assert record["example"]["text"] == ROWS[0][0]
    text = card_of(runs["baseline"])
    assert json.loads(block(text, "")) == record["example"]
    assert shlex.split(block(text, "bash").split("|")[0])[-1] == ROWS[0][0]
    answer = {item["label"]: item["score"] for item in read_json(runs["encoder"] / "run.json")["example"]}
    assert set(answer) == {"Lieferung", "Rechnung"}
    said = json.loads(re.search(r"classifier\((\".*\"), top_k", card_of(runs["encoder"]))[1])
    assert said == ROWS[0][0]


def predictions(*rows):
    names = sorted({name for _, labels in rows for name in labels})
    gold = np.array([[float(name in labels) for name in names] for _, labels in rows])
    return names, Predictions([text for text, _ in rows], gold, gold)


def test_texts_that_a_card_cannot_show_are_not_chosen():
    good = ("What is the opening time?", ["a"])
    bad = [("```", ["a"]), ("-h", ["a"]), ("two\nlines of text", ["a"]), ("long " * 50, ["a"]), ("  ", ["a"])]
    assert choose_examples(*predictions(*bad, good)) == [{"example_title": "a", "text": good[0]}]
    assert choose_examples(*predictions(good), fits=lambda text: len(text) < 10)[0]["text"] == "What"
    (only,) = choose_examples(*predictions(("word " * 90, ["a"]), ("ä" * 300, ["a"])))
    assert only["text"].startswith("word word")
    assert len(only["text"]) <= 200


def test_examples_have_different_labels_and_none_last():
    rows = [
        ("first of a", ["a"]),
        ("second of a", ["a"]),
        ("one of b", ["b"]),
        ("of nothing", []),
        ("again nothing", []),
    ]
    titles = [item["example_title"] for item in choose_examples(*predictions(*rows))]
    assert titles == ["a", "b", "No label"]
    assert [item["example_title"] for item in choose_examples(*predictions(("x y", ["n\nm"])))] == ["n\\nm"]


def test_addresses_and_numbers_are_for_no_card_while_there_are_other_texts():
    rows = [
        ("Write to me at a@b.example, please, about the delivery", ["a"]),
        ("call 0171234567", ["a"]),
        ("ok", ["a"]),
    ]
    assert [item["text"] for item in choose_examples(*predictions(*rows))] == ["ok"]
    assert len(choose_examples(*predictions(*rows[:2]))) == 2


@pytest.mark.parametrize("text", ['say "hi"', "pay $5", "a `b`", "wow!x", "back\\slash", "it's", "fine!", "{{ t }}"])
def test_a_text_in_a_command_stays_what_it_is(text):
    assert shlex.split(f"run {_in_shell(text)}") == ["run", text]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"language": ["German"]}, "--language is German; accepted: a code of ISO 639"),
        ({"license": "Apache 2.0"}, "--license is Apache 2.0; accepted: the Hub's name"),
        ({"card_title": "two\nlines"}, "--card_title is empty or not printable"),
    ],
)
def test_what_the_hub_would_not_take_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        CardArguments(**values)
    CardArguments(["de", "pt-BR", "yue", "multilingual"], "openrail++", "Über alles: 😀")
