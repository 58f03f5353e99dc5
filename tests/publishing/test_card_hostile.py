"""Cards of hostile names and texts, of folders that move, and of runs a part of which cannot be had."""

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

import run_baseline
import run_finetune
from utils.data.labels import on_one_line
from utils.publishing.card import _in_shell_json, _markdown, _quoted, write_card
from utils.publishing.example import record_example
from utils.run_folder import RunFolder, read_json, write_json

LABELS = [
    "<script>alert(1)</script>", "a|b", "`code`", "```", "two\nlines", "---", "{{ 7 * 7 }}", "{% raw %}", "- item",
    "<!-- comment -->", "\x1b[31mred\x1b[0m", "# heading", "1. one", "> quote", "[x](http://e.example)", "![i](a.png)",
    "*bold* _it_ ~~no~~", "www.e.example", "https://e.example/x", "@someone", "$x$", "&amp; &#60;", "key: value",
    "!!python", "\u202egnp", "a\u2028b", "null", "'quoted\" $(id)", "=== x", "+ plus", "\\n", "end\\",
]  # fmt: skip
TEXTS = [
    "```", "<script>alert(2)</script> in a text", "{{ config }} {% for x in y %}", "---", "- item of a list",
    "a | b | c", 'say "$(id)" `id` !x', "<!-- never ends", "key: [value", "\x1b]0;title\x07 bell",
    "# heading of a text", "right to left \u202e txt", "zero\u200bwidth", "nul \x00 byte",
]  # fmt: skip

