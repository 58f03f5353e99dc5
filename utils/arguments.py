"""Arguments: one flat namespace, from a recipe (YAML) and the command line, checked before anything is loaded."""

import argparse
import copy
import dataclasses
import json
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from accelerate import PartialState
from transformers import HfArgumentParser, IntervalStrategy, SchedulerType, TrainingArguments
from transformers.hf_argparser import string_to_bool
from transformers.trainer_utils import SaveStrategy

from utils.command_line import HelpFormatter, check_ranges, out_of_range, refuse, with_default, with_home
from utils.console import InputError
from utils.machine import bf16_pays, has_accelerator, share_cores
from utils.recipe import as_tokens, read_recipe, refuse_unknown
from utils.reporting import keep_logs_in, reporting_problems
from utils.run_folder import LOGS, RunFolder

_PLACES = (
    "dataset_name", "label_names", "corrections", "model_name_or_path", "output_dir", "resume_from_checkpoint",
    "label_descriptions", "teacher", "judge", "unlabelled_file",
)  # fmt: skip
HUB_DATASET = "google-research-datasets/go_emotions"

# What `--help` lists, in groups; what else a script has is a group of its own. All other TrainingArguments are accepted
# as well, and listed by `--help_all`.
GROUPS = {
    "data": (
        "dataset_name", "dataset_config_name", "text_column", "label_column", "label_columns", "label_separator",
        "label_names", "allow_unlabelled", "validation_share", "test_share", "max_train_samples", "max_eval_samples",
        "taxonomy", "corrections", "correct_validation",
    ),
    "model": (
        "model_name_or_path", "pooling", "label_descriptions", "max_seq_length", "init_head_bias", "trust_remote_code",
        "export_onnx",
    ),
    "training": (
        "num_train_epochs", "learning_rate", "head_learning_rate", "per_device_train_batch_size", "class_weights",
        "teacher", "teacher_weight", "unlabelled_file", "early_stopping_patience", "precision", "seed",
        "resume_from_checkpoint",
    ),
    "decision": ("threshold_strategy", "threshold_metric", "calibration", "fold_thresholds"),
    "output, model card and Hub": (
        "output_dir", "overwrite_output_dir", "card_title", "language", "license", "push_to_hub", "hub_model_id",
        "hub_private_repo", "overwrite_repo",
    ),
}  # fmt: skip
HELP_POSITION = 36  # the column in which their meanings stand, behind names such as --per_device_train_batch_size
_LISTED = {name for names in GROUPS.values() for name in names}
# What those of transformers mean here, where its own words are long, or mean more than happens here.
_MEANINGS = {
    "output_dir": "folder of the results",
    "num_train_epochs": "passes over train",
    "learning_rate": "of the encoder, at its peak",
    "per_device_train_batch_size": "comments in a batch",
    "gradient_accumulation_steps": "batches that make up one step",
    "use_cpu": "do not use a GPU",
    "resume_from_checkpoint": "go on, from the newest one or from VALUE",
    "push_to_hub": "publish the finished run, in one commit",
    "hub_model_id": "name or user/name (unset: output_dir's name)",
    "hub_private_repo": "create the repository as private",
    "hub_revision": "the branch to push to (unset: main)",
}
_TRAINING_ARGUMENTS = {item.name for item in dataclasses.fields(TrainingArguments)}
# Those of them that decide what is learned, rather than for how long, where or how fast; `batch_of_a_step` stands for
# the three that make up a batch.
DECISIVE = (
    "seed", "data_seed", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim",
    "optim_args", "optim_target_modules", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
    "label_smoothing_factor", "neftune_noise_alpha", "train_sampling_strategy", "dataloader_drop_last",
    "metric_for_best_model", "greater_is_better",
)  # fmt: skip
# Of the arguments that others come to see.
_MAY_BE_PATHS = (
    "dataset_name", "label_names", "corrections", "model_name_or_path", "label_descriptions", "teacher", "judge",
    "unlabelled_file",
)  # fmt: skip
_UNDECISIVE = ("precision", "early_stopping_patience", "overwrite_repo")  # of FinetuneArguments' own

