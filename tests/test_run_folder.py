"""What a run's folder holds, and that a change of its model is made whole or not at all, whenever it is stopped."""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from conftest import refold, run_python, with_project
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification

import run_baseline
import run_compare
import run_export
import run_finetune
import run_push
from utils.console import InputError
from utils.locks import one_job
from utils.model import classifiers
from utils.model.classifiers import load_classifier
from utils.model.folding import CONFIG_KEY
from utils.model.loading import load_model
from utils.run_folder import FILES, PUBLISHED, Predictions, RunFolder, files_to_load, whole_file, write_bytes

TEXTS = ["so happy today", "this is disgusting", "ok", "thank you all so much"]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@one_job()
def opened(folder: Path, *inputs: Path, overwrite: bool = True, resume: bool = False) -> RunFolder:
    return RunFolder.create(str(folder), overwrite, resume, list(map(str, inputs)))


def fill(folder: Path, *names: str, content: bytes = b"") -> Path:
    for name in names:
        write_bytes(folder / name, content or name.encode())
    return folder


CHECKPOINT = "checkpoints/checkpoint-1/model.safetensors"
MINE = ("notes.txt", "checkpoints/mine.txt", "logs/slurm.out", "replaced/mine.txt", "plots/mine.csv")


def test_a_folder_that_holds_a_run_is_refused_or_replaced_by_a_new_one(tmp_path):
    fill(tmp_path, *MINE)
    run = opened(tmp_path, overwrite=False)
    run.begin()
    fill(tmp_path, "config.json", "vocab.txt", "README.md", "plots/old.png", CHECKPOINT, "logs/trackio/x.db")
    with pytest.raises(InputError, match="already holds a run") as caught:
        opened(tmp_path, overwrite=False)
    assert "--overwrite_output_dir" in str(caught.value)
    opened(tmp_path, overwrite=False, resume=True)
    before = everything(tmp_path)
    opened(tmp_path).begin()
    moved = {name: f"replaced/{name}" for name in (CHECKPOINT, "logs/trackio/x.db")}
    assert everything(tmp_path) == {moved.get(name, name): content for name, content in before.items()}
    fill(tmp_path, CHECKPOINT, content=b"of the new run")
    with run.replace() as folder:
        fill(folder, "config.json", content=b"new")
    mine = {name: name.encode() for name in MINE}
    assert everything(tmp_path) == mine | {
        "config.json": b"new", CHECKPOINT: b"of the new run", "run_begun.json": before["run_begun.json"]
    }  # fmt: skip
    assert not (tmp_path / "replaced" / "checkpoints").exists()


def test_a_run_that_was_to_replace_another_and_came_to_no_end_is_replaced_in_its_place(tmp_path):
    run = RunFolder(tmp_path)
    run.begin()
    fill(tmp_path, "config.json", CHECKPOINT, content=b"first")
    run.begin()
    fill(tmp_path, CHECKPOINT, content=b"second")
    run.begin()
    assert everything(tmp_path)[f"replaced/{CHECKPOINT}"] == b"first"
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("names", [["config.json", "model.safetensors", "tokenizer.json", "README.md"], ["run.json"],
                                   ["plots/mine.png"], ["trainer_state.json", "config.json"]])  # fmt: skip
def test_what_no_run_wrote_is_never_removed(tmp_path, names):
    """A base model, a dataset's card, a checkpoint of somebody's: under names that a run's files have, too."""
    before = everything(fill(tmp_path, *names, content=b"{}"))
    for overwrite in (True, False):
        with pytest.raises(InputError, match="says that a run of this project wrote that; give another folder"):
            opened(tmp_path, overwrite=overwrite)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("options", [{"overwrite": True}, {"overwrite": False}])
@pytest.mark.parametrize("own", [".", CHECKPOINT.rpartition("/")[0], "predictions/test.parquet"])
def test_a_run_does_not_replace_what_it_reads(tmp_path, own, options):
    """Its data, its base model, or a checkpoint of the run that it is to replace."""
    RunFolder(tmp_path).begin()
    before = everything(fill(tmp_path, "config.json", CHECKPOINT, "predictions/test.parquet"))
    with pytest.raises(InputError, match="which would be replaced; give another folder"):
        opened(tmp_path / "plots" / "..", tmp_path / own, **options)
    assert everything(tmp_path) == before
    opened(tmp_path, tmp_path / "data.csv", tmp_path.parent)