OWN_CODE = {"baseline.skops", "skops.io.load", "predict_proba", "thresholds.json", "recipe.yaml", "config.json",
            "skops.hub_utils", "huggingface_hub"}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A baseline of hostile data, in a folder with a hostile name, that has a threshold by hand for each label."""
    data = tmp_path_factory.mktemp("data")
    rows = [{"text": f"{TEXTS[i % len(TEXTS)]} word{i % 7}", "labels": [label]} for i, label in enumerate(3 * LABELS)]
    for split in ("train", "validation", "test"):
        lines = (json.dumps(row) for row in rows)
        (data / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    folder = tmp_path_factory.mktemp("runs") / 'a "run" `x` $(id)\n---'
    run_baseline.main(["--dataset_name", str(data), "--output_dir", str(folder), "--n_jobs", "1"])
    stored = read_json(folder / "thresholds.json")
    write_json(folder / "thresholds.json", stored | {"set_by_hand": dict.fromkeys(LABELS, 0.5)})
    write_card(RunFolder(folder))
    return folder


def parsed(text):
    """The Markdown of a card without its front matter, as tokens."""
    return MarkdownIt("commonmark").enable("table").parse(text.split("\n---\n", 1)[1])


def shown(token):
    """What a reader sees of an inline token."""
    return "".join(" " if child.type == "softbreak" else child.content for child in token.children)


def test_names_of_labels_are_shown_and_mean_nothing(hostile):
    text = (hostile / "README.md").read_text(encoding="utf-8")
    tokens = parsed(text)
    inline = [child for token in tokens for child in token.children or ()]
    foreign = ("html_block", "html_inline", "blockquote_open", "em_open")
    assert not [t for t in [*tokens, *inline] if t.type in foreign]
    assert [t.attrs["href"] for t in inline if t.type == "link_open"] == ["#results", "#intended-use"]
    strong = [inline[i + 1].content for i, t in enumerate(inline) if t.type == "strong_open"]
    assert strong == ["How sure it is:", "Where it is wrong:"]
    assert {t.content for t in inline if t.type == "code_inline"} <= OWN_CODE
    pictures = [t.attrs["src"] for t in inline if t.type == "image"]
    assert [source for source in pictures if not re.fullmatch(r"plots/\w+\.png", source)] == []
    headings = [shown(tokens[i + 1]) for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert headings[1:] == ["How to use it", "Results", "Which words move it", "Intended use", "Training"]
    assert not [t for t in tokens if t.type in ("bullet_list_open", "ordered_list_open", "hr", "code_block")]
    cells = [shown(tokens[i + 1]) for i, t in enumerate(tokens) if t.type == "td_open"]
    for label in LABELS:
        assert on_one_line(label) in cells, label
    said = " ".join(shown(t) for t in tokens if t.type == "inline")
    for label in LABELS:
        assert f"{' '.join(on_one_line(label).split())} 0.5" in said, label
    assert {sign for sign in text if not sign.isprintable()} == {"\n"}


def test_front_matter_and_code_of_a_hostile_card_say_what_they_should(hostile):
    text = (hostile / "README.md").read_text(encoding="utf-8")
    data = ModelCard(text).data
    assert {item["text"] for item in data.widget} <= set(RunFolder(hostile).read_predictions("validation")[1].texts)
    assert yaml.safe_load(text.split("---\n")[1])["tags"] == ["multi-label-classification", "skops"]
    code = {t.info: t.content for t in parsed(text) if t.type == "fence"}
    assert yaml.safe_load(code["yaml"])["max_features"] == 5000
    by_hand = next(t.content for t in parsed(text) if t.type == "fence" and "--set_threshold" in t.content)
    words = subprocess.run(
        ["bash", "-c", f"set -- {by_hand}\nprintf '%s\\0' \"$@\""], capture_output=True, check=True
    ).stdout
    assert words.decode().split("\0")[4:-1] == [f"{label}=0.5" for label in LABELS]


@pytest.mark.parametrize("text", [*LABELS, *TEXTS])
def test_a_text_in_markdown_is_itself_wherever_it_stands(text):
    for context in ("{}", "word {} word", "word\n{}"):
        (_, inline, _) = MarkdownIt("commonmark").enable("table").parse(context.format(_markdown(text)))
        assert on_one_line(text).strip() in shown(inline)


@pytest.mark.parametrize("text", [text for text in [*LABELS, *TEXTS] if "\0" not in text])
def test_a_text_in_a_command_is_itself_and_on_one_line(text):
    assert "\n" not in _quoted(text)
    said = subprocess.run(["bash", "-c", f"printf %s {_quoted(text)}"], capture_output=True, check=True)
    assert said.stdout.decode() == text


@pytest.mark.parametrize("text", [*LABELS, *TEXTS, "it's '$(id)'"])
def test_a_request_in_a_command_holds_the_text_itself(text):
    argument = _in_shell_json({"inputs": text})
    assert argument.isprintable()
    said = subprocess.run(["bash", "-c", f"printf %s {argument}"], capture_output=True, check=True)
    assert json.loads(said.stdout) == {"inputs": text}


# --- no path, whatever lies where -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(finetune_arguments, tiny_bert, small_data, tmp_path_factory):
    """A run whose model, data, label names, teacher and further texts have gone; arguments name folders besides."""
    home = tmp_path_factory.mktemp("secret_home")
    model, data = (
        shutil.copytree(tiny_bert, home / "models" / "enc"),
        shutil.copytree(small_data, home / "data" / "set"),
    )
    names = shutil.copy(small_data / "emotions.txt", home / "names.txt")
    arguments = [*finetune_arguments, "--num_train_epochs", "1", "--model_name_or_path", model, "--dataset_name", data]
    arguments += ["--label_names", names]
    teacher = home / "runs" / "teacher"
    run_finetune.main([*map(str, arguments), "--output_dir", str(teacher)])
    (home / "accelerate.json").write_text('{"split_batches": false}')
    (home / "more.txt").write_text("One more text.\n")
    run_finetune.main(
        [*map(str, arguments), "--output_dir", str(home / "run"), "--teacher", str(teacher), "--project",
         str(home / "project"), "--run_name", str(home / "name"), "--trackio_space_id", str(home / "space"),
         "--accelerator_config", str(home / "accelerate.json"), "--unlabelled_file", str(home / "more.txt")]
    )  # fmt: skip
    run = home.parent / "pushed" / "run"
    shutil.copytree(home / "run", run)
    shutil.rmtree(home)
    write_card(RunFolder(run), "user/emotions")
    return run, home


def test_no_path_stands_in_what_is_published(moved):
    run, home = moved
    text = (run / "README.md").read_text()
    recipe = yaml.safe_load(next(t.content for t in parsed(text) if t.info == "yaml"))
    expected = {"model_name_or_path": "enc", "dataset_name": "set", "label_names": "names.txt", "teacher": ["teacher"]}
    expected["unlabelled_file"] = ["more.txt"]
    assert {name: recipe[name] for name in expected} == expected
    assert not {"project", "run_name", "trackio_space_id", "accelerator_config", "output_dir"} & set(recipe)
    for path in run.rglob("*"):
        if path.is_file() and path.suffix in (".md", ".json", ".csv", ".txt") and path.name not in ("run.json",):
            relative = path.relative_to(run)
            if relative.parts[0] not in ("checkpoints", "predictions", "trainer_state.json"):
                assert home.name not in path.read_text(), relative


def test_a_run_of_an_earlier_version_shows_no_path_either(moved, tmp_path):
    run = shutil.copytree(moved[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    record = read_json(run / "run.json")
    for name in ("shown", "run_fingerprint"):
        del record[name]
    del record["arguments"]["unlabelled_file"]  # which it did not have
    write_json(run / "run.json", record)
    write_card(RunFolder(run))
    assert moved[1].name not in (run / "README.md").read_text()


def test_a_name_on_the_hub_stays_whatever_lies_here_when_it_is_pushed(baseline_run, tmp_path, monkeypatch):
    run = shutil.copytree(baseline_run, tmp_path / "run")
    record = read_json(run / "run.json")
    record["arguments"]["dataset_name"], record["dataset"]["hub_id"] = "user/data", "user/data"
    record["arguments"]["text_column"] = "text"
    del record["shown"]
    write_json(run / "run.json", record)
    monkeypatch.chdir(tmp_path)
    for name in ("user/data", "text"):
        os.makedirs(name)
    write_card(RunFolder(run))
    recipe = yaml.safe_load(next(t.content for t in parsed((run / "README.md").read_text()) if t.info == "yaml"))
    assert (recipe["dataset_name"], recipe["text_column"]) == ("user/data", "text")


# --- a part that cannot be had --------------------------------------------------------------------------------------


@pytest.fixture
def copy(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "runs" / "model", ignore=shutil.ignore_patterns("checkpoints"))


def break_results(folder):
    (folder / "all_results.json").write_text("{")


def break_record(folder):
    (folder / "run.json").write_text("[]")


def break_scores(folder):
    write_json(folder / "all_results.json", read_json(folder / "all_results.json") | {"test_f1_micro": "high"})


def lose_encoding(folder):
    (folder / "run.json").write_bytes(b"\xff\xfe{")


@pytest.mark.parametrize("damage", [break_results, break_record, break_scores, lose_encoding])
def test_a_neighbours_broken_folder_costs_the_comparison_alone(copy, baseline_run, damage, capsys):
    broken = shutil.copytree(baseline_run, copy.parent / "broken")
    damage(broken)
    write_card(RunFolder(copy))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("The comparison with broken in the card is left out: ")
    text = (copy / "README.md").read_text()
    assert "TF-IDF baseline" not in text
    shutil.copytree(baseline_run, copy.parent / "whole")
    write_card(RunFolder(copy))
    assert "TF-IDF baseline" in (copy / "README.md").read_text()


def test_a_picture_that_cannot_be_written_is_left_out(finetune_arguments, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"

    def broken(*arguments):
        raise RuntimeError("no font\nat all")

    monkeypatch.setattr("utils.evaluation.plots.cooccurrence", broken)
    data = finetune_arguments[finetune_arguments.index("--dataset_name") + 1]
    run_baseline.main(["--dataset_name", data, "--output_dir", str(folder), "--n_jobs", "1", "--overwrite_output_dir"])
    out = capsys.readouterr().out
    assert "The picture plots/cooccurrence.png is left out: no font at all." in out
    text = (folder / "README.md").read_text()
    assert "cooccurrence" not in text
    assert "plots/per_label_f1.png" in text


def test_a_folder_of_pictures_that_is_a_file_costs_the_pictures_alone(copy, capsys):
    from utils.evaluation.plots import plot_run

    shutil.rmtree(copy / "plots")
    (copy / "plots").write_text("a file")
    plot_run(RunFolder(copy))
    assert capsys.readouterr().out.count("is left out: ") == 5
    write_card(RunFolder(copy))
    assert "![" not in (copy / "README.md").read_text()


@pytest.mark.parametrize("kind", ["finished_run", "baseline_run"])
def test_an_example_that_cannot_be_had_is_left_out_and_the_run_can_be_pushed(request, kind, tmp_path, capsys):
    folder = shutil.copytree(
        request.getfixturevalue(kind), tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")
    )
    (folder / "predictions" / "validation.parquet").write_bytes(b"PAR1 broken")
    run = RunFolder(folder)
    record_example(run)
    assert "The card's example is left out: " in capsys.readouterr().out
    run.require_finished()
    write_card(run, "user/emotions")
    text = (folder / "README.md").read_text()
    assert "user/emotions" in text
    assert " None" not in text
    assert "widget" not in ModelCard(text).data.to_dict()
    fences = [t.content for t in parsed(text) if t.type == "fence"]
    if kind == "finished_run":
        compile(fences[0], "card", "exec")
        assert 'model="user/emotions", top_k=3' in fences[0]
    else:
        assert shlex.split(fences[0])[:4] == ["python", "run_inference.py", "--model", "user/emotions"]


def test_broken_figures_of_an_export_cost_their_paragraph_alone(copy, capsys):
    (copy / "onnx").mkdir()
    (copy / "onnx" / "export.json").write_text("{")
    write_card(RunFolder(copy))
    assert "What the card says of the ONNX files is left out: " in capsys.readouterr().out
    assert "Transformers.js" not in (copy / "README.md").read_text()