# What each epoch is scored by: see `compute_metrics` in utils/evaluation/scores.py.
EPOCH_METRICS = (
    "loss", "f1_micro", "f1_macro", "f1_weighted", "f1_samples", "f1_micro_at_0.5", "f1_macro_at_0.5",
    "f1_weighted_at_0.5", "f1_samples_at_0.5", "precision_micro", "recall_micro", "precision_macro", "recall_macro",
    "average_precision_macro", "roc_auc_macro", "hamming_loss", "subset_accuracy",
)  # fmt: skip


@dataclass
class DataArguments:
    """Which comments, and how many of them."""

    dataset_name: str = field(default=HUB_DATASET, metadata={"help": "Hub id, folder, file, or `demo`"})
    dataset_config_name: str | None = field(default=None, metadata={"help": "configuration of a Hub dataset"})
    text_column: str | None = field(default=None, metadata={"help": "column of texts (unset: text, comment …)"})
    label_column: str | None = field(default=None, metadata={"help": "column of labels (unset: labels, tags …)"})
    label_columns: str | None = field(default=None, metadata={"help": "0/1 columns, one for each label: A,B,C"})
    label_separator: str | None = field(default=None, metadata={"help": "what joins labels in a cell (unset: a comma)"})
    label_names: str | None = field(default=None, metadata={"help": "names of ids: A,B,C, a file, or go_emotions"})
    validation_share: float | None = field(
        default=None,
        metadata={"help": "share of train, if that split is missing"},
    )
    test_share: float | None = field(default=None, metadata={"help": "share of train, if that split is missing"})
    max_train_samples: int | None = field(default=None, metadata={"help": "a label-stratified subset of train"})
    max_eval_samples: int | None = field(default=None, metadata={"help": "a label-stratified subset of validation"})
    taxonomy: Literal["ekman", "sentiment"] | None = field(
        default=None, metadata={"help": "groups in place of GoEmotions' labels"}
    )
    allow_unlabelled: bool = field(default=False, metadata={"help": "accept rows without labels"})
    corrections: list[str] | None = field(default=None, metadata={"help": "corrected labels of train, from an audit"})
    correct_validation: bool = field(default=False, metadata={"help": "correct validation too; test never"})

    def __post_init__(self) -> None:
        check_ranges(
            self,
            {
                "max_train_samples": (1, 2**31), "max_eval_samples": (1, 2**31), "validation_share": (0, 1),
                "test_share": (0, 1),
            },
        )  # fmt: skip
        if self.label_column and self.label_columns:
            raise InputError("--label_column and --label_columns were both given; give one of them.")
        if self.correct_validation and not self.corrections:
            raise InputError("--correct_validation without --corrections does nothing; give both, or neither.")
        if self.label_separator == "":
            raise InputError("--label_separator is empty; give the sign that joins labels, such as ';'.")


