"""What is logged of a training, and what its user sees of it while it runs."""

import sys

from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, ProgressCallback, TrainerCallback

from utils.console import say


class LogAtCheckpoints(TrainerCallback):
    """Log the training loss whenever a checkpoint is written, so that no part of it is lost when a run resumes."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= control.should_save

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_log |= control.should_save


class EarlyStopping(EarlyStoppingCallback):
    """The library's; a resumed run goes on waiting where it was interrupted, and ends if it had waited long enough."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        stored = state.stateful_callbacks.get(type(self).__name__, {})
        self.early_stopping_patience_counter = stored.get("attributes", {}).get("early_stopping_patience_counter", 0)
        control.should_training_stop |= self._waited_enough()

    def on_train_end(self, args, state, control, **kwargs):
        if self._waited_enough() and state.global_step < state.max_steps:
            say(
                f"stopped at epoch {state.epoch:.2f} of {state.num_train_epochs}, after "
                f"{self.early_stopping_patience_counter} evaluation(s) without a better {args.metric_for_best_model}"
            )

    def _waited_enough(self) -> bool:
        return self.early_stopping_patience_counter >= self.early_stopping_patience


class TrainingTable(ProgressCallback):
    """The Trainer's progress bar (rate, time left), with one table row an evaluation instead of raw dictionaries."""

    HEADER = " epoch  training loss  validation loss  micro-F1 at 0.5  at its best threshold"

    def on_log(self, args, state, control, logs=None, **kwargs):
        pass

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            # In a log file the bar would be a line a step: one every half minute is enough there.
            interval = 0.1 if sys.stderr.isatty() else 30
            self.training_bar = tqdm(total=state.max_steps, unit="step", dynamic_ncols=True, mininterval=interval)
            self.training_bar.update(state.global_step)
            if args.eval_strategy != "no":
                self.training_bar.write(self.HEADER)
        self.current_step = state.global_step

    def on_prediction_step(self, args, state, control, **kwargs):
        pass

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if self.training_bar is not None and metrics and "eval_f1_micro" in metrics:
            loss = mean_training_loss(state.log_history, since=(state.epoch or 0) - 1)
            at_half, best, threshold = (metrics[f"eval_{key}"] for key in ("f1_micro_at_0.5", "f1_micro", "threshold"))
            self.training_bar.write(
                f"{state.epoch or 0:6.2f}  {loss:13.4f}  {metrics['eval_loss']:15.4f}  {at_half:15.4f}  "
                f"{best:14.4f} ({threshold:.2f})"
            )

    def on_train_end(self, args, state, control, **kwargs):
        if self.training_bar is not None:
            evaluating = sum(entry.get("eval_runtime", 0.0) for entry in state.log_history)
            seconds = max((entry.get("seconds", 0.0) for entry in state.log_history), default=0.0)
            share = f", {evaluating / max(seconds, 1e-9):.1%} of it evaluation" if evaluating else ""
            self.training_bar.write(f"{seconds / 60:.1f} minutes{share}")
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
