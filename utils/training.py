"""The Trainer, with what multi-label fine-tuning needs added: see `EmotionTrainer`."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.trainer_utils import TrainOutput

from utils.console import InputError, say
from utils.export import remove_onnx
from utils.head import head_parameters

COMPLETE_FILE = "complete.json"  # written last; lists the checkpoint's files with their sizes


class StepBatches(Sampler):
    """This process's share of every batch, drawn from one order that all processes and a resumed run agree on.

    The order is a function of seed and epoch alone, and each group of `batch_size × num_processes` rows is split
    evenly over the processes, the last, smaller one too. So the rows of each optimiser step are the same for every
    layout with the same total batch size, no row is trained on twice in an epoch to even things out (unless there are
    fewer left than processes), and a run that continues in mid-epoch needs no sampler state.
    """

    def __init__(self, trainer: Trainer, lengths: list[int] | None):
        self.trainer, self.lengths = trainer, lengths
        args = trainer.args
        self.processes, self.rank = args.world_size, args.process_index
        self.group = args.train_batch_size * args.world_size
        self.step = self.group * args.gradient_accumulation_steps
        self.seed = args.data_seed if args.data_seed is not None else args.seed
        self.rows = len(trainer.train_dataset)
        self.drop_last = args.dataloader_drop_last

    def __len__(self) -> int:
        return self.rows // self.group if self.drop_last else -(-self.rows // self.group)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = int(self.trainer.state.epoch or 0)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        if self.lengths is None:
            order = torch.randperm(self.rows, generator=generator).tolist()
        else:
            order = get_length_grouped_indices(self.lengths, self.step, generator=generator)
        for index in range(len(self)):
            group = order[index * self.group : (index + 1) * self.group]
            group += order[: max(0, self.processes - len(group))]
            yield group[self.rank * len(group) // self.processes : (self.rank + 1) * len(group) // self.processes]


class EmotionTrainer(Trainer):
    """`Trainer` with a learning rate for the head, layout-independent batches and checkpoints known to be whole.

    - The classifier starts from nothing while the encoder only adapts: `head_learning_rate` is its own rate.
    - Training batches come from `StepBatches`, by similar length where `train_sampling_strategy` says so.
    - A checkpoint counts as whole once `complete.json` stands in it; `newest_checkpoint` passes over the others.
    """

    def __init__(self, *args, head_learning_rate: float | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.head_learning_rate = head_learning_rate
        self.head = head_parameters(self.accelerator.unwrap_model(self.model))  # known before a checkpoint is loaded
        self._started, self._before = 0.0, None

    def train(self, *args, **kwargs) -> TrainOutput:
        """As in the Trainer; log entries also carry `seconds` of training, those before a resumption included."""
        self._started, self._before = time.perf_counter(), None
        return super().train(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._before is None:
            self._before = max((entry.get("seconds", 0.0) for entry in self.state.log_history), default=0.0)
        super().log(logs | {"seconds": self._before + time.perf_counter() - self._started}, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW (or what `optim` says) over encoder and head, each with and without weight decay."""
        if self.optimizer is None and self.head_learning_rate is not None:
            model = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(model))
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    name = name.removeprefix("module.")
                    groups.setdefault((name in self.head, name in decayed), []).append(parameter)
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = kind(
                [
                    {
                        "params": parameters,
                        "lr": self.head_learning_rate if is_head else self.args.learning_rate,
                        "weight_decay": self.args.weight_decay if is_decayed else 0.0,
                    }
                    for (is_head, is_decayed), parameters in groups.items()
                ],
                **options,
            )
        return super().create_optimizer(model)

    def get_train_dataloader(self) -> DataLoader:
        by_length = self.args.train_sampling_strategy == "group_by_length"
        batches = StepBatches(self, list(self.train_dataset["length"]) if by_length else None)
        return DataLoader(
            self._remove_unused_columns(self.train_dataset, description="training"),
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
        )

    def _get_eval_sampler(self, eval_dataset: Dataset) -> SequentialSampler:
        # With group_by_length the Trainer would shuffle evaluation too, and predictions would lose their rows.
        return SequentialSampler(eval_dataset)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
            unfinished = folder / f"{COMPLETE_FILE}.unfinished"
            unfinished.write_text(json.dumps(sizes))
            os.replace(unfinished, folder / COMPLETE_FILE)


class LogAtCheckpoints(TrainerCallback):
    """Log the training loss whenever a checkpoint is written, so that no part of it is lost when a run resumes."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= control.should_save

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_log |= control.should_save


class Progress(ProgressCallback):
    """The Trainer's progress bar (rate, time left), with one table row an evaluation instead of raw dictionaries."""

    HEADER = " epoch   training loss   validation loss   micro-F1 at 0.5   micro-F1 at its best cut (cut)"

    def on_log(self, args, state, control, logs=None, **kwargs):
        pass

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            # In a log file the bar would be a line a step: one every half minute is enough there.
            interval = 0.1 if sys.stderr.isatty() else 30
            self.training_bar = tqdm(total=state.max_steps, unit="step", dynamic_ncols=True, mininterval=interval)
            self.training_bar.update(state.global_step)
            self.training_bar.write(self.HEADER)
        self.current_step = state.global_step

    def on_prediction_step(self, args, state, control, **kwargs):
        pass

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if self.training_bar is not None and metrics and "eval_f1_micro" in metrics:
            loss = mean_training_loss(state.log_history, since=(state.epoch or 0) - 1)
            at_half, best, cut = (metrics[f"eval_{key}"] for key in ("f1_micro_at_0.5", "f1_micro", "threshold"))
            self.training_bar.write(
                f"{state.epoch or 0:6.2f}   {loss:13.4f}   {metrics['eval_loss']:15.4f}   {at_half:15.4f}   "
                f"{best:24.4f} ({cut:.2f})"
            )

    def on_train_end(self, args, state, control, **kwargs):
        if self.training_bar is not None:
            evaluating = sum(entry.get("eval_runtime", 0.0) for entry in state.log_history)
            seconds = max((entry.get("seconds", 0.0) for entry in state.log_history), default=0.0)
            self.training_bar.write(
                f"{seconds / 60:.1f} minutes, {evaluating / max(seconds, 1e-9):.1%} of it evaluation"
            )
        super().on_train_end(args, state, control, **kwargs)