@dataclass
class ModelArguments:
    """The encoder, and what becomes of it after training."""

    model_name_or_path: str = field(default="bert-base-uncased", metadata={"help": "Hub id, folder, or `minilm`"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run code of the model's repository"})
    pooling: Literal["first_token", "mean"] = field(
        default="first_token",
        metadata={"help": "what a new classifier reads; mean: for sentence encoders"},
    )
    label_descriptions: str | None = field(
        default=None, metadata={"help": "meanings to start at: a YAML file, go_emotions, names or none"}
    )
    calibration: Literal["none", "temperature", "platt"] = field(
        default="none", metadata={"help": "of the probabilities on validation, in the model"}
    )
    fold_thresholds: bool = field(
        default=True, metadata={"help": "move them into the model, so that 0.5 is right in every client"}
    )
    export_onnx: bool = field(default=True, metadata={"help": "write the model as ONNX too, fp32 and int8"})

    def __post_init__(self) -> None:
        if self.label_descriptions == "none":  # takes back what a recipe asks for
            self.label_descriptions = None


@dataclass
class ThresholdArguments:
    """How probabilities become decisions."""

    threshold_strategy: Literal["fixed", "global", "per_label", "expected_f1"] = field(
        default="expected_f1",
        metadata={"help": "0.5, one for all, one a label, or such that overfit less"},
    )
    threshold_metric: Literal["f1_micro", "f1_macro"] = field(
        default="f1_micro", metadata={"help": "what they maximise on validation"}
    )


@dataclass
class OutputArguments:
    """Where results go."""

    overwrite_output_dir: bool = field(default=False, metadata={"help": "replace the run that it holds"})

    def open_run(self, output_dir: str | None, *inputs: str, resume: bool = False) -> RunFolder:
        """The folder for a new run, or of the one to be resumed, which reads `inputs`; see `RunFolder.create`."""
        return RunFolder.create(output_dir, self.overwrite_output_dir, resume, inputs)


@dataclass
class CardArguments:
    """What the model card says that neither the data nor the scores tell; unset, it says nothing about it."""

    language: list[str] | None = field(default=None, metadata={"help": "of the texts, for the card: en, de …"})
    license: str | None = field(default=None, metadata={"help": "of the model, for the card: mit, cc-by-4.0 …"})
    card_title: str | None = field(default=None, metadata={"help": "the card's title"})

    def __post_init__(self) -> None:
        problems = [
            f"--language is {code}; accepted: a code of ISO 639, such as en, de or yue."
            for code in self.language or ()
            if code != "multilingual" and not re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", code)
        ]
        if self.license is not None and not re.fullmatch("[a-z0-9][a-z0-9.+-]*", self.license):
            problems.append(f"--license is {self.license}; accepted: the Hub's name of it, such as cc-by-4.0 or mit.")
        if self.card_title is not None and not (self.card_title.isprintable() and self.card_title.strip()):
            problems.append("--card_title is empty or not printable; accepted: one line of text.")
        refuse(problems)


@dataclass
class FinetuneArguments(TrainingArguments):
    """transformers' TrainingArguments with the defaults of this project, and what is particular about training here.

    The defaults are those that every recipe shares; a recipe names what differs. Precision is settled when the
    arguments are made; nothing changes them afterwards.
    """

    max_seq_length: int = field(default=128, metadata={"help": "tokens of a training comment"})
    head_learning_rate: float | None = field(default=None, metadata={"help": "of the classifier"})
    init_head_bias: bool = field(
        default=True, metadata={"help": "start the classifier's bias at the label frequencies"}
    )
    teacher: list[str] | None = field(
        default=None,
        metadata={"help": "finished runs or audits whose probabilities soften the targets"},
    )
    teacher_weight: float = field(default=0.5, metadata={"help": "their share of the targets, 0 to 1"})
    unlabelled_file: list[str] | None = field(
        default=None, metadata={"help": "more texts to learn from, as --teacher answers them"}
    )
    class_weights: Literal["none", "balanced"] = field(
        default="none",
        metadata={"help": "balanced: positives weigh as much as negatives"},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "evaluations without gain (unset: never)"}
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = field(
        default="auto", metadata={"help": "auto: bf16 where the hardware is faster for it"}
    )
    overwrite_repo: bool = field(default=False, metadata={"help": "replace another model in that repository"})

    weight_decay: float = field(default=0.01, metadata={"help": "of AdamW; biases and normalisations do not decay"})
    warmup_steps: float = field(default=0.1, metadata={"help": "steps of linear warm-up; below 1, a share of all"})
    lr_scheduler_type: SchedulerType | str = "linear"
    per_device_eval_batch_size: int = 64
    train_sampling_strategy: str = field(
        default="group_by_length", metadata={"choices": ["random", "sequential", "group_by_length"]}
    )
    eval_strategy: IntervalStrategy | str = "epoch"
    save_strategy: SaveStrategy | str = "epoch"
    logging_strategy: IntervalStrategy | str = "epoch"
    save_total_limit: int | None = 2
    load_best_model_at_end: bool = True
    metric_for_best_model: str | None = "f1_micro"  # at its best threshold, never at 0.5
    report_to: list[str] | None = field(
        default_factory=lambda: ["none"],
        metadata={"help": "tensorboard, trackio, wandb …: who is told of the training, in output_dir/logs"},
    )
    seed: int = field(default=42, metadata={"help": "of every draw"})
    # The Trainer's: which of its inputs are labels, as it finds out by itself. Here the name has another meaning.
    label_names: list[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        problems = out_of_range(
            self,
            {
                "learning_rate": (0, 10), "head_learning_rate": (0, 10), "num_train_epochs": (0, 10_000),
                "max_steps": (-1, 10**9), "per_device_train_batch_size": (1, 2**16),
                "per_device_eval_batch_size": (1, 2**16), "gradient_accumulation_steps": (1, 2**16),
                "weight_decay": (0, 10), "seed": (0, 2**32 - 1), "teacher_weight": (0, 1),
                "max_seq_length": (8, 2**20), "early_stopping_patience": (1, 10_000), "warmup_steps": (0, 10**9),
                "max_grad_norm": (0, 10**6), "adam_beta1": (0, 0.9999999), "adam_beta2": (0, 0.9999999),
                "adam_epsilon": (0, 1), "label_smoothing_factor": (0, 1), "dataloader_num_workers": (0, 256),
                "save_total_limit": (1, None), "logging_steps": (1e-6, 10**9), "save_steps": (1e-6, 10**9),
                "eval_steps": (1e-6, 10**9),
            },
        )  # fmt: skip
        if self.num_train_epochs == 0 and self.max_steps <= 0:
            problems.append("--num_train_epochs is 0; accepted: more than 0, and up to 10,000.")
        if self.unlabelled_file and not self.teacher:
            problems.append(
                "--unlabelled_file without --teacher: nobody says what its labels are; give a finished run as well."
            )
        wanted = str(self.metric_for_best_model or EPOCH_METRICS[0]).removeprefix("eval_")
        if wanted not in EPOCH_METRICS:
            problems.append(f"--metric_for_best_model is {wanted}; accepted: {', '.join(EPOCH_METRICS)}.")
        for other in ("bf16", "fp16"):
            if self.precision not in ("auto", other) and getattr(self, other):
                problems.append(f"--precision {self.precision} contradicts --{other}; give one of them.")
        own_rates = str(self.optim).endswith("_layerwise") or "lomo" in str(self.optim)
        if own_rates and self.head_learning_rate is not None:
            problems.append(
                f"--optim {self.optim} has one learning rate for all parameters; leave --head_learning_rate unset "
                "(`head_learning_rate: null` in a recipe), or take another optimizer."
            )
        if self.hub_token or getattr(self, "push_to_hub_token", None):
            problems.append(
                "--hub_token would show the token in the process list; set HF_TOKEN, or run `hf auth login`."
            )
        if self.hub_always_push or self.hub_strategy != "every_save":
            problems.append(
                "--hub_strategy and --hub_always_push steer pushes during training; here is one, at the end."
            )
        if self.hub_model_id and not self.push_to_hub:
            problems.append("--hub_model_id without --push_to_hub does nothing; give both, or neither.")
        if self.overwrite_repo and not self.push_to_hub:
            problems.append("--overwrite_repo without --push_to_hub does nothing; give both, or neither.")
        evaluated = getattr(self.eval_strategy, "value", self.eval_strategy) != "no"
        if self.early_stopping_patience is not None and not (evaluated and self.load_best_model_at_end):
            problems.append(
                "--early_stopping_patience compares evaluations and keeps the best one; it needs --eval_strategy epoch "
                "or steps, and --load_best_model_at_end true."
            )
        if isinstance(self.lr_scheduler_kwargs, str) and not _is_json_object(self.lr_scheduler_kwargs):
            problems.append(f"--lr_scheduler_kwargs is {self.lr_scheduler_kwargs}; accepted: a JSON object.")
        refuse(problems)
        self.use_cpu = self.use_cpu or not has_accelerator()
        if self.precision == "auto":
            self.bf16 = self.bf16 or (not self.fp16 and bf16_pays(self.use_cpu))
        else:
            self.bf16, self.fp16 = self.precision == "bf16", self.precision == "fp16"
        super().__post_init__()
        if self.report_to:
            keep_logs_in(Path(str(self.output_dir)) / LOGS)
            refuse(reporting_problems(list(self.report_to)))
        if self.device.type == "cpu":
            share_cores()

    @property
    def resuming(self) -> bool:
        """Whether `--resume_from_checkpoint` asks to go on with the run in `output_dir`, not one elsewhere."""
        resume = str(self.resume_from_checkpoint)
        if resume.lower() in ("none", "false", "true"):
            return resume.lower() == "true"
        return Path(self.output_dir or ".").resolve() in Path(resume).resolve().parents

    @property
    def batch_of_a_step(self) -> int:
        """Comments that one optimiser step learns from, over all processes."""
        return self.train_batch_size * self.gradient_accumulation_steps * PartialState().num_processes

    def layout(self) -> str:
        """One sentence: processes, device, precision, and what makes up the batch of one optimiser step."""
        state = PartialState()
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        precision = "bf16 autocast" if self.bf16 else "fp16 autocast" if self.fp16 else "fp32"
        batch, steps = self.train_batch_size, self.gradient_accumulation_steps
        processes = f"{state.num_processes} process{'es' if state.num_processes > 1 else ''}"
        threads = f"{torch.get_num_threads()} CPU thread{'s' if torch.get_num_threads() > 1 else ''}"
        return (
            f"{processes} on {device} ({threads} each), {precision}; a step takes "
            f"{self.batch_of_a_step} comments = {batch} a batch × {steps} accumulated × {processes}."
        )

    def for_trainer(self, folder: Path) -> "FinetuneArguments":
        """A copy for the Trainer, which keeps its checkpoints in `folder` and pushes nothing by itself.

        What is reported elsewhere is called like the run's folder, unless `run_name` says otherwise.
        """
        own = copy.copy(self)
        own.output_dir = str(folder)
        own.push_to_hub, own.hub_model_id, own.hub_private_repo, own.hub_revision = False, None, None, None
        if self.report_to and not self.run_name:
            own.run_name = folder.resolve().parent.name
        return own


def as_recorded(*parts: Any) -> dict[str, Any]:
    """All arguments by name, as run.json keeps them; where a run was pushed to is not part of it."""
    recorded: dict[str, Any] = {}
    for part in parts:
        values = dict(vars(part))
        if isinstance(part, TrainingArguments):
            values = part.to_sanitized_dict()
            own = {item.name for item in dataclasses.fields(part)} - _TRAINING_ARGUMENTS
            values |= {name: getattr(part, name) for name in own}
            values |= {"push_to_hub": False, "hub_model_id": "None", "hub_private_repo": "None", "hub_revision": "None"}
            for name in ("overwrite_repo", "label_names"):  # the second is the data's, see there
                values.pop(name, None)
        recorded |= values
    return recorded


def shown_names(*parts: Any) -> dict[str, Any]:
    """Of arguments that name local folders or files: their names alone, which is all that others may see of them.

    To be asked when a run starts: what lies where changes afterwards.
    """
    shown: dict[str, Any] = {}
    for part in parts:
        for name in {item.name for item in dataclasses.fields(part)} & set(_MAY_BE_PATHS):
            value = getattr(part, name)
            hidden = [_name_if_local(item) for item in value] if isinstance(value, list) else _name_if_local(value)
            if hidden != value:
                shown[name] = hidden
    return shown


def _name_if_local(value: Any) -> Any:
    path = Path(str(value)).expanduser()
    return os.path.basename(os.path.abspath(path)) if isinstance(value, str) and path.exists() else value


def decisive(data: DataArguments, model: ModelArguments, training: FinetuneArguments) -> dict[str, Any]:
    """The arguments that decide what is learned from the rows of a dataset by a model.

    Not: how long it is trained, where, how fast, in which precision, how often something is saved, and what becomes of
    the model afterwards.
    """
    own = [item.name for item in dataclasses.fields(training) if item.name not in _TRAINING_ARGUMENTS]
    values = {name: getattr(data, name) for name in ("max_train_samples", "max_eval_samples")}
    values |= {"pooling": model.pooling, "batch_of_a_step": training.batch_of_a_step}
    return values | {name: getattr(training, name) for name in [*own, *DECISIVE] if name not in _UNDECISIVE}


def as_recipe(*parts: Any) -> dict[str, Any]:
    """The arguments that say something else than their defaults do on this machine, as flat YAML takes them."""
    recipe: dict[str, Any] = {}
    for part in parts:
        unasked = type(part)(output_dir=part.output_dir) if isinstance(part, TrainingArguments) else type(part)()
        for item in dataclasses.fields(part):
            value = getattr(part, item.name)
            if item.init and value is not None and value != getattr(unasked, item.name):
                recipe[item.name] = getattr(value, "value", value)
    for settled in ("output_dir", "greater_is_better", *(("bf16", "fp16") if "precision" in recipe else ())):
        recipe.pop(settled, None)
    return recipe


class _HelpAll(argparse.Action):
    """`--help` with what it does not list."""

    def __call__(self, parser: Any, *_: Any) -> None:
        group = parser.add_argument_group("all other arguments of transformers.TrainingArguments")
        for action, meaning in parser.unlisted:
            action.help = meaning
            group._group_actions.append(action)
        parser.print_help()
        parser.exit()


class Parser(HfArgumentParser):
    """Dataclasses to arguments, with errors as `InputError`, no abbreviations, and a short `--help` in groups.

    Attributes:
        unlisted: the arguments that it leaves out, with what they mean.
    """

    def __init__(
        self,
        dataclass_types: Sequence[Any],
        description: str,
        recipe: str | None,
        beside: str = "",
        refused: Collection[str] = (),
    ):
        super().__init__(
            list(dataclass_types),
            description=description,
            allow_abbrev=False,
            formatter_class=partial(HelpFormatter, position=HELP_POSITION),
        )
        self._optionals.title = "general"
        usual = f" (default: recipes/{Path(recipe).name})" if recipe else ""
        meaning = f"a recipe: these arguments as flat YAML{usual}"
        self.add_argument("--config", default=recipe, metavar="FILE.yaml", help=meaning)
        training = any(issubclass(kind, TrainingArguments) for kind in dataclass_types)
        defaults = read_recipe(recipe) if recipe and Path(recipe).is_file() else {}
        if beside:
            defaults["output_dir"] = f"that of the recipe and {beside}"
        self.unlisted: list[tuple[argparse.Action, str]] = []
        actions = {
            action.dest: action for action in self._actions if not isinstance(action, argparse._StoreFalseAction)
        }
        for action in self._actions:
            if action.dest == "resume_from_checkpoint":
                action.nargs, action.const = "?", "true"
            if action.dest == "hub_private_repo":  # `bool | None`, which HfArgumentParser takes for one with a value
                action.nargs, action.const, action.type = "?", True, string_to_bool
            negation = isinstance(action, argparse._StoreFalseAction)
            if negation:
                action.help = argparse.SUPPRESS
            elif action.option_strings and action.nargs != 0:
                action.option_strings = [
                    option for option in action.option_strings if "_" in option or "-" not in option[2:]
                ]
                default = defaults.get(action.dest, action.default)
                if action.choices is None and action.dest != "config":
                    is_switch = action.nargs == "?" and action.dest != "resume_from_checkpoint"
                    action.metavar = ("true|false" if default is True else "") if is_switch else None
                said = (action.help or "").strip().split("\n")[0].split(". ")[0]
                action.help = with_default(_MEANINGS.get(action.dest, said).replace("%", "%%"), default)
            if training and not negation and action.dest in _TRAINING_ARGUMENTS - _LISTED:
                self.unlisted.append((action, action.help or ""))
                action.help = argparse.SUPPRESS
            if action.dest in refused:  # understood all the same, so that the refusal can say why
                action.help = argparse.SUPPRESS
        for title, names in GROUPS.items():
            self._group(title, [actions[name] for name in names if name in actions])
        if training:
            self.add_argument("--help_all", action=_HelpAll, nargs=0, help="also list all arguments of transformers")
            self.epilog = (
                "Every other field of transformers.TrainingArguments is an argument as well (--help_all):\n\n"
                "    https://huggingface.co/docs/transformers/main_classes/trainer"
            )

    def _group(self, title: str, actions: Sequence[argparse.Action]) -> None:
        """Have `--help` list these arguments under a title of their own."""
        if actions:
            group = self.add_argument_group(title)
            group._group_actions.extend(actions)
            for other in self._action_groups:
                if other is not group:
                    other._group_actions[:] = [action for action in other._group_actions if action not in actions]

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[0].upper()}{message[1:]} (see --help).")

    def keys(self) -> list[str]:
        return [option[2:] for option in self._option_string_actions if option.startswith("--")]


def parse_arguments(
    dataclass_types: Sequence[type],
    argv: Sequence[str] | None,
    description: str,
    recipe: str | None = None,
    refused: Mapping[str, str] | None = None,
    beside: str = "",
) -> tuple[Any, ...]:
    """One instance of each dataclass, from the recipe named by `--config` and the command line, which overrides it.

    Args:
        refused: of arguments that a script has no use for, by name, the sentence that says so where one is given.
        beside: of a script that trains no run, what is put behind the output_dir of a recipe, which is a run's.

    Raises:
        InputError: an unknown key (with the nearest valid one), a value of the wrong type, values that contradict
            each other: all of them at once.
    """
    parser = Parser(dataclass_types, description, recipe, beside, refused or ())
    command_line, unknown = parser.parse_known_args(argv)
    refuse_unknown([item for item in unknown if item.startswith("--")] or unknown, parser.keys(), "the command line")
    recipe_of_it = read_recipe(with_home(command_line.config)) if command_line.config else {}
    if beside and command_line.output_dir == parser.get_default("output_dir"):
        recipe_of_it["output_dir"] = f"{recipe_of_it.get('output_dir') or 'outputs/run'}{beside}"
    known = set(parser.keys())
    refuse_unknown([f"--{key}" for key in recipe_of_it if key not in known], known, command_line.config)
    values, surplus = parser.parse_known_args([*as_tokens(recipe_of_it), *(sys.argv[1:] if argv is None else argv)])
    if surplus:
        raise InputError(f"--config {command_line.config}: a list stands where one value is expected ({surplus[0]}).")
    parsed = []
    problems = [said for name, said in (refused or {}).items() if _asks(getattr(values, name))]
    for kind in dataclass_types:
        names = [item.name for item in dataclasses.fields(kind) if item.init]
        try:
            parsed.append(kind(**{name: _with_home(name, getattr(values, name)) for name in names}))
        except InputError as error:
            problems.append(str(error))
        except (ValueError, ImportError) as error:  # TrainingArguments checks itself
            problems.append(f"Arguments: {str(error).strip().splitlines()[0]}")
    refuse(problems)
    return tuple(parsed)


def _asks(value: Any) -> bool:
    return bool(value) and str(value).lower() not in ("false", "none")


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _with_home(name: str, value: Any) -> Any:
    """The value of an argument; `~` is the home in those that may name a place."""
    if name not in _PLACES:
        return value
    return [with_home(item) for item in value] if isinstance(value, list) else value and with_home(value)
