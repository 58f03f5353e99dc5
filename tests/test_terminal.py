"""What scripts say in a terminal of 80 columns: no line is wider, and what is printed as a command can be pasted."""

import csv
import fcntl
import importlib
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import wcwidth
import yaml
from conftest import ROOT, with_project
from hub_server import serve

from utils.command_line import command, with_default, without_options
from utils.console import table
from utils.lines import counted, folded, markdown_table, shortened, shown_width

SCRIPTS = sorted(path.stem for path in ROOT.glob("run_*.py"))
WIDTH = 80
LONG = ["a label of sixty signs, which somebody has written in full", "感情" * 30, "short"]


class Terminal:
    """A terminal of `WIDTH` columns, in which scripts run one after the other, in one process to save time."""

    def __init__(self, folder, environment):
        self.main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
        commands, pipe = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "in_a_terminal.py"), str(commands)], cwd=folder,
            env=with_project(environment), stdin=side, stdout=side, stderr=side, pass_fds=[commands],
        )  # fmt: skip
        os.close(side)
        os.close(commands)
        self.commands = os.fdopen(pipe, "w")

    def run(self, script, *arguments):
        """What it is sent while `script` runs, and the exit status of that."""
        self.commands.write(json.dumps([script, *arguments]) + "\n")
        self.commands.flush()
        sent = b""
        while not (ended := re.search(rb"\n=== \w+ ended (\d+)\r\n", sent)):
            sent += os.read(self.main, 1 << 16)
        return sent[: ended.start()].decode(), int(ended[1])

    def close(self):
        self.commands.close()
        self.process.kill()
        self.process.wait()
        os.close(self.main)


def physical_lines(said):
    """What stands on each line of the terminal, also where a bar has been drawn over it."""
    return [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", said)]


def printed_commands(said):
    """The commands in what a script has said, as its user would paste them: each as a list of its pieces."""
    joined = re.sub(r" \\\r?\n", " ", said)
    return [
        shlex.split(found[0])
        for found in re.finditer(r"\S*python[\d.]* \S*run_\w+\.py .*$", joined.replace("\r", ""), re.M)
    ]


@pytest.fixture(scope="module")
def hard_labels(tmp_path_factory, demo):
    """A dataset whose labels have names as long as anybody's, Chinese ones among them."""
    path = tmp_path_factory.mktemp("hard") / "comments.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "labels"])
        for number, text in enumerate(demo["train"]["text"][:240]):
            writer.writerow([f"{text} {'感' * 40}", json.dumps([LONG[number % 3]], ensure_ascii=False)])
    return path


def test_every_script_stays_within_80_columns(finetune_arguments, tiny_bert, hard_labels, tmp_path):
    for name in ("tiny", "data.csv"):
        (tmp_path / name).symlink_to(tiny_bert if name == "tiny" else hard_labels)
    (tmp_path / "texts.csv").write_text('text\nso happy\n""\n感情\n', encoding="utf-8")
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "a.csv").write_text('text\nso happy\n""\n', encoding="utf-8")
    recipe = yaml.safe_load((ROOT / "recipes" / "quickstart.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {
        "model_name_or_path": "tiny", "dataset_name": "data.csv", "num_train_epochs": 1, "precision": "fp32",
        "use_cpu": True, "export_onnx": False,
    }))  # fmt: skip
    data, options = ["--dataset_name", "data.csv"], ["--config", "recipe.yaml", "--output_dir"]
    given = {
        "run_finetune": [[*options, "runs/one"], ["--config", "no.yaml"]],
        "run_baseline": [[*data, "--n_jobs", "1", "--output_dir", "runs/baseline"]],
        "run_audit": [[*options, "audit", "--folds", "2", "--judge", "runs/baseline"],
                      [*data, "--baseline", "--folds", "2", "--output_dir", "audit2"]],
        "run_search": [[*options, "search", "--search_trials", "1"]],
        "run_compare": [["runs/one", "runs/baseline"], ["runs/one", "runs/baseline", "runs/one"]],
        "run_evaluate": [["runs/one", "--threshold_strategy", "global"], ["runs/one", "--set_threshold", "shirt=0.4"]],
        "run_export": [["runs/one"]],
        "run_push": [["runs/one", "--hub_model_id", "one", "--hub_space_id", "one-demo"]],
        "run_inference": [["--model", "runs/one", "so happy 感情 " * 20, "--top_k", "3", "--explain"],
                          ["--model", "runs/one", "--input_file", "texts.csv", "--output_file", "out.csv"]],
        "run_corpus": [["--model", "runs/one", "--input", "many", "--output", "labels", "--workers", "1",
                        "--precision", "fp32"]],
    }  # fmt: skip
    assert sorted(given) == SCRIPTS
    refused = [("run_finetune", 2), ("run_evaluate", 2)]
    statuses, wide, next_ones = [], [], {}
    with serve() as hub:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "COLUMNS"))}
        environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": "writer", "HF_HUB_DISABLE_XET": "1",
                        "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
        terminal = Terminal(tmp_path, environment)

        def run(script, *arguments):
            said, status = terminal.run(script, *arguments)
            # The path to this Python and the address of a Hub are as long as they are.
            wide.extend(line for line in physical_lines(said) if not line.startswith(hub.url)
                        and wcwidth.width(line.replace(str(ROOT), "")) > WIDTH)  # fmt: skip
            return said, status

        try:
            for script, lists in given.items():
                for arguments in lists:
                    said, status = run(script, *arguments)
                    statuses += [(script, status)] if status else []
                    for command in () if status else printed_commands(said):
                        next_ones.setdefault(tuple(command), script)
            for script in SCRIPTS:
                assert run(script, "--help")[1] == 0
            assert statuses == [*refused, ("run_inference", 3), ("run_corpus", 3)]

            # What they have printed is done, as it was printed.
            for audit in ("audit", "audit2"):
                (tmp_path / audit / "corrections.csv").write_bytes((tmp_path / audit / "suspects.csv").read_bytes())
            for python, place, *arguments in next_ones:
                assert Path(python).samefile(sys.executable)
                assert Path(place).parent == ROOT
                said, status = run(Path(place).stem, *arguments)
                assert status == 0, said
        finally:
            terminal.close()
    assert not wide, "\n".join(wide)
    by = sorted(next_ones.values())
    assert {script: by.count(script) for script in by} == {
        "run_audit": 2, "run_baseline": 3, "run_export": 3, "run_finetune": 3, "run_push": 2, "run_search": 2,
    }  # fmt: skip


