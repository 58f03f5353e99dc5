"""Cards of each kind of run: what they claim is checked against the run's files, and their code is run."""

import contextlib
import csv
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, refold
from hub_server import metadata_errors
from huggingface_hub import ModelCard
from transformers import pipeline

from utils.arguments import (
    HUB_DATASET,
    DataArguments,
    FinetuneArguments,
    ModelArguments,
    OutputArguments,
    ThresholdArguments,
    as_recorded,
    parse_arguments,
)
from utils.data.labels import GO_EMOTIONS
from utils.data.splits import GO_EMOTIONS_SHA256, describe
from utils.model.classifiers import load_classifier
from utils.publishing.card import write_card
from utils.publishing.example import record_example
from utils.run_folder import RunFolder, read_json, write_json

ONNX = {"fp32_mb": 90.9, "int8_mb": 22.9, "fp32_max_difference": 3.2e-6, "int8_f1_micro": 0.6101, "f1_micro": 0.6120,
        "int8_changed_rows": 0.0213, "rows": 5426}  # fmt: skip


def change_run(folder, dataset=None, **changes):
    run = read_json(folder / "run.json")
    write_json(folder / "run.json", run | {"dataset": run["dataset"] | (dataset or {})} | changes)


def as_known(folder, name, hub_id, **changes):
    """The run as if it had been trained on GoEmotions or the demo corpus."""
    change_run(folder, {"name": name, "hub_id": hub_id}, **changes)
    record_example(RunFolder(folder))


