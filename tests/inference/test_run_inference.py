import json
import shutil

import numpy as np
import pytest
import torch
from conftest import encoder_configs, file_rows, run_python, write_rows
from transformers import AutoModelForSequenceClassification, pipeline

import run_baseline
import run_inference
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS
from utils.data.rows import Row
from utils.evaluation.thresholds import choose_labels
from utils.inference.label_rows import RowClassifier, require_neutral
from utils.model.classifiers import EncoderClassifier, load_classifier
from utils.model.loading import load_tokenizer

TEXTS = ["so happy today", 'this is "disgusting", honestly', "ok", "où est-ce ? 😀", "مرحبا بالعالم"]


def infer(model, *arguments):
    return run_inference.main(["--model", str(model), "--precision", "fp32", *map(str, arguments)])


def test_probabilities_are_those_of_the_plain_pipeline(finished_run):
    classifier, _ = load_classifier(str(finished_run))
    plain = pipeline("text-classification", model=str(finished_run), top_k=None)
    probabilities = classifier.predict(TEXTS)
    for row, result in zip(probabilities, plain(TEXTS), strict=True):
        assert {item["label"] for item in result} == set(GO_EMOTIONS)
        scores = {item["label"]: item["score"] for item in result}
        assert [scores[label] for label in classifier.labels] == pytest.approx(row.tolist(), abs=1e-5)


def test_the_order_of_texts_and_their_company_change_nothing(finished_run, demo):
    classifier, _ = load_classifier(str(finished_run))
    texts = list(demo["test"]["text"])[:150]
    together = classifier.predict(texts)
    np.testing.assert_allclose(together[::-1], classifier.predict(texts[::-1]), atol=1e-5)
    alone = np.concatenate([classifier.predict([text]) for text in texts[:10]])
    np.testing.assert_allclose(together[:10], alone, atol=1e-5)


def test_threads_with_batches_of_their_own_change_nothing(finished_run, demo):
    classifier, _ = load_classifier(str(finished_run))
    texts, before = list(demo["validation"]["text"]), torch.get_num_threads()
    classifier.batch_tokens, classifier.threads = 64, 1
    alone = classifier.predict(texts)
    classifier.threads, counted = 3, []
    np.testing.assert_allclose(classifier.predict(texts, counted.append), alone, atol=1e-6)
    assert sum(counted) == len(texts)
    assert len(counted) > 3
    assert torch.get_num_threads() == before


def test_labels_come_clearest_first():
    def chosen(*probabilities, **options):
        return choose_labels(np.array([probabilities]), ["a", "b", "c"], np.array([0.1, 0.5, 0.9]), **options)[0]

    assert chosen(0.3, 0.9, 0.85) == (["b", "a"], [0.9, 0.3])
    assert chosen(0.0, 0.1, 0.89) == ([], [])
    assert chosen(0.0, 0.1, 0.89, at_least_one=True) == (["c"], [0.89])
    assert chosen(0.1, 0.5, 0.9, top_k=2)[0] == ["a", "b"]


