"""The Trainer, with what multi-label fine-tuning needs added: see `EmotionTrainer`."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import (
    DataCollator,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
)
from transformers.trainer_utils import TrainOutput, seed_worker

from utils.arguments import FinetuneArguments
from utils.console import InputError
from utils.data.encoding import encode, shortest_first
from utils.evaluation.scores import compute_metrics as threshold_sweep
from utils.model.head import head_parameters
from utils.model.saved_tokenizer import forget_use, name_for_all
from utils.run_folder import CHECKPOINTS, LOGS, STATE_FILE, RunFolder
from utils.training.attention import EagerWhileTraining
from utils.training.batches import StepBatches
from utils.training.checkpoints import mark_whole
from utils.training.distillation import mix_in_teachers, with_unlabelled
from utils.training.dropout import QuickenDropout
from utils.training.losses import balanced_weights, multilabel_loss
from utils.training.progress import EarlyStopping, LogAtCheckpoints, TrainingTable, mean_training_loss


class EmotionTrainer(Trainer):
    """`Trainer` for comments with several labels.

    - Datasets with `text` and `labels` are tokenised, and targets softened by `args.teacher` where it names runs, which
      also answer texts without labels.
    - The loss is exact for every layout of batches (`multilabel_loss`), its positives weighed as `args.class_weights`
      says, and each evaluation sweeps the thresholds.
    - The classifier starts from nothing while the encoder only adapts: `args.head_learning_rate` is its own rate.
    - Training batches come from `StepBatches`, by similar length where `train_sampling_strategy` says so.
    - Checkpoints are kept in `args.output_dir`/checkpoints, each known to be whole, and what `args.report_to` writes in
      `args.output_dir`/logs; nothing is pushed.
    """

    args: FinetuneArguments
    model: nn.Module
    train_dataset: Dataset

    def __init__(
        self,
        model: PreTrainedModel | None,
        args: FinetuneArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        *,
        processing_class: PreTrainedTokenizerBase,
        data_collator: DataCollator | None = None,
        compute_loss_func: Callable | None = multilabel_loss,
        compute_metrics: Callable | None = threshold_sweep,
        callbacks: Sequence[TrainerCallback] = (),
        origin: Mapping[str, Any] | None = None,
        model_init: Callable[[], PreTrainedModel] | None = None,
        unlabelled: Sequence[str] = (),
    ):
        """As the Trainer's; `model_init`, in place of a model, makes one for each training.

        Args:
            origin: what checkpoints note that they have learned from: see `learned_from`.
            unlabelled: texts to train on as well, towards what `args.teacher` answers.
        """
        if args.teacher and "text" not in train_dataset.column_names:
            raise ValueError("teachers need the texts: give a train_dataset with `text` and `labels`")
        if unlabelled and not args.teacher:
            raise ValueError("texts without labels need a teacher: give args.teacher")
        gold, labelled = train_dataset, len(train_dataset)
        if "text" in train_dataset.column_names:
            rows = with_unlabelled(train_dataset, unlabelled) if unlabelled else train_dataset
            train_dataset = encode(rows, processing_class, args.max_seq_length)
            gold = train_dataset.select(range(labelled))
            if args.teacher:
                names = rows.features["labels"].feature.names
                train_dataset = mix_in_teachers(
                    train_dataset, rows["text"], args.teacher, args.teacher_weight, names, args.device, labelled
                )
        if eval_dataset is not None and "text" in eval_dataset.column_names:
            eval_dataset = shortest_first(encode(eval_dataset, processing_class, args.max_seq_length))
        if args.class_weights == "balanced" and compute_loss_func is multilabel_loss:
            weights = balanced_weights(np.array(gold["labels"]))
            compute_loss_func = partial(multilabel_loss, pos_weight=weights)
        super().__init__(
            model=model,
            args=args.for_trainer(Path(args.output_dir or ".") / CHECKPOINTS),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            data_collator=data_collator or DataCollatorWithPadding(processing_class),
            compute_loss_func=compute_loss_func,
            compute_metrics=compute_metrics,
            callbacks=list(callbacks),
            model_init=model_init,
        )
        for noisy in (PrinterCallback, ProgressCallback):
            self.remove_callback(noisy)
        for callback in (OrderOfEpoch, EagerWhileTraining, QuickenDropout, LogAtCheckpoints, TrainingTable):
            self.add_callback(callback)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStopping(args.early_stopping_patience))
        self.head = head_parameters(self.accelerator.unwrap_model(self.model))  # known before a checkpoint is loaded
        self._origin = origin
        self._started = 0.0
        self._before: float | None = None

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As in the Trainer; log entries also carry `seconds` of training, those before a resumption included.

        Raises:
            InputError: a checkpoint's state holds more than tensors and numbers, and so could run code.
        """
        self._started, self._before = time.perf_counter(), None
        if self.args.report_to:
            Path(str(self.args.output_dir)).with_name(LOGS).mkdir(parents=True, exist_ok=True)
        try:
            return super().train(*args, **kwargs)
        except UnpicklingError as error:  # torch refuses it; so does this
            raise InputError(
                "--resume_from_checkpoint: the checkpoint's state holds more than tensors and numbers, which could run "
                "code; it is not loaded. Start another run, with --model_name_or_path for its weights."
            ) from error

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._before is None:
            self._before = max((entry.get("seconds", 0.0) for entry in self.state.log_history), default=0.0)
        super().log(logs | {"seconds": self._before + time.perf_counter() - self._started}, start_time)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # A resumed run may have come to its end, by its steps or by its own decision, before it was interrupted.
        self.control.should_training_stop |= self.state.global_step >= self.state.max_steps
        if not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The Trainer's optimizer, whatever `optim` says, with the head in parameter groups of its own rate."""
        if self.optimizer is not None or self.args.head_learning_rate is None:
            return super().create_optimizer(model)
        optimizer = super().create_optimizer(model)
        named = (self.model if model is None else model).named_parameters()
        plain = ((name.replace("_orig_mod.", "").removeprefix("module."), parameter) for name, parameter in named)
        head = {id(parameter) for name, parameter in plain if name in self.head}
        for group in list(optimizer.param_groups):
            cold = [parameter for parameter in group["params"] if id(parameter) in head]
            if cold:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in head]
                optimizer.add_param_group({**group, "params": cold, "lr": self.args.head_learning_rate})
        return optimizer

    def get_train_dataloader(self) -> DataLoader:
        args, strategy = self.args, self.args.train_sampling_strategy
        by_length = strategy == "group_by_length"
        batches = StepBatches(
            len(self.train_dataset),
            args.train_batch_size,
            processes=args.world_size,
            process=args.process_index,
            accumulated=args.gradient_accumulation_steps,
            seed=args.seed if args.data_seed is None else args.data_seed,
            shuffled=strategy != "sequential",
            lengths=list(self.train_dataset["length"]) if by_length else None,
            drop_last=args.dataloader_drop_last,
        )
        # Not prepared by accelerate, which would share out the batches once more.
        return DataLoader(
            self._remove_unused_columns(self.train_dataset, description="training"),
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory and torch.cuda.is_available(),
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=args.dataloader_multiprocessing_context,
            in_order=args.dataloader_in_order,
            worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
        )

    def _get_eval_sampler(self, eval_dataset: Dataset) -> SequentialSampler:
        # With group_by_length the Trainer would shuffle evaluation too, and predictions would lose their rows.
        return SequentialSampler(eval_dataset)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_whole(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}", self._origin)

    def save_run(self, run: RunFolder) -> None:
        """Write model, tokenizer and log history into the run's folder, in the place of what an earlier run left there.

        Every process calls it, and leaves it when all is written.
        """
        with run.replace() if self.args.should_save else nullcontext(run.path) as folder:
            tokenizer: Any = self.processing_class
            forget_use(tokenizer)
            self.save_model(str(folder))
            if self.args.should_save:
                name_for_all(folder)
                (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; run.json says the same in the open
                self.state.save_to_json(str(folder / STATE_FILE))
        self.accelerator.wait_for_everyone()

    def summary(self) -> dict[str, float]:
        """Epochs, loss and speed of the whole training, however often it was interrupted."""
        history, epochs = self.state.log_history, self.state.epoch or 0.0
        seconds = max((entry.get("seconds", 0.0) for entry in history), default=0.0)
        return {
            "epoch": epochs,
            "train_loss": mean_training_loss(history),
            "train_runtime": round(seconds, 2),
            "train_samples_per_second": round(epochs * len(self.train_dataset) / max(seconds, 1e-9), 2),
        }

    def end(self) -> None:
        """As in the Trainer, once every process has come here; see `leave_together`."""
        self.accelerator.wait_for_everyone()
        super().end()


class OrderOfEpoch(TrainerCallback):
    """Tells `StepBatches` which epoch begins, also where a run is resumed in the middle of one."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        train_dataloader.batch_sampler.set_epoch(int(state.epoch or 0))
