import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from conftest import run_python
from datasets import ClassLabel, Dataset, Features, List, Value
from safetensors.torch import load_file
from torch.optim.lr_scheduler import LambdaLR
from transformers import BertConfig, BertModel, TrainerCallback

import run_finetune
from utils.arguments import DataArguments, FinetuneArguments
from utils.console import InputError
from utils.data.encoding import encode
from utils.data.splits import load_splits
from utils.evaluation.predict import predict_splits
from utils.model.head import head_parameters
from utils.model.loading import load_model, load_tokenizer
from utils.run_folder import RunFolder
from utils.training.batches import StepBatches
from utils.training.checkpoints import find_checkpoint, is_whole, mark_whole
from utils.training.progress import mean_training_loss
from utils.training.trainer import EmotionTrainer

TIMES = ("runtime", "per_second")


def without_times(results):
    return {key: value for key, value in results.items() if not any(word in key for word in TIMES)}


def results_of(folder):
    return json.loads((folder / "all_results.json").read_text())


QUIETLY = {"use_cpu": True, "disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no",
           "load_best_model_at_end": False}  # fmt: skip


# --- the loss, and the same weights from every layout ---------------------------------------------------------------


class GradientNorms(TrainerCallback):
    def __init__(self):
        self.norms = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "grad_norm" in logs:
            self.norms.append(logs["grad_norm"])


def three_steps(tiny_bert, demo, folder, batch, accumulated):
    """Loss and gradient norm of each of three optimiser steps of 8 comments, and the weights after them."""
    torch.manual_seed(0)
    names = demo["train"].features["labels"].feature.names
    tokenizer = load_tokenizer(str(tiny_bert))
    model, _ = load_model(str(tiny_bert), names)
    args = FinetuneArguments(
        str(folder), per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated, max_steps=3,
        learning_rate=1e-2, head_learning_rate=2e-2, max_seq_length=32, weight_decay=0.0, warmup_steps=0,
        train_sampling_strategy="random", logging_strategy="steps", logging_steps=1, precision="fp32", **QUIETLY,
    )  # fmt: skip
    rows = demo["train"].select(range(48))
    trainer = EmotionTrainer(model, args, rows, processing_class=tokenizer, callbacks=[norms := GradientNorms()])
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, norms.norms, model.state_dict()


def test_accumulation_changes_neither_loss_nor_gradient_nor_weights(tiny_bert, demo, tmp_path):
    losses, norms, weights = three_steps(tiny_bert, demo, tmp_path, batch=8, accumulated=1)
    assert 0.5 < losses[0] < 1  # the mean over comments and labels, near log 2 for a new classifier
    for batch, accumulated in ((2, 4), (4, 2)):
        other_losses, other_norms, other_weights = three_steps(tiny_bert, demo, tmp_path, batch, accumulated)
        assert other_losses == pytest.approx(losses, rel=1e-5)
        assert other_norms == pytest.approx(norms, rel=1e-4)
        for name, tensor in weights.items():
            torch.testing.assert_close(other_weights[name], tensor, rtol=1e-3, atol=2e-5)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, finetune_arguments):
    """The tiny run as two real processes × 8, started by accelerate launch."""
    folder = tmp_path_factory.mktemp("runs") / "two_processes"
    done = run_python(
        "-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate/two_cpu_processes.yaml",
        "run_finetune.py", *finetune_arguments, "--per_device_train_batch_size", "8", "--output_dir", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_two_processes_learn_what_one_learns(two_processes, finished_run):
    """200 comments in steps of 16: the last step of each epoch has 8, so uneven ends are part of it."""
    folder, _ = two_processes
    weights, others = load_file(finished_run / "model.safetensors"), load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=1e-5)
    norms = [sum(tensor.double().square().sum() for tensor in side.values()).sqrt() for side in (weights, others)]
    assert norms[0].item() == pytest.approx(norms[1].item(), rel=1e-7)
    for split in ("validation", "test"):  # each row once, in the dataset's order, with the same probabilities
        (_, one), (_, two) = (RunFolder(run).read_predictions(split) for run in (finished_run, folder))
        assert one.texts == two.texts
        assert (one.gold == two.gold).all()
        np.testing.assert_allclose(two.probabilities, one.probabilities, atol=1e-5)
    results, other_results = without_times(results_of(finished_run)), without_times(results_of(folder))
    for name in ("train_loss", "eval_loss", "test_loss", "epoch"):
        assert other_results[name] == pytest.approx(results[name], rel=1e-5)
    # Ranks and thresholds may flip on a last bit, where two of the 60 rows have all but the same probability.
    assert other_results == pytest.approx(results, abs=5e-3)


