"""Hyperparameters by trial: values around those of a recipe, judged on validation by a score that needs no threshold.

The trials are kept in a database of optuna, with which a search that was stopped goes on.
"""

import copy
import importlib.util
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers.trainer_utils import SaveStrategy

from utils.arguments import FinetuneArguments
from utils.console import InputError, refused_together, say
from utils.lines import markdown_table, terminal_width
from utils.machine import is_main_process
from utils.run_folder import RunFolder

if TYPE_CHECKING:
    import optuna

    from utils.training.trainer import EmotionTrainer

_STUDY = "search"  # what optuna calls it
STUDY_FILE, TRIALS_FILE, RECIPE_FILE = "search.db", "trials.csv", "recipe.yaml"
DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"average_precision_macro": "maximize", "loss": "minimize"}


def require_optuna() -> None:
    """Raise `InputError` where the package is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError("run_search.py needs optuna: pip install -r requirements-search.txt.")


def require_search_or_nothing(folder: Path) -> None:
    """Raise `InputError` where files that are no search's stand in a folder under the names of a search's."""
    held = [name for name in (STUDY_FILE, TRIALS_FILE, RECIPE_FILE) if (folder / name).exists()]
    if not held:
        return
    try:
        with closing(sqlite3.connect(f"{(folder / STUDY_FILE).resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT name FROM sqlite_master").fetchall()
            names = database.execute("SELECT study_name FROM studies").fetchall() if tables else []
        known = set(names) <= {(_STUDY,)}
    except sqlite3.Error:  # missing, or not such a database
        known = False
    if not known:
        raise InputError(
            f"--output_dir {folder} holds {', '.join(held)}, and {STUDY_FILE} is missing or no search of this project; "
            "give another folder."
        )


def for_trials(args: FinetuneArguments, folder: str) -> FinetuneArguments:
    """A copy for a Trainer that tries values out: it keeps no checkpoint, and reports to nobody.

    Args:
        folder: for what the Trainer writes nevertheless.
    """
    own = copy.copy(args)
    own.output_dir, own.report_to = folder, []
    own.save_strategy, own.load_best_model_at_end, own.early_stopping_patience = SaveStrategy.NO, False, None
    return own


def open_folder(output_dir: str | None) -> Path:
    """The folder of a search, made if need be, and held; it has an earlier one of its kind, or nothing of its names.

    Raises:
        InputError: it holds a run, or something else of these names.
    """
    if output_dir and RunFolder(output_dir).holds_a_run:
        raise InputError(
            f"--output_dir {output_dir} holds a run; a search needs a folder of its own, such as {output_dir}_search."
        )
    folder = RunFolder.create(output_dir, overwrite=False).path
    refused_together(lambda: require_search_or_nothing(folder))
    return folder


class Search:
    """A search for the values of a recipe, and where it is kept.

    The first trial is the recipe itself. The others take rates within a factor of four of its own, up to twice its
    epochs, batches of half, once and twice the size, and a weight decay up to 0.1 or twice its own.

    Args:
        folder: where the search is kept, and one that was stopped is found.
        args: the recipe's.
        metric: one of `DIRECTIONS`; a trial's score is that of its best evaluation.
    """

    study: "optuna.Study"
    done: int = 0  # trials that had a score already when it began

    def __init__(self, folder: Path, args: FinetuneArguments, metric: str):
        self.folder, self.args, self.metric = folder, args, metric
        self.kept: dict[str, Any] = {
            "storage": f"sqlite:///{folder / STUDY_FILE}",
            "study_name": _STUDY,
            "load_if_exists": True,
        }

    def begin(self, question: Mapping[str, Any], overwrite: bool = False) -> None:
        """Begin, or go on with what the folder holds.

        Args:
            question: all that decides how a trial ends, its values aside.
            overwrite: begin anew, whatever the folder holds; see `require_search_or_nothing`.

        Raises:
            InputError: the folder holds a search that asks something else.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for name in (RECIPE_FILE, TRIALS_FILE, STUDY_FILE) if overwrite else ():
            (self.folder / name).unlink(missing_ok=True)
        self.study = optuna.create_study(direction=DIRECTIONS[self.metric], **self.kept)
        asked, question = self.study.user_attrs.get("question"), {"search_metric": self.metric, **question}
        if asked is None:
            self.study.set_user_attr("question", question)
            self.study.enqueue_trial(self._recipe())
        elif different := [name for name in {**asked, **question} if asked.get(name) != question.get(name)]:
            then, now = (side.get(different[0], "its default") for side in (asked, question))
            raise InputError(
                f"{self.folder / STUDY_FILE} was begun with other arguments ({different[0]}: {then} then, {now} now); "
                "give another --output_dir, or --overwrite_output_dir to begin again."
            )
        self._repeat_what_was_stopped()
        self.done = len(self.trials("COMPLETE"))

    def _repeat_what_was_stopped(self) -> None:
        """Line up the values of trials that neither have a score nor failed by themselves."""
        import optuna

        failed = self.study.user_attrs.get("failed", [])
        for trial in self.trials("RUNNING", "FAIL"):
            if trial.number not in failed:
                if not trial.state.is_finished():
                    self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                if values := trial.params or trial.system_attrs.get("fixed_params"):
                    self.study.enqueue_trial(values)
        self._note_failed()

    def _note_failed(self) -> None:
        self.study.set_user_attr("failed", [trial.number for trial in self.trials("FAIL")])

    def trials(self, *states: str) -> list["optuna.trial.FrozenTrial"]:
        """The trials in these states, as optuna names them."""
        return [trial for trial in self.study.get_trials() if trial.state.name in states]

    def run(self, trainer: "EmotionTrainer", trials: int) -> None:
        """Have the Trainer try out further values; a trial that is too large for the GPU fails, and the next begins."""
        import optuna

        def score(metrics: Mapping[str, float]) -> float:
            key = f"eval_{self.metric}"
            values = [entry[key] for entry in trainer.state.log_history if key in entry]
            return (max if DIRECTIONS[self.metric] == "maximize" else min)(values, default=float("nan"))

        # With the same seed, a search that goes on would draw again what it has tried already.
        tried = len(self.trials("COMPLETE", "FAIL")) if is_main_process() else 0
        trainer.hyperparameter_search(
            hp_space=self.suggest,
            compute_objective=score,
            n_trials=trials,
            direction=DIRECTIONS[self.metric],
            backend="optuna",
            sampler=optuna.samplers.TPESampler(seed=self.args.seed + tried),
            pruner=optuna.pruners.NopPruner(),
            catch=(torch.OutOfMemoryError,),
            **self.kept,
        )
        if is_main_process():
            self._note_failed()

    def suggest(self, trial: Any) -> dict[str, float]:
        """The values of a trial, by argument."""
        start = self._recipe()
        batch, decay = int(start["per_device_train_batch_size"]), start["weight_decay"]
        values = {
            name: trial.suggest_float(name, start[name] / 4, start[name] * 4, log=True)
            for name in ("learning_rate", "head_learning_rate")
            if start.get(name)
        }
        values["num_train_epochs"] = trial.suggest_int("num_train_epochs", 1, 2 * int(start["num_train_epochs"]))
        sizes = sorted({max(1, batch // 2), batch, 2 * batch})
        values["per_device_train_batch_size"] = trial.suggest_categorical("per_device_train_batch_size", sizes)
        values["weight_decay"] = trial.suggest_float("weight_decay", 0.0, max(0.1, 2 * decay))
        say(f"trial {trial.number}: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()))
        return values

    def _recipe(self) -> dict[str, float]:
        args = self.args
        start = {
            "learning_rate": args.learning_rate,
            "head_learning_rate": args.head_learning_rate or args.learning_rate,
            "num_train_epochs": max(1, round(args.num_train_epochs)),
            "per_device_train_batch_size": args.per_device_train_batch_size,
            "weight_decay": args.weight_decay,
        }
        if str(args.optim).endswith("_layerwise") or "lomo" in str(args.optim):  # these have one rate for all
            del start["head_learning_rate"]
        return start

    def rows(self) -> list[dict[str, Any]]:
        """Every trial that has come to its end: number, state, score, values and seconds."""
        return [
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                self.metric: float("nan") if trial.value is None else trial.value,
                **{name: trial.params.get(name, float("nan")) for name in self._recipe()},
                "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else float("nan"),
            }
            for trial in self.trials("COMPLETE", "FAIL")
        ]

    def table(self) -> str:
        """`rows` in Markdown, the best first."""
        sign = -1 if DIRECTIONS[self.metric] == "maximize" else 1
        rows = sorted((row for row in self.rows() if row["state"] == "complete"), key=lambda r: sign * r[self.metric])
        shown = [name for name in rows[0] if name not in ("state", "seconds")] if rows else ["trial"]
        lines = [[f"{row[name]:.4g}" for name in shown] for row in rows]
        return markdown_table(shown, lines, terminal_width(sys.stdout))

    def best(self) -> tuple[dict[str, float], str]:
        """The values of the best trial, and a sentence that says how good it is.

        Raises:
            InputError: no trial has a score.
        """
        if not self.trials("COMPLETE"):
            raise InputError(
                f"No trial has a score ({self.metric}); give a validation split with positives and negatives of some "
                "label, or --search_metric loss."
            )
        best = self.study.best_trial
        return (
            best.params,
            f"trial {best.number} of {len(self.trials('COMPLETE'))}: validation {self.metric} {best.value:.4f}",
        )
