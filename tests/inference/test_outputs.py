"""An output belongs to one job at a time; what stands in its place is not replaced unasked, nor what is not a job's."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, with_project

import run_inference
from utils.console import InputError
from utils.inference import jobs, label_rows
from utils.locks import held
from utils.model import classifiers
from utils.run_folder import write_bytes

ROWS = 100


@pytest.fixture
def arguments(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(label_rows, "WINDOW", 16)
    monkeypatch.setattr(jobs, "WINDOW", 16)
    (tmp_path / "in.txt").write_text("".join(f"so happy {i}\n" for i in range(ROWS)))
    return ["--model", str(finished_run), "--precision", "fp32", "--use_cpu", "--input_file", str(tmp_path / "in.txt"),
            "--output_file", str(tmp_path / "out.jsonl")]  # fmt: skip


@pytest.fixture
def expected(arguments, tmp_path):
    """The bytes of a whole output, which is not there any more."""
    assert run_inference.main(arguments) == 0
    content = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").unlink()
    return content


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(arguments):
    with pytest.raises(InputError) as caught:
        run_inference.main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_output_is_replaced_only_when_asked(arguments, expected, tmp_path):
    (tmp_path / "out.jsonl").write_text("mine")
    before = contents(tmp_path)
    assert "out.jsonl exists already; give another name, or --overwrite_output to replace it." in refused(arguments)
    assert "it is finished, or another job's" in refused([*arguments, "--resume"])
    assert contents(tmp_path) == before
    assert run_inference.main([*arguments, "--overwrite_output"]) == 0
    assert contents(tmp_path) == before | {"out.jsonl": expected}


def test_a_job_that_was_to_replace_an_output_goes_on_without_being_asked_again(
    arguments, expected, tmp_path, monkeypatch
):
    (tmp_path / "out.jsonl").write_text("of another job")
    with monkeypatch.context() as patch:
        patch.setattr(jobs.PartFolder, "join", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_inference.main([*arguments, "--overwrite_output"])
    assert "exists already" in refused(arguments)
    assert run_inference.main([*arguments, "--resume"]) == 0
    assert contents(tmp_path).keys() == {"in.txt", "out.jsonl"}
    assert (tmp_path / "out.jsonl").read_bytes() == expected


def test_parts_of_an_earlier_job_are_replaced_when_asked(arguments, expected, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(jobs.PartFolder, "join", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_inference.main(arguments)
    assert "7 finished part(s) of an earlier run; go on with it (--resume), or start again" in refused(arguments)
    assert run_inference.main([*arguments, "--at_least_one", "--overwrite_output"]) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == ROWS


PART = "part-00000000-16-0.jsonl"


@pytest.mark.parametrize(
    "names",
    [["thesis.tex"], ["in.txt"], [PART], ["manifest.json"], [f"{PART}/chapter.tex"], ["a/b/c.csv", "manifest.json"],
     ["part-1.docx"], ["part-00000000-16-0.csv"]],
)  # fmt: skip
@pytest.mark.parametrize("option", [[], ["--resume"], ["--overwrite_output"]])
def test_a_folder_with_other_files_is_never_removed(arguments, tmp_path, names, option):
    for name in names:
        write_bytes(tmp_path / "out.jsonl.parts" / name, b'{"short_name": "somebody\'s"}')
    source = tmp_path / "out.jsonl.parts" / "in.txt"
    if source.is_file():
        arguments = [str(source) if value.endswith("in.txt") else value for value in arguments]
    before = contents(tmp_path)
    assert "holds other files than the parts of an unfinished output" in refused([*arguments, *option])
    assert contents(tmp_path) == before


def test_a_file_among_the_parts_of_a_job_is_not_removed_with_them(arguments, expected, tmp_path, monkeypatch):
    store = jobs.PartFolder.write
    monkeypatch.setattr(
        jobs.PartFolder, "write", lambda self, *part: (store(self, *part), (self.path / "mine.txt").write_text("mine"))
    )
    assert run_inference.main(arguments) == 0
    assert contents(tmp_path).keys() == {"in.txt", "out.jsonl", "out.jsonl.parts/mine.txt"}


def test_what_is_no_folder_of_parts_or_no_lock_is_not_touched(arguments, tmp_path):
    (tmp_path / "out.jsonl.parts").write_text("mine")
    assert "out.jsonl.parts is in the way" in refused(arguments)
    (tmp_path / "out.jsonl.parts").unlink()
    (tmp_path / "out.jsonl.lock").write_text("[metadata]\n")
    assert "out.jsonl.lock is in the way" in refused(arguments)
    assert (tmp_path / "out.jsonl.lock").read_text() == "[metadata]\n"


# --- two at once -----------------------------------------------------------------------------------------------------


def test_the_second_job_is_told_who_the_first_is(arguments, tmp_path):
    (tmp_path / "out.jsonl.lock").write_text('{"pid": 1, "host": "a machine that was killed"}')
    code = (
        "import sys; from pathlib import Path; from utils.locks import held\n"
        "with held(Path(sys.argv[1]), 'x'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "out.jsonl.lock"], cwd=ROOT, env=with_project(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "held\n"
        before = contents(tmp_path)
        said = refused([*arguments, "--overwrite_output"])
        assert re.search(rf"out.jsonl is being written by process {other.pid} on {os.uname().nodename}; wait", said)
        assert contents(tmp_path) == before
        other.kill()
    assert run_inference.main(arguments) == 0
    assert contents(tmp_path).keys() == {"in.txt", "out.jsonl"}


def test_a_file_system_without_locks_lets_everybody_pass(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with held(tmp_path / "x.lock", "x"):
        (tmp_path / "y").write_text("written")
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


# --- an input that changes while it is read --------------------------------------------------------------------------


def rewritten(path):
    path.write_text(path.read_text().replace("happy", "angry"))


def replaced(path):
    shutil.copy2(path, path.with_name("new"))
    os.replace(path.with_name("new"), path)


def grown(path):
    with path.open("a") as file:
        file.write("one more\n")


@pytest.mark.parametrize("change", [rewritten, replaced, grown, os.unlink])
@pytest.mark.parametrize("moment", ["first", "middle", "end"])
def test_an_input_that_changes_is_noticed_and_no_part_is_kept(
    arguments, expected, tmp_path, monkeypatch, change, moment
):
    """Before the first part, between two, and after the last one was classified."""
    given, classify, calls = tmp_path / "in.txt", label_rows.RowClassifier.classify, []

    def classify_and_change(self, prepared, progress):
        calls.append(len(prepared.rows))
        if len(calls) == {"first": 1, "middle": 4, "end": 7}[moment]:
            change(given)
        return classify(self, prepared, progress)

    with monkeypatch.context() as patch:
        patch.setattr(label_rows.RowClassifier, "classify", classify_and_change)
        said = refused(arguments)
    assert f"{given} was changed while it was read" in said
    assert contents(tmp_path).keys() <= {"in.txt"}
    if given.exists():
        assert run_inference.main([*arguments, "--resume"]) == 0
        rows = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert rows == given.read_text().splitlines()


def test_a_model_that_is_another_than_the_parts_say_is_noticed(arguments, finished_run, tmp_path, monkeypatch):
    model = shutil.copytree(finished_run, tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints"))
    load = classifiers.load_classifier

    def change_and_load(*options):
        os.utime(model / "model.safetensors", ns=(0, 0))
        return load(*options)

    monkeypatch.setattr(classifiers, "load_classifier", change_and_load)
    assert "model.safetensors was changed while it was read" in refused(["--model", str(model), *arguments[2:]])
    assert not (tmp_path / "out.jsonl.parts").exists()


def test_a_job_ends_with_what_it_has_done(arguments, finished_run, tmp_path, capsys):
    """Rows, the path, seconds, and how many rows got each label, the most frequent first."""
    (tmp_path / "in.txt").write_text("so happy today\n" * 30)
    command = ["--model", str(finished_run), "--input_file", str(tmp_path / "in.txt"), "--use_cpu", "--top_k", "1"]
    assert run_inference.main([*command, "--output_file", str(tmp_path / "sum.jsonl")]) == 0
    label = json.loads((tmp_path / "sum.jsonl").read_text().splitlines()[0])["labels"][0]
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"30 rows in .*sum\.jsonl, \d+\.\d s: {label} 30", said)