def test_the_first_line_says_how_many_processes_there_really_are(two_processes):
    first = next(line for line in two_processes[1].splitlines() if "process" in line)
    assert first.startswith("2 processes on cpu")
    assert "16 comments = 8 a batch × 1 accumulated × 2 processes" in first


@pytest.mark.parametrize("processes", [2, 3])
def test_each_row_is_predicted_once_and_in_order_by_any_number_of_processes(
    processes, finished_run, small_data, tmp_path
):
    done = run_python(
        "-m", "torch.distributed.run", f"--nproc_per_node={processes}", "tests/evaluation/predicting_process.py",
        finished_run, small_data, tmp_path / "together.npz", env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    _, alone = predict_splits(RunFolder(finished_run), load_splits(DataArguments(str(small_data))), "cpu")
    together = np.load(tmp_path / "together.npz")
    np.testing.assert_allclose(together["validation"], alone["validation"].probabilities, atol=1e-5)
    np.testing.assert_allclose(together["test"], alone["test"].probabilities[:2], atol=1e-5)


# --- batches --------------------------------------------------------------------------------------------------------


def batches(rows, batch, processes, accumulated=1, epoch=0, lengths=None, seed=7):
    """What each of `processes` ranks gets in an epoch."""
    result = []
    for process in range(processes):
        share = StepBatches(
            rows, batch, processes=processes, process=process, accumulated=accumulated, seed=seed, lengths=lengths
        )
        share.set_epoch(epoch)
        result.append(list(share))
    return result


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize(("rows", "processes"), [(48, 1), (50, 2), (53, 3)])
def test_every_row_is_trained_on_once_an_epoch(rows, processes, by_length):
    lengths = np.random.default_rng(0).integers(3, 60, rows).tolist() if by_length else None
    ranks = batches(rows, 4, processes, lengths=lengths)
    assert len({len(rank) for rank in ranks}) == 1
    assert sorted(row for rank in ranks for batch in rank for row in batch) == list(range(rows))


def test_fewer_rows_than_processes_at_the_end_leave_no_process_without_a_batch():
    ranks = batches(13, 4, 3)
    assert all(batch for rank in ranks for batch in rank)
    assert {row for rank in ranks for batch in rank for row in batch} == set(range(13))


@pytest.mark.parametrize("by_length", [False, True])
def test_a_step_has_the_same_rows_in_every_layout_and_each_epoch_another_order(by_length):
    lengths = np.random.default_rng(0).integers(3, 60, 64).tolist() if by_length else None
    one = batches(64, 16, 1, lengths=lengths)[0]
    two = batches(64, 8, 2, lengths=lengths)
    accumulated = batches(64, 4, 1, accumulated=4, lengths=lengths)[0]
    for step in range(4):
        assert set(one[step]) == set(two[0][step] + two[1][step])
        assert set(one[step]) == {row for batch in accumulated[4 * step : 4 * step + 4] for row in batch}
    assert one != batches(64, 16, 1, epoch=1, lengths=lengths)[0]


def test_batches_by_length_pad_less(demo, tiny_bert):
    lengths = encode(demo["train"], load_tokenizer(str(tiny_bert)), 64)["length"]
    lengths = list(lengths)

    def padding(order):
        return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in order)

    assert padding(batches(len(lengths), 16, 1, lengths=lengths)[0]) < 0.3 * padding(batches(len(lengths), 16, 1)[0])


