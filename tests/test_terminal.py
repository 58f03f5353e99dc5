"""What scripts say in a terminal of 80 columns: no line is wider, and what is printed as a command can be pasted."""

import csv
import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios

import pytest
import wcwidth
import yaml
from conftest import ROOT, with_project
from hub_server import serve

SCRIPTS = sorted(path.stem for path in ROOT.glob("run_*.py"))
WIDTH = 80
LONG = ["a label of sixty signs, which somebody has written in full", "感情" * 30, "short"]


def in_a_terminal(commands, folder, environment, columns=WIDTH, timeout=300):
    """What a terminal of that width is sent while these commands run, one after the other, in `folder`."""
    (folder / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "in_a_terminal.py"), "commands.json"],
        cwd=folder, env=with_project(environment), stdin=side, stdout=side, stderr=side,
    )  # fmt: skip
    os.close(side)
    sent = b""
    try:
        while True:
            try:
                piece = os.read(main, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            sent += piece
        assert process.wait(timeout) == 0, sent.decode()[-2000:]
    finally:
        process.kill()
        os.close(main)
    return sent.decode()


def physical_lines(said):
    """What stands on each line of the terminal, also where a bar has been drawn over it."""
    return [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", said)]


def printed_commands(said):
    """The commands in what a script has said, each as its pieces, without the Python that runs it."""
    joined = said.replace("\r\n", "\n").replace(" \\\n", " ")
    return [shlex.split(found[1]) for found in re.finditer(r"^.*?\S*python[\d.]* (\S*run_\w+\.py .*)$", joined, re.M)]


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
        "run_evaluate": [["runs/one", "--threshold_strategy", "per_label"], ["runs/one", "--set_threshold", "shirt=0.4"]],
        "run_export": [["runs/one"]],
        "run_push": [["runs/one", "--hub_model_id", "one", "--hub_space_id", "one-demo"]],
        "run_inference": [["--model", "runs/one", "so happy 感情 " * 20, "--top_k", "3", "--explain"],
                          ["--model", "runs/one", "--input_file", "texts.csv", "--output_file", "out.csv"]],
        "run_corpus": [["--model", "runs/one", "--input", "many", "--output", "labels", "--workers", "1",
                        "--precision", "fp32"]],
    }  # fmt: skip
    assert sorted(given) == SCRIPTS
    commands = [[script, *arguments] for script, lists in given.items() for arguments in lists]
    commands += [[script, "--help"] for script in SCRIPTS]
    with serve() as hub:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "COLUMNS"))}
        environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": "writer", "HF_HUB_DISABLE_XET": "1",
                        "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
        said = in_a_terminal(commands, tmp_path, environment)
    (tmp_path / "said").write_text(said)
    # A command's path to this folder and a Hub's address are as long as they are; what is longer was not folded.
    wide = [line for line in physical_lines(said) if wcwidth.width(line.replace(str(ROOT), "")) > WIDTH
            and not line.startswith(hub.url)]  # fmt: skip
    assert not wide, "\n".join(wide)
    ended = re.findall(r"=== (\w+) \d+\r\n(?:(?!=== ).*\n)*?=== ended (\w+)", said)
    assert ended == [("run_finetune", "2"), ("run_evaluate", "2")] + [(script, "0") for script in SCRIPTS]