def mean_training_loss(log_history: list[dict], since: float = -1.0) -> float:
    """Mean loss per optimiser step over the whole run, or over the steps after epoch `since`; nan without steps.

    Unlike the Trainer's own `train_loss`, it also counts the steps before a run was resumed.
    """
    total, steps, previous = 0.0, 0, 0
    for entry in log_history:
        if "loss" in entry:
            if entry["epoch"] > since + 1e-9:
                total += entry["loss"] * (entry["step"] - previous)
                steps += entry["step"] - previous
            previous = entry["step"]
    return total / steps if steps else float("nan")


def training_summary(trainer: EmotionTrainer) -> dict[str, float]:
    """Epochs, loss and speed of the whole training, however often it was interrupted."""
    history, epochs = trainer.state.log_history, trainer.state.epoch or 0.0
    seconds = max((entry.get("seconds", 0.0) for entry in history), default=0.0)
    return {
        "epoch": epochs,
        "train_loss": mean_training_loss(history),
        "train_runtime": round(seconds, 2),
        "train_samples_per_second": round(epochs * len(trainer.train_dataset) / max(seconds, 1e-9), 2),
    }


def make_trainer(
    model: nn.Module, args: TrainingArguments, run_dir: Path, head_learning_rate: float | None, **kwargs
) -> EmotionTrainer:
    """An `EmotionTrainer` that keeps its checkpoints in `run_dir`/checkpoints and writes nothing else."""
    args.output_dir = str(run_dir / "checkpoints")
    trainer = EmotionTrainer(model, args, head_learning_rate=head_learning_rate, **kwargs)
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    for callback in (LogAtCheckpoints, Progress):
        trainer.add_callback(callback)
    return trainer


def find_checkpoint(resume: str | None, run_dir: Path) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` means: a path, or the newest whole one of this folder."""
    if resume is None or str(resume).lower() == "false":
        return None
    if str(resume).lower() != "true":
        if not (Path(resume) / "trainer_state.json").is_file():
            raise InputError(
                f"--resume_from_checkpoint {resume}: not a checkpoint folder (it has no trainer_state.json)."
            )
        return str(resume)
    numbered = [(int(match[1]), path) for path in (run_dir / "checkpoints").glob("checkpoint-*")
                if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))]  # fmt: skip
    for _, path in sorted(numbered, reverse=True):
        if is_whole(path):
            return str(path)
        say(f"{path} is incomplete (the run was stopped while writing it); it is passed over.")
    raise InputError(
        f"--resume_from_checkpoint: {run_dir / 'checkpoints'} holds no complete checkpoint; give its path, or start "
        "the run again with --overwrite_output_dir."
    )


def is_whole(checkpoint: Path) -> bool:
    """True if every file stands in the checkpoint at the size it was written with."""
    try:
        sizes = json.loads((checkpoint / COMPLETE_FILE).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def save_model(trainer: EmotionTrainer, run_dir: Path) -> None:
    """Write model and tokenizer as a Hub repository has them, and the Trainer's log history beside them."""
    if trainer.args.should_save:
        remove_onnx(run_dir)  # of the run that is being resumed
    trainer.save_model(str(run_dir))
    if trainer.args.should_save:
        (run_dir / "training_args.bin").unlink(missing_ok=True)  # a pickle; run.json says the same in the open
        trainer.state.save_to_json(str(run_dir / "trainer_state.json"))
    trainer.accelerator.wait_for_everyone()


def leave_together() -> None:
    """Wait until every process has come here, then close the process group.

    A process that left while the main one still writes results would have the launcher end them all.
    """
    state = PartialState()
    if state.num_processes > 1:
        state.wait_for_everyone()
        state.destroy_process_group()


def layout(args: TrainingArguments) -> str:
    """One sentence: processes, device, precision, and what makes up the batch of one optimiser step."""
    state = PartialState()
    device = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else args.device.type
    precision = "bf16 autocast" if args.bf16 else "fp16 autocast" if args.fp16 else "fp32"
    batch, steps = args.train_batch_size, args.gradient_accumulation_steps
    processes = f"{state.num_processes} process{'es' if state.num_processes > 1 else ''}"
    return (
        f"{processes} on {device} ({torch.get_num_threads()} CPU threads each), {precision}; a step takes "
        f"{batch * steps * state.num_processes} comments = {batch} a batch × {steps} accumulated × {processes}."
    )