def test_a_run_of_an_earlier_version_is_known_by_its_record(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    (run / "run_begun.json").unlink()
    opened(run)
    (run / "run.json").unlink()
    with pytest.raises(InputError, match="give another folder"):
        opened(run)


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    fill(tmp_path, "notes.txt")
    with pytest.raises(InputError, match="is a file"):
        opened(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="cannot be made"):
        opened(tmp_path / "notes.txt" / "run")


def test_nothing_stays_of_a_run_that_was_refused_before_it_wrote_anything(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        run_baseline.main(["--dataset_name", str(tmp_path / "nowhere.csv"), "--output_dir", str(tmp_path / "a" / "b")])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="nowhere"):
        run_baseline.main(["--dataset_name", str(tmp_path / "nowhere.csv"), "--output_dir", str(tmp_path / "mine")])
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_the_table_knows_every_file_of_a_run_and_whom_it_concerns(finished_run, baseline_run):
    for run in (finished_run, baseline_run):
        left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
        for path in left:
            assert any(fnmatch(path, file.name) or path.startswith(f"{file.name}/") for file in FILES), path
    assert {"config.json", "model.safetensors", "thresholds.json", "README.md"} <= set(PUBLISHED)
    assert not [name for name in PUBLISHED if name.startswith(("predictions", "checkpoints", "run.json", "trainer"))]
    assert "model.safetensors" in files_to_load("torch", "fp32")
    assert "model.safetensors" not in files_to_load("onnx", "int8")
    assert [name for name in files_to_load("onnx", "int8") if name.startswith("onnx")] == ["onnx/model_quantized.onnx"]


def test_predictions_are_loaded_by_datasets_under_their_own_splits(finished_run):
    """`datasets` takes a file called `eval` for rows of the test split."""
    loaded = load_dataset(str(finished_run / "predictions"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"validation": 60, "test": 60}


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["joy", "anger"], ["joy", "anger"]),
        (["text", "labels"], ["label:text", "label:labels"]),
        (["label:text", "text", "scores", "label"], ["label:text", "label:label:text", "scores", "label"]),
        (["x\ny", "a|b", "😀", "a, b"], ["x\ny", "a|b", "😀", "a, b"]),
        (["only"], ["only"]),
    ],
)
def test_predictions_keep_texts_labels_and_probabilities_apart_whatever_labels_are_called(names, columns, tmp_path):
    rng = np.random.default_rng(0)
    gold = (rng.random((5, len(names))) < 0.5).astype(np.float32)
    probabilities = rng.random((5, len(names))).astype(np.float32)
    texts = [f"text {number}" for number in range(5)]
    run = RunFolder(tmp_path)
    run.write_predictions("test", names, Predictions(texts, gold, probabilities))
    table = pyarrow.parquet.read_table(tmp_path / "predictions" / "test.parquet")
    assert table.column_names == ["text", "labels", *columns]
    assert (table.schema.metadata is None) == (columns == names)  # without a clash, nothing but the columns
    read_names, read = run.read_predictions("test")
    assert (read_names, read.texts) == (names, texts)
    np.testing.assert_array_equal(read.gold, gold)
    np.testing.assert_array_equal(read.probabilities, probabilities)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_bytes(tmp_path / "a" / "b.txt", b"old")
    with pytest.raises(OSError, match="No space left"), whole_file(tmp_path / "a" / "b.txt") as file:
        (file.write(b"ne"), file.flush(), os.write(os.open("/dev/full", os.O_WRONLY), b"w"))
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"old"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


@pytest.mark.parametrize("missing", ["all_results.json", "thresholds.json", "example"])
def test_one_definition_of_finished(finished_run, missing, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    RunFolder(run).require_finished()
    if missing == "example":
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({key: value for key, value in record.items() if key != "example"}))
    else:
        (run / missing).unlink()
    for main, options in ((run_push.main, ["--hub_model_id", "x"]), (run_export.main, []), (run_compare.main, [])):
        with pytest.raises(InputError, match="is not a finished run: it has no"):
            main([str(run), *options])


# --- a change of the model, stopped at any moment ---------------------------------------------------------------------


def answers(folder: Path) -> np.ndarray:
    """Probabilities of the model in a folder."""
    return load_classifier(folder)[0].predict(TEXTS)


def model_files(folder: Path) -> dict[str, bytes]:
    """What decides in a folder, and the ONNX files that were made from it, by name."""
    names = ("config.json", "model.safetensors", "thresholds.json", "onnx/model.onnx", "onnx/model_quantized.onnx")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


