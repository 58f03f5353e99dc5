import json
import shutil
import signal

import pytest
from conftest import run_python
from safetensors.torch import load_file

import run_finetune
from utils.arguments import FinetuneArguments
from utils.console import InputError

# At a rate of zero no evaluation is better than the first.
NOTHING_LEARNED = ["--num_train_epochs", "6", "--learning_rate", "0", "--head_learning_rate", "0",
                   "--early_stopping_patience", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def stopped(finetune_arguments, tmp_path_factory):
    """Arguments and folder of a run that stops after the third of six epochs of 13 steps."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    arguments = [*finetune_arguments, *NOTHING_LEARNED]
    run_finetune.main([*arguments, "--output_dir", str(folder)])
    return arguments, folder


def trained_until(folder):
    state = json.loads((folder / "trainer_state.json").read_text())
    evaluations = [entry["epoch"] for entry in state["log_history"] if "eval_f1_micro" in entry]
    return state["global_step"], evaluations


def test_training_stops_when_nothing_gets_better(stopped):
    _, folder = stopped
    assert trained_until(folder) == (39, [1.0, 2.0, 3.0])
    assert json.loads((folder / "all_results.json").read_text())["epoch"] == 3.0


def test_what_gets_better_is_trained_to_its_end(finetune_arguments, tmp_path, capsys):
    options = ["--early_stopping_patience", "1", "--metric_for_best_model", "loss", "--learning_rate", "1e-4"]
    run_finetune.main([*finetune_arguments, *options, "--output_dir", str(tmp_path / "run")])
    assert trained_until(tmp_path / "run") == (26, [1.0, 2.0])
    assert "stopped at epoch" not in capsys.readouterr().out


@pytest.mark.parametrize("step", [14, 27])
def test_a_resumed_run_goes_on_waiting_where_it_was_killed(stopped, step, tmp_path, capsys):
    """Killed in the second and in the third epoch, after none and after one evaluation in vain."""
    arguments, whole = stopped
    folder = tmp_path / "killed"
    killed = run_python("tests/training/killed_run.py", "step", step, *arguments, "--output_dir", folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    run_finetune.main([*arguments, "--output_dir", str(folder), "--resume_from_checkpoint"])
    assert trained_until(folder) == trained_until(whole)
    assert "stopped at epoch 3.00 of 6, after 2 evaluation(s) without a better f1_micro" in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_run_that_had_stopped_is_not_trained_further_when_it_is_resumed(stopped, tmp_path):
    arguments, whole = stopped
    folder = shutil.copytree(whole, tmp_path / "again")
    run_finetune.main([*arguments, "--output_dir", str(folder), "--resume_from_checkpoint"])
    assert trained_until(folder) == (39, [1.0, 2.0, 3.0])
    weights, others = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all((weights[name] == others[name]).all() for name in weights)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"load_best_model_at_end": False}, "needs --eval_strategy epoch or steps, and --load_best_model_at_end true"),
        ({"eval_strategy": "no"}, "needs --eval_strategy epoch or steps"),
        ({"early_stopping_patience": 0}, "--early_stopping_patience is 0; accepted: 1 to 10000"),
    ],
)
def test_what_early_stopping_needs_is_said(options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        FinetuneArguments(str(tmp_path), **{"early_stopping_patience": 2} | options)