# --- as wide as it is shown -------------------------------------------------------------------------------------------


def test_sentences_are_folded_between_words_and_only_where_there_is_a_terminal():
    text = "  one two three four five six seven eight nine ten 感情感情感情感情 eleven\n\nshort"
    assert folded(text, None) == text
    lines = folded(text, 24).split("\n")
    assert max(map(shown_width, lines)) <= 24
    assert all(line.startswith("  ") for line in lines[:-2])
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert folded("感" * 30, 20).split("\n") == ["感" * 10] * 3
    path = f"see {'deep/' * 20}file"  # can be copied
    assert folded(path, 20).split("\n") == ["see", path[4:]]
    assert (counted(1, "label"), counted(2000, "label")) == ("1 label", "2,000 labels")


def test_a_folded_command_is_the_same_command():
    command_ = "python run_finetune.py --config 'my recipe.yaml' --dataset_name \"it's\" --output_dir " + "x/" * 20
    for before in ("", "train with it: "):
        lines = folded(f"  {before}{command_}", 60).split("\n")
        assert len(lines) > 2
        assert max(map(len, lines)) <= 60
        pasted = "\n".join(lines).split(before.rstrip(), 1)[1] if before else "\n".join(lines)
        assert shlex.split(pasted.replace(" \\\n", " ")) == shlex.split(command_)