@pytest.fixture(scope="module")
def small_run(finished_run, tmp_path_factory):
    """A finished run, folded, without its checkpoints, and with ONNX files to be replaced."""
    run = shutil.copytree(
        finished_run, tmp_path_factory.mktemp("runs") / "small", ignore=shutil.ignore_patterns("checkpoints", "plots")
    )
    for name in ("model.onnx", "model_quantized.onnx", "export.json"):
        write_bytes(run / "onnx" / name, b"old")
    return run


@pytest.fixture(scope="module")
def stopped(small_run, tmp_path_factory):
    """The folder of interrupted_change.py's copies, and the runs that they began as, by action."""
    unfolded = shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "unfolded")
    refold(unfolded, False)
    shutil.copytree(small_run / "onnx", unfolded / "onnx")
    scratch = tmp_path_factory.mktemp("stopped")
    done = run_python("tests/interrupted_change.py", small_run, unfolded, scratch)
    assert done.returncode == 0, done.stderr[-2000:]
    others = dict.fromkeys(("unfold", "calibrate", "export", "evaluate"), small_run)
    return scratch, {"fold": unfolded, **others}


def moments(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: int(path.name))


@pytest.mark.parametrize("how", ["kill", "full"])
@pytest.mark.parametrize("action", ["fold", "unfold", "calibrate", "export", "evaluate"])
def test_a_change_stopped_at_any_moment_leaves_the_old_model_or_the_new_one(stopped, action, how):
    scratch, started = stopped
    *interrupted, finished = moments(scratch / action / how)
    assert len(interrupted) >= 8
    old, new = model_files(started[action]), model_files(finished)
    weights = [files["model.safetensors"] for files in (old, new)]
    assert (weights[0] == weights[1]) == (action == "export")
    assert ("thresholds.json" in new) == (action != "calibrate")
    assert {"onnx/model.onnx", "onnx/model_quantized.onnx"} <= set(old)
    found = []
    for folder in interrupted:
        assert (folder / "model.safetensors").read_bytes() in weights  # as a client finds it that settles nothing
        load_classifier(folder)
        assert model_files(folder) in (old, new), folder.name
        assert not (folder / ".run_change").exists()
        found.append(model_files(folder) == new)
    assert True in found
    assert False in found
    if how == "kill":
        assert found == sorted(found)  # the old model up to one moment, the new one from then on
    assert (np.abs(answers(started[action]) - answers(finished)).max() > 0.01) == (action != "export")


@pytest.mark.parametrize("how", ["kill", "full"])
def test_an_evaluation_stopped_at_any_moment_leaves_all_of_the_old_run_or_all_of_the_new(stopped, how):
    """Not only the model: predictions, thresholds, scores, tables and the record of what was changed go together."""
    scratch, started = stopped
    *interrupted, finished = moments(scratch / "evaluate" / how)
    old, new = run_files(started["evaluate"]), run_files(finished)
    assert {"calibration.json", "uncalibrated/test.parquet"} <= set(new) - set(old)
    for name in ("thresholds.json", "all_results.json", "predictions/validation.parquet", "run.json"):
        assert old[name] != new[name]
    for folder in interrupted:
        load_classifier(folder)
        assert run_files(folder) in (old, new), folder.name


