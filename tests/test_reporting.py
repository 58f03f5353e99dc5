"""Logs for TensorBoard and its like: in the run's folder, with the final scores; or said beforehand why not."""

import os
import sys
from types import SimpleNamespace

import pytest
import transformers.integrations

import run_finetune
from utils.arguments import FinetuneArguments
from utils.console import InputError
from utils.run_folder import PUBLISHED, RunFolder, read_json

DIRECTORIES = ("TENSORBOARD_LOGGING_DIR", "TRACKIO_DIR", "WANDB_DIR")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in DIRECTORIES:
        monkeypatch.setenv(name, "")


def scalars(folder):
    """Tag → the values that TensorBoard shows, by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        events = EventAccumulator(str(path)).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((event.step, event.value) for event in events.Scalars(tag))
    return found


def test_tensorboard_gets_the_training_and_the_final_scores_in_the_runs_folder(finetune_arguments, tmp_path):
    run = tmp_path / "run"
    RunFolder(run).begin()
    (run / "logs" / "tensorboard").mkdir(parents=True)
    (run / "logs" / "tensorboard" / "of-an-earlier-run").write_text("old")
    arguments = [*finetune_arguments, "--report_to", "tensorboard", "--output_dir", str(run), "--overwrite_output_dir"]
    run_finetune.main(arguments)
    logged = scalars(run / "logs" / "tensorboard")
    assert [step for step, _ in logged["train/loss"]] == [13, 26]
    assert [step for step, _ in logged["eval/f1_micro"]] == [13, 26, 26]
    results = read_json(run / "all_results.json")
    for tag, key in (("eval/f1_micro", "eval_f1_micro"), ("test/f1_macro", "test_f1_macro")):
        assert logged[tag][-1] == (26, pytest.approx(results[key]))
    assert not (run / "logs" / "tensorboard" / "of-an-earlier-run").exists()
    assert not [name for name in PUBLISHED if name.startswith("logs")]
    assert "tensorboard" not in (run / "README.md").read_text()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"checkpoint-13", "checkpoint-26"}
    RunFolder(run).begin()
    with RunFolder(run).replace():
        pass
    assert [path.name for path in run.iterdir()] == ["run_begun.json"]


def test_reporting_changes_no_weight(finished_run, finetune_arguments, tmp_path):
    run_finetune.main([*finetune_arguments, "--report_to", "tensorboard", "--output_dir", str(tmp_path / "run")])
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (finished_run / "model.safetensors").read_bytes()


def test_every_reporter_is_told_the_runs_name_and_place(tmp_path):
    args = FinetuneArguments(str(tmp_path / "my_run"), report_to=["tensorboard"], use_cpu=True)
    for name in DIRECTORIES:
        assert os.environ[name].startswith(str(tmp_path / "my_run" / "logs"))
    assert args.for_trainer(tmp_path / "my_run" / "checkpoints").run_name == "my_run"
    assert args.run_name is None
    assert not (tmp_path / "my_run").exists()


def refused(available, *reporters, monkeypatch, tmp_path):
    monkeypatch.setattr(transformers.integrations, "get_available_reporting_integrations", lambda: list(available))
    with pytest.raises(InputError) as caught:
        FinetuneArguments(str(tmp_path), report_to=list(reporters), use_cpu=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_who_cannot_be_told_is_said_before_anything_is_loaded(monkeypatch, tmp_path):
    def sentence(available, *reporters):
        return refused(available, *reporters, monkeypatch=monkeypatch, tmp_path=tmp_path)

    assert "did you mean tensorboard?" in sentence([], "tensorbord")
    assert "accepted: none, all," in sentence([], "x")
    assert "`pip install trackio` brings it" in sentence(["tensorboard"], "tensorboard", "trackio")
    assert "`pip install comet-ml`" in sentence([], "comet_ml")


@pytest.mark.parametrize(
    ("mode", "login", "can_log"),
    [("online", False, False), ("offline", False, True), ("disabled", False, True), (None, True, True)],
)
def test_a_missing_login_is_one_sentence(mode, login, can_log, monkeypatch, tmp_path):
    wandb = SimpleNamespace(
        setup=lambda: SimpleNamespace(settings=SimpleNamespace(mode=mode)),
        login=lambda prompt, verify: login,
        errors=SimpleNamespace(Error=RuntimeError),
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    if can_log:
        monkeypatch.setattr(transformers.integrations, "get_available_reporting_integrations", lambda: ["wandb"])
        assert FinetuneArguments(str(tmp_path), report_to=["wandb"], use_cpu=True).report_to == ["wandb"]
    else:
        sentence = refused(["wandb"], "wandb", monkeypatch=monkeypatch, tmp_path=tmp_path)
        assert "has no login; run `wandb login`, set WANDB_API_KEY" in sentence
