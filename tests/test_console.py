"""What a terminal shows: nothing that texts, labels or servers say is obeyed by it."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, run_python, with_project

import run_inference
from utils.console import InputError, note, one_sentence_errors, say, table, visible
from utils.progress import Progress

HOSTILE = "\x1b[31mred\x07 \x9b2J \u202eabc \r\ud800"


def test_controls_are_shown_and_not_obeyed(capsys):
    say(HOSTILE)
    note(HOSTILE)
    Progress(shown=False).report(HOSTILE)
    print(table(HOSTILE, [HOSTILE], [0.5]))
    with pytest.raises(SystemExit), one_sentence_errors():
        raise InputError(HOSTILE)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not set("\x1b\x07\x9b\u202e\r\ud800") & set(text)
        assert "\\x1b[31mred\\x07" in text
    assert visible("tabs\tand\nlines, ünï 😀") == "tabs\tand\nlines, ünï 😀"


def test_a_terminal_in_latin_1_and_none_at_all(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    with one_sentence_errors():
        say("joy 😀 grün")
    stream.flush()
    assert stream.buffer.getvalue().decode("latin-1") == "joy \\U0001f600 grün\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        Exception("database or disk is full"),
    ],
)
def test_a_full_disk_is_one_sentence_whoever_writes(error, capsys):
    """As Python and Arrow, safetensors, torch and SQLite report it."""
    with pytest.raises(SystemExit) as caught, one_sentence_errors():
        raise error
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: No space left on device")


def test_answers_that_nobody_would_see_are_refused(baseline_run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="Standard output is closed"):
        run_inference.main(["--model", str(baseline_run), "so happy"])


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_is_one_sentence(error, capsys):
    with pytest.raises(SystemExit) as caught, one_sentence_errors():
        raise error
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: The memory does not suffice")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError), one_sentence_errors():
        raise KeyError("name")


@pytest.mark.parametrize("script", sorted(path.name for path in ROOT.glob("run_*.py")))
def test_a_missing_package_is_named_and_how_to_get_it(script):
    done = run_python("-S", "-E", script, "--help")  # -S: without what pip has installed
    assert done.returncode == 1
    assert re.match(r"error: The package \w+ is not installed for this Python", done.stderr)
    assert "pip install -r requirements.txt" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_is_refused():
    done = run_python("-c", "import sys; sys.version_info = (3, 10, 4); import utils.console")
    assert (done.returncode, done.stderr) == (1, "error: Python 3.10 found; 3.11 or newer is needed.\n")


def test_a_missing_file_of_ours_is_a_bug():
    done = run_python("-c", "import utils.console, utils.nothing")
    assert "Traceback" in done.stderr
    assert "No module named 'utils.nothing'" in done.stderr


@pytest.mark.parametrize("script", ["run_finetune.py", "run_baseline.py", "run_inference.py"])
def test_ctrl_c_is_one_sentence_while_libraries_are_imported(script, baseline_run, small_data, tmp_path):
    if not Path("/proc/self/maps").exists():
        pytest.skip("where a process is can be seen in /proc alone, which this system lacks")
    arguments = {
        "run_inference.py": ["--model", str(baseline_run), "so happy", "--output_file", str(tmp_path / "out.jsonl")],
    }.get(script, ["--dataset_name", str(small_data), "--output_dir", str(tmp_path / "out")])
    process = subprocess.Popen(
        [sys.executable, script, *arguments], cwd=ROOT, env=with_project(os.environ), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while process.poll() is None and "libtorch_cpu" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)
    while process.poll() is None:  # now and then a library swallows one
        process.send_signal(signal.SIGINT)
        time.sleep(2)
    _, said = process.communicate()
    assert process.returncode in (130, -signal.SIGINT)  # of which a shell makes 130
    assert said.splitlines() == ["error: Interrupted; checkpoints and finished files are kept."]