def run_files(folder: Path) -> dict[str, bytes]:
    """All files of a run by name, but the card, which is written after the change."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items()
            if name not in ("README.md", ".lock") and not name.startswith(".run_change.unfinished")}  # fmt: skip


@pytest.mark.parametrize("action", ["fold", "unfold"])
def test_the_command_that_was_stopped_ends_well_when_it_is_repeated(stopped, action):
    """Stopped in the middle and repeated, thresholds are taken out once, not twice and not never."""
    *interrupted, finished = moments(stopped[0] / action / "kill")
    for folder in interrupted:
        run = RunFolder(folder)
        run.require_finished()
        if run.read("thresholds.json")["folded"] != (action == "fold"):
            refold(folder, action == "fold")
        assert model_files(folder) == model_files(finished), folder.name


def test_folders_that_a_run_does_not_write_are_not_touched(small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    for name in ("pending", "plots", "onnx", ".run_change"):
        write_bytes(run / name / "mine.csv", b"mine")
    load_classifier(run)
    RunFolder(run).begin()
    (run / ".run_change" / "mine.csv").rename(run / "mine.csv")
    with RunFolder(run).replace():
        pass
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert left == {"run_begun.json", "mine.csv", *(f"{name}/mine.csv" for name in ("pending", "plots", "onnx"))}


@pytest.mark.parametrize("name", ["../thesis.txt", "{outside}", "mine.csv", "plots/../../thesis.txt", "plots"])
def test_a_folder_from_elsewhere_has_nothing_removed_that_no_run_wrote(small_run, tmp_path, name):
    """Whoever packs a model may also pack a change that was cut short, with a list of files to remove."""
    run, outside = shutil.copytree(small_run, tmp_path / "run"), tmp_path / "thesis.txt"
    outside.write_text("years of work")
    (run / "mine.csv").write_text("text\n")
    (run / ".run_change").mkdir()
    listed = [name.format(outside=outside), "calibration.csv"]
    (run / ".run_change" / "removed.json").write_text(json.dumps({"files": listed}))
    before = {path for path in tmp_path.rglob("*") if path.is_file() and ".run_change" not in path.parts}
    RunFolder(run).settle()
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert before - after == {run / "calibration.csv"}


def test_two_processes_do_not_change_a_run_at_the_same_time(small_run, tmp_path):
    run = RunFolder(shutil.copytree(small_run, tmp_path / "run"))
    before = model_files(run.path)
    code = (
        "import sys; from utils.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).change() as folder: (folder / 'config.json').write_text('{}')"
    )
    with run.change() as folder:
        (folder / "config.json").write_bytes(before["config.json"])
        done = run_python("-c", code, run)
        assert re.search(rf"{run} is being written by process {os.getpid()} on \S+; wait", done.stderr)
    assert model_files(run.path) == before
    assert run_python("-c", code, run).returncode == 0  # the lock went with the change


def test_several_processes_finish_the_same_change(small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    for name in ("config.json", "thresholds.json", "onnx/model.onnx"):
        write_bytes(run / ".run_change" / name, (run / name).read_bytes())
    write_bytes(run / ".run_change" / "removed.json", b'{"files": ["mistakes.csv"]}')
    code = "import sys; from utils.run_folder import RunFolder; RunFolder(sys.argv[1]).settle()"
    started = [subprocess.Popen([sys.executable, "-c", code, run], env=with_project()) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert model_files(run) == model_files(small_run)
    assert not (run / "mistakes.csv").exists()
    assert not (run / ".run_change").exists()


def test_a_model_that_changes_while_it_is_read_is_read_again(small_run, tmp_path, monkeypatch):
    """Unfolded between its thresholds and its weights, it would answer with the weights of one and the other's 0.5."""
    run = shutil.copytree(small_run, tmp_path / "run")
    load, loaded = classifiers.load_saved_model, []

    def unfold_and_load(name, *others):
        loaded.append(name)
        if len(loaded) == 1:
            refold(run, False)
        return load(name, *others)

    monkeypatch.setattr(classifiers, "load_saved_model", unfold_and_load)
    _, thresholds = load_classifier(run)
    assert thresholds.tolist() == list(json.loads((run / "thresholds.json").read_text())["thresholds"].values())


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: edit(run / "thresholds.json", folded=False), "config.json says that the thresholds are folded"),
        (lambda run: edit(run / "config.json", **{CONFIG_KEY: None}), "thresholds.json says that the thresholds are"),
        (
            lambda run: edit(
                run / "thresholds.json",
                thresholds=json.loads((run / "thresholds.json").read_text())["thresholds"] | {"joy": 0.9},
            ),
            "hold different thresholds",
        ),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(small_run, tmp_path, change, words):
    run = shutil.copytree(small_run, tmp_path / "run")
    change(run)
    for load in (load_classifier, lambda path: load_model(path, ["a", "b"])):
        with pytest.raises(InputError) as caught:
            load(str(run))
        assert "contradicts itself" in str(caught.value)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_model_is_read_from_disk_at_most_twice_in_a_whole_run(finetune_arguments, tmp_path, monkeypatch):
    """Calibrated, folded, exported and asked for its example: once to predict, once as a stranger would load it."""
    loaded = []
    original = AutoModelForSequenceClassification.from_pretrained.__func__

    def counting(cls, path, *arguments, **options):
        loaded.append(str(path))
        return original(cls, path, *arguments, **options)

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", classmethod(counting))
    options = ["--num_train_epochs", "1", "--calibration", "platt", "--export_onnx", "true"]
    run_finetune.main([*finetune_arguments, *options, "--output_dir", str(tmp_path / "run")])
    assert loaded.count(str(tmp_path / "run")) <= 2
    assert (tmp_path / "run" / "onnx" / "model.onnx").is_file()