# --- the head's learning rate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "sgd", "adafactor", "rmsprop", "adagrad"])
def test_the_head_has_its_own_rate_and_biases_do_not_decay(optim, tiny_bert, demo, tmp_path):
    model, _ = load_model(str(tiny_bert), ["a", "b"])
    args = FinetuneArguments(
        str(tmp_path), learning_rate=1e-4, head_learning_rate=3e-3, weight_decay=0.1, optim=optim, **QUIETLY
    )
    tokenizer = load_tokenizer(str(tiny_bert))
    trainer = EmotionTrainer(model, args, two_labels(demo), processing_class=tokenizer)
    groups = trainer.create_optimizer().param_groups
    of = {id(p): group for group in groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert {len(of), sum(len(group["params"]) for group in groups)} == {len(named)}
    for name, parameter in named.items():
        assert of[id(parameter)]["lr"] == (3e-3 if name in head_parameters(model) else 1e-4)
        assert (of[id(parameter)]["weight_decay"] > 0) == ("bias" not in name and "LayerNorm" not in name)


def two_labels(demo):
    names = ["a", "b"]
    columns = {"text": demo["train"]["text"][:32], "labels": [[i % 2] for i in range(32)]}
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
    return Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "rmsprop", "adagrad"])
def test_every_optimizer_of_transformers_trains_with_a_rate_for_the_head(optim, tiny_bert, demo, tmp_path):
    """A step at a rate of zero moves nothing: the head alone learns, whatever class of optimizer `optim` names."""
    model, _ = load_model(str(tiny_bert), ["a", "b"])
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    args = FinetuneArguments(
        str(tmp_path), learning_rate=0.0, head_learning_rate=1e-2, weight_decay=0.0, warmup_steps=0, max_steps=2,
        optim=optim, precision="fp32", **QUIETLY,
    )  # fmt: skip
    trainer = EmotionTrainer(model, args, two_labels(demo), processing_class=load_tokenizer(str(tiny_bert)))
    trainer.train()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == trainer.head
    assert isinstance(trainer.lr_scheduler.scheduler if hasattr(trainer.lr_scheduler, "scheduler")
                      else trainer.lr_scheduler, LambdaLR)  # fmt: skip


@pytest.mark.parametrize("optim", ["lomo", "adalomo", "galore_adamw_layerwise"])
def test_an_optimizer_with_one_rate_for_all_is_refused_with_a_rate_for_the_head(optim, tmp_path):
    with pytest.raises(InputError, match=f"--optim {optim} has one learning rate for all parameters"):
        FinetuneArguments(str(tmp_path), optim=optim, head_learning_rate=1e-3)


def test_arguments_are_the_same_after_a_training(tiny_bert, demo, tmp_path):
    """The Trainer keeps checkpoints in a folder of its own and pushes nothing, without the arguments being changed."""
    model, _ = load_model(str(tiny_bert), ["a", "b"])
    args = FinetuneArguments(
        str(tmp_path), max_steps=1, push_to_hub=True, hub_model_id="user/x", hub_private_repo=True, **QUIETLY
    )
    before = args.to_dict()
    trainer = EmotionTrainer(model, args, two_labels(demo), processing_class=load_tokenizer(str(tiny_bert)))
    trainer.train()
    assert args.to_dict() == before
    assert trainer.args.output_dir == str(tmp_path / "checkpoints")
    assert not trainer.args.push_to_hub


@pytest.mark.parametrize("strategy", ["random", "sequential", "group_by_length"])
def test_every_argument_of_the_dataloader_is_honoured(strategy, tiny_bert, demo, tmp_path):
    model, _ = load_model(str(tiny_bert), ["a", "b"])
    args = FinetuneArguments(
        str(tmp_path), per_device_train_batch_size=5, dataloader_num_workers=2, dataloader_persistent_workers=True,
        dataloader_prefetch_factor=3, dataloader_drop_last=True, dataloader_in_order=False,
        train_sampling_strategy=strategy, **QUIETLY,
    )  # fmt: skip
    loader = EmotionTrainer(
        model, args, two_labels(demo), processing_class=load_tokenizer(str(tiny_bert))
    ).get_train_dataloader()
    assert (loader.num_workers, loader.persistent_workers, loader.prefetch_factor) == (2, True, 3)
    assert not loader.in_order
    assert len(loader) == 6  # of 32 rows, two are left out
    order = [row for batch in loader.batch_sampler for row in batch]
    assert (order == sorted(order)) == (strategy == "sequential")