@pytest.mark.parametrize("output", [".jsonl", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("source", [".txt", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_format_in_and_out_keeps_rows_order_and_columns(finished_run, tmp_path, source, output):
    given, written = tmp_path / f"in{source}", tmp_path / f"out{output}"
    extra = {} if source == ".txt" else {"id": "x", "labels": "gold"}
    if source == ".txt":
        given.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    elif source == ".tsv":
        lines = ["text\tid\tlabels", *(f"{text}\tx\tgold" for text in TEXTS)]
        given.write_text("\n".join(lines), encoding="utf-8")
    else:
        write_rows(given, [{"text": text, **extra} for text in TEXTS])
    assert infer(finished_run, "--input_file", given, "--output_file", written) == 0
    rows = file_rows(written)
    assert [row["text"] for row in rows] == TEXTS
    for key, value in extra.items():
        assert {row["input_labels" if key == "labels" else key] for row in rows} == {value}

    classifier, thresholds = load_classifier(str(finished_run))
    expected = choose_labels(classifier.predict(TEXTS), classifier.labels, thresholds)
    for row, (names, scores) in zip(rows, expected, strict=True):
        if output in (".csv", ".tsv"):
            assert row["labels"] == ",".join(names)
            assert row["scores"] == ",".join(map(str, scores))
        else:
            assert row["labels"] == names
            assert row["scores"] == pytest.approx(scores, abs=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {given.name, written.name}


def test_rows_that_cannot_be_classified_stay_empty_and_are_counted(finished_run, tmp_path, capsys):
    given, written = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_bytes(b'{"text": "fine"}\n{"text": null}\n{"text": 5}\n{"text": "  "}\nnot json\n{"other": 1}\n'
                      b'{"text": "br\xffken"}\n{"text": "nul \\u0000 byte"}\n')  # fmt: skip
    assert infer(finished_run, "--input_file", given, "--output_file", written, "--at_least_one") == 3
    rows = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert [bool(row["labels"]) for row in rows] == [True, False, False, False, False, False, False, True]
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1] == "6 row(s) could not be classified"
    for number, words in {2: "missing", 3: "int", 4: "empty", 5: "not JSON", 6: "missing", 7: "UTF-8"}.items():
        assert any(f"in.jsonl line {number}: " in line and words in line for line in errors), (number, errors)


def test_very_long_texts_are_cut_not_refused(finished_run, capsys):
    assert infer(finished_run, "word " * 20_000, "--at_least_one") == 0
    assert json.loads(capsys.readouterr().out)["labels"]


def test_thresholds_top_k_and_at_least_one(finished_run, capsys):
    def labels(*options):
        assert infer(finished_run, "so happy", *options) == 0
        return json.loads(capsys.readouterr().out)["labels"]

    assert labels("--threshold", "1") == []
    assert len(labels("--threshold", "1", "--at_least_one")) == 1
    assert len(labels("--threshold", "0")) == 28
    assert len(labels("--top_k", "3")) == 3
    assert labels("--top_k", "1") == labels("--threshold", "1", "--at_least_one")


class Answers:
    """A classifier whose probabilities stand in the texts."""

    labels, folded = ["joy", "Neutral", "pride"], None

    def encode(self, texts):
        return texts

    def probabilities(self, encoded, progress):
        return np.array([list(map(float, text.split())) for text in encoded], dtype=np.float32)


@pytest.mark.parametrize(
    ("text", "options", "labels"),
    [
        ("0.9 0.8 0.1", {}, ["joy"]),
        ("0.6 0.9 0.1", {}, ["joy"]),  # although neutral is the clearer one
        ("0.1 0.8 0.1", {}, ["Neutral"]),
        ("0.1 0.2 0.1", {}, []),
        ("0.1 0.4 0.2", {"at_least_one": True}, ["Neutral"]),
        ("0.6 0.9 0.2", {"top_k": 1}, ["joy"]),
        ("0.6 0.9 0.2", {"top_k": 3}, ["joy", "pride"]),
        ("0.1 0.9 0.2", {"top_k": 2}, ["Neutral", "pride"]),  # pride, too, is named for the two asked for alone
        ("0.6 0.9 0.2", {"threshold": 0.7}, ["Neutral"]),
    ],
)
def test_neutral_alone(text, options, labels):
    asked = RowClassifier(Answers(), np.full(3, 0.5), neutral_alone=True, all_scores=True, **options)
    ((row, _),) = asked.classify(asked.prepare([Row("1", {"text": text})]))
    assert row["labels"] == labels
    assert [row[f"probability_{label}"] for label in Answers.labels] == pytest.approx(list(map(float, text.split())))
    assert sum(asked.counts.values()) == len(labels)


def test_neutral_alone_is_for_models_that_know_neutral(finished_run, capsys):
    assert infer(finished_run, "so happy", "--threshold", "0") == 0
    every = json.loads(capsys.readouterr().out)["labels"]
    assert infer(finished_run, "so happy", "--threshold", "0", "--neutral_alone") == 0
    assert json.loads(capsys.readouterr().out)["labels"] == [label for label in every if label != "neutral"]
    with pytest.raises(InputError, match=r"with a label neutral; this one has a, b, c, d, e, f, g, h, … \(9 in all\)"):
        require_neutral(list("abcdefghi"))


def test_an_empty_set_is_shown_as_such():
    assert "(no emotion reaches its threshold)" in run_inference.table("text", [], [])
    shown = run_inference.table("text", ["joy"], [0.5])
    assert "joy" in shown
    assert "0.500" in shown


def test_a_baseline_folder_is_a_model_too(baseline_run, capsys):
    assert infer(baseline_run, "so happy and thankful", "--top_k", "2") == 0
    row = json.loads(capsys.readouterr().out)
    assert len(row["labels"]) == 2
    assert set(row["labels"]) <= set(GO_EMOTIONS)


def test_a_baseline_with_a_label_that_was_never_seen(tmp_path, capsys):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text("text,labels\n" + "good day,up\nbad day,down\n" * 5)
    (tmp_path / "labels.txt").write_text("up\ndown\nnever\n")
    run_baseline.main(["--dataset_name", str(tmp_path), "--output_dir", str(tmp_path / "run"), "--n_jobs", "1"])
    capsys.readouterr()
    assert infer(tmp_path / "run", "good", "--top_k", "3") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["labels"][0] == "up"
    assert (row["labels"][2], row["scores"][2]) == ("never", 0.0)


def test_standard_input_and_the_exit_status(finished_run):
    done = run_python("run_inference.py", "--model", finished_run, input="one line\n\nthree\n")
    assert done.returncode == 3
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one line", "", "three"]
    assert done.stderr.splitlines()[-1] == "1 row(s) could not be classified"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: (["--model", f / "no"], ""), "no such folder"),
        (lambda f: (["--model", "some/model"], ""), "neither a folder nor available from the Hub"),
        (lambda f: (["--model", f], ""), "holds no model"),
        (lambda f: (["--input_file", f / "no.csv"], ""), "there is no such file"),
        (lambda f: (["--input_file", f / "a.xlsx"], "x"), "unknown kind of file '.xlsx'"),
        (lambda f: (["--input_file", f / "a.csv"], ""), "is empty"),
        (lambda f: (["--input_file", f / "a.csv"], "comment\nhello\n"), "no column 'text' (it has comment)"),
        (lambda f: (["--input_file", f / "a.parquet"], "not parquet"), "not a readable Parquet file"),
        (lambda f: (["--input_file", f / "a.csv", "--output_file", f / "a.csv"], "text\nhi\n"), "is the input file"),
        (lambda f: (["hi", "--output_file", "/proc/out.csv"], ""), "cannot be written"),
        (lambda f: (["hi", "--output_file", f / "out.docx"], ""), "accepted: .jsonl, .csv, .tsv, .parquet"),
        (lambda f: (["hi", "--threshold", "1.5", "--top_k", "0"], ""), "accepted: 1 or more"),
        (lambda f: (["hi", "--treshold", "1"], ""), "nrecognized arguments: --treshold"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(finished_run, tmp_path, make, words):
    arguments, content = make(tmp_path)
    for argument in arguments:
        if str(argument).startswith(str(tmp_path / "a.")):
            argument.write_text(content)
    arguments = [*arguments, "hello"] if "--model" in arguments else ["--model", finished_run, *arguments]
    with pytest.raises(InputError) as caught:
        run_inference.main(list(map(str, arguments)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_and_foreign_models_are_refused(finished_run, tiny_bert, tmp_path):
    with pytest.raises(InputError, match="encoder without a classifier"):
        load_classifier(str(tiny_bert))
    cut = shutil.copytree(finished_run, tmp_path / "cut", ignore=shutil.ignore_patterns("checkpoints"))
    (cut / "model.safetensors").write_bytes((finished_run / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(InputError, match="could not be loaded"):
        load_classifier(str(cut))
    (cut / "thresholds.json").write_text("{")
    with pytest.raises(InputError, match="not a thresholds file"):
        load_classifier(str(cut))


def test_a_model_without_thresholds_decides_at_one_half(finished_run, tmp_path):
    bare = shutil.copytree(
        finished_run, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints", "thresholds.json")
    )
    classifier, thresholds = load_classifier(str(bare))
    assert isinstance(classifier, EncoderClassifier)
    assert (thresholds == 0.5).all()
    assert next(classifier.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("kind", sorted(encoder_configs()))
def test_bf16_answers_nearly_the_same(tiny_bert, kind):
    tokenizer = load_tokenizer(str(tiny_bert))
    tokenizer.model_max_length = 32
    config = encoder_configs()[kind][0]
    config.num_labels = 28
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    plain = EncoderClassifier(model, tokenizer).predict(TEXTS)
    halved = EncoderClassifier(model, tokenizer, "bf16").predict(TEXTS)
    assert halved.dtype == np.float32
    assert 0 < np.abs(plain - halved).max() < 0.01