def test_tables_break_into_further_ones_and_never_within_a_number():
    header = ["label", *(f"column {number}" for number in range(12))]
    rows = [[name, *(f"{0.1 * number:.4f}" for number in range(12))] for name in LONG]
    whole = markdown_table(header, rows)
    assert len({shown_width(line) for line in whole.split("\n")}) == 1
    narrow = markdown_table(header, rows, WIDTH)
    assert max(shown_width(line) for line in narrow.split("\n")) <= WIDTH
    cells = [cell.strip() for line in narrow.split("\n") for cell in line.strip("| ").split("|")]
    for number in range(12):
        assert cells.count(f"column {number}") == 1
        assert cells.count(f"{0.1 * number:.4f}") == 3
    begun = "".join(line.split("|")[1].strip() for line in narrow.split("\n\n")[0].split("\n")[2:])
    assert begun.replace(" ", "") == "".join(LONG).replace(" ", "")
    assert markdown_table(["a"], [["x" * 100]], 40).count("\n") == 4


def test_labels_of_a_text_are_shown_beside_their_scores(monkeypatch):
    monkeypatch.setattr("utils.console.terminal_width", lambda stream: WIDTH)
    lines = table("so happy 感情 " * 20, LONG, [1.0, 0.5, 0.25]).split("\n")
    assert max(map(shown_width, lines)) <= WIDTH
    assert [line.split()[-2] for line in lines[1:4]] == ["1.000", "0.500", "0.250"]
    assert shortened(LONG[1], 11) == "感情感情感…"


# --- help -------------------------------------------------------------------------------------------------------------


def help_of(script, monkeypatch, capsys, option="--help"):
    monkeypatch.setattr("utils.command_line.terminal_width", lambda stream: WIDTH)
    with pytest.raises(SystemExit) as left:
        importlib.import_module(script).main([option])
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_has_examples_first_then_groups_of_short_entries_with_defaults(script, monkeypatch, capsys):
    text = help_of(script, monkeypatch, capsys)
    assert max(map(len, text.splitlines())) <= WIDTH
    example, general = text.index(f"python {script}.py"), text.index("\ngeneral:\n")
    assert text.index("usage:") < example < general
    titles = re.findall(r"^(\S.*):$", text[general:], re.M)
    assert 2 <= len(titles) <= 8
    entries = re.split(r"\n  (?=-)", text[general:].split("\n\nEvery other field")[0])[1:]
    for entry in entries:
        meaning = re.sub(r"^-.*?(  +|\n|$)", "", entry.split("\n\n")[0], count=1)
        assert len(meaning.strip().splitlines()) in (1, 2, 3), entry
    long = [entry for entry in entries if len(entry.split("\n\n")[0].splitlines()) > 3]
    assert not long
    assert len(text.splitlines()) < 120


def test_help_shows_the_recipes_defaults_and_points_at_what_it_leaves_out(monkeypatch, capsys):
    text = " ".join(help_of("run_finetune", monkeypatch, capsys).split())
    assert "of every draw (default: 42)" in text
    assert "folder of the results (default: outputs/bert_base)" in text
    assert "--label_names VALUE" in text
    assert "--fsdp_config" not in text
    assert "transformers.TrainingArguments" in text
    everything = help_of("run_finetune", monkeypatch, capsys, "--help_all")
    assert "--fsdp_config" in everything
    assert everything.count("  --learning_rate ") == 1
    assert "that of the recipe and _audit" in " ".join(help_of("run_audit", monkeypatch, capsys).split())
    judging = help_of("run_audit", monkeypatch, capsys)
    assert not [name for name in ("taxonomy", "--teacher ", "unlabelled_file", "push_to_hub") if name in judging]
    assert with_default("a share", 0.5) == "a share (default: 0.5)"
    assert with_default("a share (default: half)", 0.5) == "a share (default: half)"
    assert with_default("a switch", False) == "a switch"


def test_a_printed_command_is_for_the_folder_in_which_its_user_is(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    python, *others = shlex.split(command("run_push.py", "my run", "--hub_model_id", "x"))
    assert others == ["run_push.py", "my run", "--hub_model_id", "x"]
    assert python == "python" or Path(python).samefile(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert shlex.split(command("run_push.py"))[1] == str(ROOT / "run_push.py")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert command("run_push.py").startswith("python ")
    tokens = ["--a", "1", "2", "--b=3", "--c", "--d", "4"]
    assert without_options(tokens, ("a", "c")) == ["--b=3", "--d", "4"]