# --- interruption and resumption ------------------------------------------------------------------------------------

EVERY_FIVE_STEPS = ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", "5", "--eval_steps", "5",
                    "--save_total_limit", "3"]  # fmt: skip
LAYOUTS = {"steps": [*EVERY_FIVE_STEPS], "epochs": ["--train_sampling_strategy", "random"]}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, finetune_arguments, tiny_bert):
    """Arguments and folder of whole runs of 26 steps with dropout, checkpoints every 5 steps or every epoch of 13."""
    model = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("dropout") / "model")
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    (model / "config.json").write_text(json.dumps(config))
    runs = {}
    for layout, options in LAYOUTS.items():
        folder = tmp_path_factory.mktemp("runs") / layout
        arguments = [*finetune_arguments, *options, "--model_name_or_path", str(model)]
        run_finetune.main([*arguments, "--output_dir", str(folder)])
        runs[layout] = (arguments, folder)
    return runs


@pytest.mark.parametrize(
    ("layout", "when", "count", "resumed_from"),
    [
        ("steps", "step", 18, 15),
        ("steps", "checkpoint", 3, 10),
        ("epochs", "step", 14, 13),
        ("epochs", "checkpoint", 2, 13),
    ],
)
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    uninterrupted, tmp_path, layout, when, count, resumed_from, capsys
):
    arguments, whole = uninterrupted[layout]
    folder = tmp_path / "killed"
    killed = run_python("tests/training/killed_run.py", when, count, *arguments, "--output_dir", folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert not (folder / "model.safetensors").exists()
    assert find_checkpoint("true", RunFolder(folder)).endswith(f"checkpoint-{resumed_from}")
    if when == "checkpoint":
        assert "is incomplete" in capsys.readouterr().out

    run_finetune.main([*arguments, "--output_dir", str(folder), "--resume_from_checkpoint"])
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (folder / "thresholds.json").read_bytes() == (whole / "thresholds.json").read_bytes()
    assert without_times(results_of(folder)) == without_times(results_of(whole))


def test_a_checkpoint_with_a_shortened_or_missing_file_is_not_whole(uninterrupted, tmp_path):
    newest = find_checkpoint("true", RunFolder(uninterrupted["steps"][1]))
    for damage in (lambda f: f.write_bytes(f.read_bytes()[:-1]), lambda f: f.unlink()):
        copy = shutil.copytree(newest, tmp_path / "copy", dirs_exist_ok=True)
        assert is_whole(copy)
        damage(copy / "optimizer.pt")
        assert not is_whole(copy)


def test_a_checkpoint_that_is_written_a_second_time_is_whole(uninterrupted, tmp_path):
    copy = shutil.copytree(find_checkpoint("true", RunFolder(uninterrupted["steps"][1])), tmp_path / "copy")
    (copy / "trainer_state.json").write_text("longer " * 1000)
    assert not is_whole(copy)
    mark_whole(copy)
    assert is_whole(copy)
    mark_whole(copy)
    assert is_whole(copy)


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(InputError, match="holds no complete checkpoint"):
        find_checkpoint("true", RunFolder(tmp_path))
    with pytest.raises(InputError, match="not a checkpoint folder"):
        find_checkpoint(str(tmp_path), RunFolder(tmp_path))
    assert find_checkpoint(None, RunFolder(tmp_path)) is None


# --- resumed with something else ------------------------------------------------------------------------------------


@pytest.fixture
def copied_run(finished_run, tmp_path):
    """A copy of the finished run with its checkpoints of steps 13 and 26."""
    return shutil.copytree(finished_run, tmp_path / "run")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_other_labels(small_data, folder, names):
    """The same rows, with `names` in place of the first emotions."""
    shutil.copytree(small_data, folder)
    emotions = (folder / "emotions.txt").read_text().split()
    for path in folder.glob("*"):
        text = path.read_text()
        for old, new in zip(emotions, names, strict=False):
            text = text.replace(old, new)
        path.write_text(text)
    return str(folder)


def otherwise(kind, small_data, tiny_bert, finished_run, tmp_path):
    """Arguments that differ from the finished run's, and what a refusal has to name."""
    if kind == "labels":
        return ["--dataset_name", with_other_labels(small_data, tmp_path / "data", ["awe"])], (
            r"dataset .*small_data0 \(sha256 \w{8}…\) then, .*data \(sha256 \w{8}…\) now; "
            "label_names admiration then, awe now"
        )
    if kind == "rows":
        folder = shutil.copytree(small_data, tmp_path / "data")
        train = (folder / "train.csv").read_text().splitlines(keepends=True)
        (folder / "train.csv").write_text("".join(train[:-1]))
        return ["--dataset_name", str(folder)], r"\(dataset [^;]* then, [^;]* now\)"
    if kind == "corrections":
        text = (small_data / "train.csv").read_text().splitlines()[1].rsplit(",", 1)
        path = tmp_path / "c.csv"
        given, other = text[1], "grief" if text[1] != "grief" else "joy"
        rows = f"train,train.csv line 2,{text[0]},{given},{other}\n"
        path.write_text(f"split,place,text,labels,corrected_labels\n{rows}")
        return [
            "--corrections",
            str(path),
        ], r"\(dataset \S+ \(sha256 \w+…\) then, \S+ with c\.csv \(sha256 \w+…\) now\)"
    if kind == "model":
        folder = shutil.copytree(tiny_bert, tmp_path / "bert")
        torch.manual_seed(1)
        BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
        return ["--model_name_or_path", str(folder)], r"\(model_name_or_path \S+ \(sha256 [^;]* now\)"
    if kind == "teacher":
        return ["--teacher", str(finished_run)], r"\(teacher: 0 then \(none\), 1 now \(.*finished"
    name = kind.replace("per_device_train_batch_size", "batch_of_a_step")
    return [f"--{kind}", OTHER_VALUES[kind]], rf"\({name} \S+ then, {OTHER_VALUES[kind]} now[;)]"


OTHER_VALUES = {
    "learning_rate": "0.002", "head_learning_rate": "0.05", "seed": "1", "per_device_train_batch_size": "8",
    "max_train_samples": "150", "max_eval_samples": "50", "max_seq_length": "16", "pooling": "mean",
    "init_head_bias": "False", "weight_decay": "0.02", "lr_scheduler_type": "cosine", "warmup_steps": "0.2",
    "train_sampling_strategy": "random", "metric_for_best_model": "loss", "class_weights": "balanced",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["labels", "rows", "corrections", "model", "teacher", *OTHER_VALUES])
def test_a_run_is_not_resumed_with_something_else_and_stays_as_it_is(
    kind, copied_run, small_data, tiny_bert, finished_run, finetune_arguments, tmp_path
):
    before = contents(copied_run)
    options, named = otherwise(kind, small_data, tiny_bert, finished_run, tmp_path)
    with pytest.raises(InputError, match=f"it has learned from something else .*{named}") as caught:
        run_finetune.main([*finetune_arguments, *options, "--output_dir", str(copied_run), "--resume_from_checkpoint"])
    assert "\n" not in str(caught.value)
    assert contents(copied_run) == before


def test_more_epochs_and_other_places_are_allowed(
    copied_run, small_data, tiny_bert, finetune_arguments, tmp_path, capsys
):
    """Data, model, checkpoint and output lie elsewhere, a step's batch is made up otherwise, and saving is rarer."""
    data = shutil.copytree(small_data, tmp_path / "moved data")
    model = shutil.copytree(tiny_bert, tmp_path / "moved model")
    checkpoint = copied_run / "checkpoints" / "checkpoint-13"
    before = contents(copied_run)
    run_finetune.main([
        *finetune_arguments, "--dataset_name", str(data), "--model_name_or_path", str(model), "--output_dir",
        str(tmp_path / "longer"), "--resume_from_checkpoint", str(checkpoint), "--num_train_epochs", "3",
        "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2", "--save_total_limit", "1",
        "--per_device_eval_batch_size", "16", "--fold_thresholds", "false", "--threshold_strategy", "global",
    ])  # fmt: skip
    assert results_of(tmp_path / "longer")["epoch"] == 3
    assert contents(copied_run) == before
    (best,) = (tmp_path / "longer" / "checkpoints").glob("checkpoint-*")  # of two epochs that score alike, either one
    origin = json.loads((best / "learned_from.json").read_text())
    assert origin == json.loads((checkpoint / "learned_from.json").read_text()) | {
        key: {"name": str(place), "sha256": origin[key]["sha256"]}
        for key, place in (("dataset", data), ("model_name_or_path", model))
    }


def test_a_checkpoint_of_an_earlier_version_is_trusted_with_its_own_labels_only(
    copied_run, small_data, finetune_arguments, tmp_path, capsys
):
    for checkpoint in (copied_run / "checkpoints").iterdir():
        for name in ("learned_from.json", "complete.json"):
            (checkpoint / name).unlink()
        mark_whole(checkpoint)
    arguments = [*finetune_arguments, "--output_dir", str(copied_run), "--resume_from_checkpoint"]
    two = tmp_path / "two"
    two.mkdir()
    for split in ("train", "validation"):
        (two / f"{split}.csv").write_text("text,labels\n" + "parcel lost,late\nmoney back,refund\n" * 10)
    before = contents(copied_run)
    for data in (with_other_labels(small_data, tmp_path / "renamed", ["awe"]), str(two)):
        with pytest.raises(InputError, match=r"something else \(label_names.* now"):
            run_finetune.main([*arguments, "--dataset_name", data])
        assert contents(copied_run) == before
    capsys.readouterr()
    run_finetune.main(arguments)
    assert capsys.readouterr().out.count("was written by an earlier version") == 1


def test_an_incomplete_checkpoint_is_refused_by_its_path_too(copied_run):
    checkpoint = copied_run / "checkpoints" / "checkpoint-26"
    (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="the checkpoint is incomplete"):
        find_checkpoint(str(checkpoint), RunFolder(copied_run))


def test_another_run_is_not_replaced_by_one_that_is_resumed_from_elsewhere(
    copied_run, finished_run, finetune_arguments
):
    """Only `--overwrite_output_dir` replaces a run."""
    before = contents(copied_run)
    checkpoint = str(finished_run / "checkpoints" / "checkpoint-13")
    with pytest.raises(InputError, match="already holds a run"):
        run_finetune.main(
            [*finetune_arguments, "--output_dir", str(copied_run), "--resume_from_checkpoint", checkpoint]
        )
    assert contents(copied_run) == before


def test_a_run_is_replaced_only_when_the_new_one_begins(
    copied_run, baseline_run, small_data, finetune_arguments, tmp_path
):
    """Not by one whose teacher, the last thing that is looked at, knows other labels."""
    before = contents(copied_run)
    data = with_other_labels(small_data, tmp_path / "data", ["awe"])
    arguments = [*finetune_arguments, "--output_dir", str(copied_run), "--overwrite_output_dir"]
    with pytest.raises(InputError, match="knows other labels"):
        run_finetune.main([*arguments, "--dataset_name", data, "--teacher", str(baseline_run)])
    assert contents(copied_run) == before
    run_finetune.main(arguments)
    after = contents(copied_run)
    assert set(after) == set(before)
    assert after["model.safetensors"] == before["model.safetensors"]


def test_mean_training_loss_weighs_log_entries_by_their_steps():
    history = [{"loss": 1.0, "step": 10, "epoch": 0.5}, {"eval_loss": 9.0, "step": 10, "epoch": 0.5},
               {"loss": 0.5, "step": 40, "epoch": 2.0}]  # fmt: skip
    assert mean_training_loss(history) == pytest.approx((1.0 * 10 + 0.5 * 30) / 40)
    assert mean_training_loss(history, since=1.0) == 0.5