def without_test(folder):
    (folder / "predictions" / "test.parquet").unlink()
    results = read_json(folder / "all_results.json")
    write_json(folder / "all_results.json", {key: value for key, value in results.items() if "test_" not in key})
    rows = read_json(folder / "run.json")["dataset"]["rows"]
    change_run(folder, {"rows": {split: count for split, count in rows.items() if split != "test"}})
    with (folder / "threshold_strategies.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if "test_" not in key} for row in csv.DictReader(file)]
    with (folder / "threshold_strategies.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


KINDS = {  # name: which run it is made from, and what is changed about it
    "encoder": ("finished_run", lambda folder: None),
    "goemotions": (
        "finished_run",
        lambda folder: as_known(folder, HUB_DATASET, HUB_DATASET, base_model="sentence-transformers/all-MiniLM-L6-v2"),
    ),
    "demo": ("finished_run", lambda folder: as_known(folder, "demo", None)),
    "unfolded": ("finished_run", lambda folder: refold(folder, False)),
    "onnx": (
        "finished_run",
        lambda folder: [(folder / "onnx").mkdir(exist_ok=True), write_json(folder / "onnx" / "export.json", ONNX)],
    ),
    "without test": ("finished_run", without_test),
    "baseline": ("baseline_run", lambda folder: None),
}


@pytest.fixture(params=KINDS)
def card(request, tmp_path):
    """A copy of a run, its kind, and the card that was written for it."""
    source, change = KINDS[request.param]
    folder = shutil.copytree(
        request.getfixturevalue(source), tmp_path / "my_emotions", ignore=shutil.ignore_patterns("checkpoints")
    )
    change(folder)
    write_card(RunFolder(folder), "user/my-emotions")
    return request.param, folder, (folder / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    found = re.findall(r"^```(\w*)\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    return [content for kind, content in found if kind == language]


def table(text, first_column):
    """A Markdown table as rows of cells, found by the name of its first column."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    start = next(index for index, row in enumerate(rows) if row[0] == first_column)
    end = next((i for i in range(start + 2, len(rows)) if set(rows[i][0]) == {"-"}), len(rows) + 1)
    return rows[start], [row for row in rows[start + 2 : end - 1 if end <= len(rows) else None]]


def test_metadata_is_valid_and_survives_yaml(card):
    kind, folder, text = card
    data, known = ModelCard(text).data, kind in ("goemotions", "demo")
    assert metadata_errors(text) == []
    assert yaml.safe_load(data.to_yaml()) == data.to_dict()
    assert data.language == ("en" if known else None)
    assert data.tags[0] == "emotion"  # the labels are GoEmotions' own
    assert data.pipeline_tag == "text-classification"
    assert data.library_name == ("sklearn" if kind == "baseline" else "transformers")
    texts = [item["text"] for item in data.widget]
    assert ("I'm so happy that I finally passed the deep learning exam!" in texts) == known
    assert known or set(texts) <= set(RunFolder(folder).read_predictions("validation")[1].texts)
    assert len(texts) == 3
    assert all(item["example_title"] for item in data.widget)
    assert (data.to_dict().get("inference") is None) == (kind == "baseline")
    assert data.datasets == ([HUB_DATASET] if kind == "goemotions" else None)
    assert data.license == {"goemotions": "apache-2.0", "baseline": None}.get(kind)


def test_the_model_index_holds_the_reported_scores(card):
    kind, folder, text = card
    results, split = read_json(folder / "all_results.json"), "eval" if kind == "without test" else "test"
    entries = {entry.metric_name: entry for entry in ModelCard(text).data.eval_results}
    for name, key in (("micro-F1", "f1_micro"), ("macro-F1", "f1_macro"), ("mAP", "average_precision_macro")):
        assert entries[name].metric_value == round(results[f"{split}_{key}"], 4)
        assert entries[name].dataset_split == ("validation" if kind == "without test" else "test")
    assert entries["micro-F1"].metric_args == {"average": "micro", "threshold_strategy": "expected_f1"}


def test_every_figure_in_the_tables_stands_in_the_runs_files(card):
    kind, folder, text = card
    results, split = read_json(folder / "all_results.json"), "eval" if kind == "without test" else "test"
    _, scores = table(text, "score")
    assert [row[0] for row in scores] == ["micro-F1", "macro-F1", "mAP"]
    assert scores[0][1] == f"{results[f'{split}_f1_micro']:.4f}"
    assert scores[0][2] == f"{results[f'{split}_f1_micro_ci_low']:.4f} to {results[f'{split}_f1_micro_ci_high']:.4f}"
    header, labels = table(text, "label")
    with (folder / "per_label.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    assert [row[0] for row in labels] == [row["label"] for row in expected]
    assert header[5] == "threshold"
    thresholds = read_json(folder / "thresholds.json")["thresholds"]
    for row, wanted in zip(labels, expected, strict=True):
        assert (row[1], row[4]) == (wanted["support"], f"{float(wanted['f1']):.3f}")
        assert row[5] == f"{thresholds[row[0]]:.3f}"
    _, strategies = table(text, "thresholds")
    assert len(strategies) == 7
    rows = read_json(folder / "run.json")["dataset"]["rows"]
    assert f"({rows['test' if split == 'test' else 'validation']:,} comments)" in text


def test_the_code_in_the_card_prints_what_the_card_says(card, monkeypatch):
    kind, folder, text = card
    if kind == "baseline":
        printed = json.loads(blocks(text, "")[0])
        assert printed == read_json(folder / "run.json")["example"]
        assert "--model user/my-emotions" in text
        return
    if kind == "unfolded":
        record_example(RunFolder(folder))  # as run_push.py does
        write_card(RunFolder(folder), "user/my-emotions")
        text = (folder / "README.md").read_text(encoding="utf-8")
    code, said = blocks(text, "python")[0], blocks(text, "")[0]
    assert 'model="user/my-emotions"' in code
    monkeypatch.chdir(folder.parent)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code.replace("user/my-emotions", folder.name), found := {})
    assert output.getvalue().strip() == said
    texts = ["so happy today", "so happy " * 100]  # of which the second is too long
    expected = load_classifier(folder)[0].predict(texts)
    for answer, scores in zip(found["classifier"](texts, top_k=None), expected, strict=True):
        by_label = {item["label"]: item["score"] for item in answer}
        assert [by_label[label] for label in GO_EMOTIONS] == pytest.approx(scores.tolist(), abs=1e-5)
    with pytest.raises((RuntimeError, IndexError)):  # what the card says of a call without it
        pipeline("text-classification", model=str(folder))(texts[1])


def test_the_request_in_the_card_is_what_text_embeddings_inference_takes(card):
    """Its PredictRequest has inputs, truncate and raw_scores; it softmaxes several labels unless these are raw."""
    kind, _, text = card
    requests = [block for block in blocks(text, "bash") if block.startswith("curl ")]
    if kind == "baseline":
        assert requests == []
        return
    (arguments,) = map(shlex.split, requests)
    assert arguments[:2] == ["curl", "127.0.0.1:8080/predict"]
    body = json.loads(arguments[arguments.index("-d") + 1])
    sentence = ModelCard(text).data.widget[0]["text"]
    assert body == {"inputs": sentence, "truncate": True, "raw_scores": True}
    said = " ".join(text.split())
    assert "applies a softmax to several labels, which is wrong for this model, unless `raw_scores`" in said
    assert ("it is predicted where raw is at or above 0" in said) == (kind != "unfolded")


def test_the_card_says_of_the_pictures_what_they_say(card):
    kind, _, text = card
    said = " ".join(text.split("\n---\n", 1)[1].split())
    if kind in ("unfolded", "baseline"):
        assert "In the pictures: thresholds fitted on validation. ![" in said
    else:
        assert (
            "In the pictures: thresholds fitted on validation; published at 0.5 by folding. Probabilities and" in said
        )
    assert "mind the support, and the intervals below." in said


def test_the_recipe_in_the_card_is_the_runs(card, tmp_path):
    kind, folder, text = card
    if kind == "baseline":
        assert yaml.safe_load(blocks(text, "yaml")[0])["max_features"] == 5000
        return
    (tmp_path / "recipe.yaml").write_text(blocks(text, "yaml")[0])
    kinds = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, FinetuneArguments)
    arguments = ["--config", str(tmp_path / "recipe.yaml"), "--output_dir", str(tmp_path), "--use_cpu", "true"]
    data, model, thresholds, _, training = parse_arguments(kinds, arguments, "")
    run = read_json(folder / "run.json")
    parsed = as_recorded(model, thresholds, training)
    for key, value in parsed.items():
        if key in run["arguments"] and key not in ("output_dir", "model_name_or_path", "save_total_limit", "run_name"):
            assert value == run["arguments"][key], key
    assert data.dataset_name == (run["dataset"]["hub_id"] or Path(run["arguments"]["dataset_name"]).name)


def test_nothing_is_left_open_or_private(card):
    kind, folder, text = card
    for word in ("{{", "}}", ": None", " nan", "TODO", "More information", "path/to", "your-", str(folder.parent)):
        assert word not in text, word
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (folder / picture).is_file()
    assert ("plots/training_curves.png" in text) == (kind != "baseline")
    for misuse in ("mental state", "hiring", "policing"):
        assert misuse in text


def test_ten_lines_say_what_it_answers_how_sure_it_is_and_where_it_is_wrong(card):
    _, folder, text = card
    opening = text.split("\n# ", 1)[1].split("\n## ")[0].split("\n", 1)[1]
    assert sum(bool(line) for line in opening.splitlines()) <= 12
    said = " ".join(opening.split())
    results = read_json(folder / "all_results.json")
    split = "test" if "test_f1_micro" in results else "eval"
    assert f"{100 * results[f'{split}_precision_micro']:.0f} % of the labels that it gives are right" in said
    assert f"it finds {100 * results[f'{split}_recall_micro']:.0f} % of those that people gave" in said
    assert f"micro-F1 {results[f'{split}_f1_micro']:.3f} (95 % interval" in said
    assert ("that it has not seen" in said) == (split == "test")
    with (folder / "per_label.csv").open(newline="") as file:
        scored = {row["label"]: float(row["f1"]) for row in csv.DictReader(file) if int(row["support"]) >= 3}
    best, worst = max(scored, key=scored.get), min(scored, key=scored.get)
    assert f"it knows {best} ({scored[best]:.2f})" in said
    assert f"best and {worst} ({scored[worst]:.2f})" in said or scored[worst] in list(scored.values())[:-1]
    assert 'For example, to "' in said
    names, (_, gold, probabilities) = RunFolder(folder).read_predictions("test" if split == "test" else "validation")
    cuts = np.array(list(read_json(folder / "thresholds.json")["thresholds"].values()))
    beside = [
        f"{100 * np.mean(decided[:, names.index('neutral')] & (decided.sum(axis=1) > 1)):.1f} %"
        for decided in (gold > 0, probabilities >= cuts)
    ]
    shares = "Beside another label, people gave neutral to {} of these comments and it does to {};".format(*beside)
    assert (shares in said) == (beside != ["0.0 %", "0.0 %"])
    write_card(RunFolder(folder), "user/my-emotions", "user/my-demo")
    shown = (folder / "README.md").read_text(encoding="utf-8").split("\n# ", 1)[1].split("\n\n")
    assert shown[1].startswith("**[Try it in your browser](https://huggingface.co/spaces/user/my-demo)**")


def test_each_kind_says_what_it_is(card):
    kind, folder, text = card
    body = " ".join(text.split("\n---\n", 1)[1].split())
    assert body.startswith("**This is a demonstration**") == (kind == "demo")
    assert ("is part of the classifier's bias" in body) == (kind not in ("unfolded", "baseline"))
    assert ("37 test texts" in body) == (kind == "goemotions")
    assert ("Transformers.js" in body) == (kind == "onnx")
    if kind == "onnx":
        assert "gets the same answer alone and in any batch" in body
        for figure in ("90.9 MB", "22.9 MB", "3.2e-06", "0.6101", "0.6120", "2.1 %", "5,426 validation comments"):
            assert figure in body
        old = {key: value for key, value in ONNX.items() if key != "int8_changed_rows"}  # of an earlier export
        write_json(folder / "onnx" / "export.json", old)
        write_card(RunFolder(folder))
        assert "alone and in any batch" not in (folder / "README.md").read_text(encoding="utf-8")
    if kind == "goemotions":
        assert "[sentence-transformers/all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers" in body


def test_a_baseline_on_the_same_rows_stands_beside_the_model(finished_run, baseline_run, tmp_path):
    for source, name in ((finished_run, "model"), (baseline_run, "baseline")):
        shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    write_card(RunFolder(tmp_path / "model"))
    header, rows = table((tmp_path / "model" / "README.md").read_text(), "score")
    assert header[3] == "TF-IDF baseline"
    assert rows[0][3] == f"{read_json(baseline_run / 'all_results.json')['test_f1_micro']:.4f}"
    change_run(tmp_path / "baseline", {"sha256": "of other data"})
    write_card(RunFolder(tmp_path / "model"))
    assert "TF-IDF" not in (tmp_path / "model" / "README.md").read_text()


def test_a_local_copy_of_goemotions_is_known_for_what_it_is(goemotions, demo):
    described = describe(DataArguments(str(ROOT / "data")), goemotions)
    assert described["sha256"] == GO_EMOTIONS_SHA256
    assert described["hub_id"] == HUB_DATASET
    assert describe(DataArguments("demo"), demo)["hub_id"] is None
    assert describe(DataArguments("user/comments"), demo)["hub_id"] == "user/comments"
