"""Arguments: one flat namespace, from a recipe (YAML) and the command line, checked before anything is loaded."""

import argparse
import dataclasses
import difflib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool

from utils.console import InputError
from utils.data import HUB_DATASET
from utils.hardware import bf16_pays

# What a finished or interrupted run leaves in its folder.
RUN_FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt", "baseline.skops", "thresholds.json",
    "threshold_strategies.csv", "all_results.json", "per_label.csv", "mistakes.csv", "confusions.csv",
    "calibration.csv", "predictions", "README.md", "plots", "onnx", "run.json", "trainer_state.json", "checkpoints",
)  # fmt: skip

# The TrainingArguments that `--help` lists; all others are accepted as well.
LISTED_TRAINING_ARGUMENTS = (
    "output_dir", "seed", "learning_rate", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "weight_decay", "warmup_steps", "use_cpu", "resume_from_checkpoint", "push_to_hub",
    "hub_model_id", "hub_private_repo", "hub_revision",
)  # fmt: skip


@dataclass
class DataArguments:
    """Which comments, and how many of them."""

    dataset_name: str = field(
        default=HUB_DATASET, metadata={"help": "a dataset id on the Hub, a local folder, or `demo`"}
    )
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "the Hub dataset's configuration (GoEmotions: simplified)"}
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "train on a label-stratified subset of this size (unset: all rows)"}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "evaluate on a label-stratified subset of validation (unset: all rows)"}
    )
    taxonomy: Literal["ekman", "sentiment"] | None = field(
        default=None, metadata={"help": "train on the paper's 7 Ekman or 4 sentiment groups instead of the 28 emotions"}
    )
    allow_unlabelled: bool = field(default=False, metadata={"help": "accept rows without labels, as all-zero targets"})


@dataclass
class ModelArguments:
    """The encoder, and what is particular about training it here."""

    model_name_or_path: str = field(
        default="bert-base-uncased", metadata={"help": "a model id on the Hub, a folder, or `minilm`"}
    )
    max_seq_length: int = field(default=128, metadata={"help": "training comments are cut to this many tokens"})
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "learning rate of the classifier, which starts cold (unset: learning_rate)"}
    )
    init_head_bias: bool = field(
        default=True, metadata={"help": "start the classifier's bias at the log-odds of the label frequencies"}
    )
    pooling: Literal["first_token", "mean"] = field(
        default="first_token",
        metadata={"help": "what a new classifier reads: the first token, or the mean over all (sentence encoders)"},
    )
    teacher: list[str] | None = field(
        default=None, metadata={"help": "finished runs whose probabilities of the training comments soften the targets"}
    )
    teacher_weight: float = field(
        default=0.5, metadata={"help": "share of the teachers in the targets, from 0 to 1; gold labels have the rest"}
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = field(
        default="auto", metadata={"help": "of training; auto: bf16 where the hardware has it and is faster for it"}
    )
    calibration: Literal["none", "temperature", "platt"] = field(
        default="none", metadata={"help": "calibrate the probabilities on validation, inside the model"}
    )
    fold_thresholds: bool = field(
        default=True, metadata={"help": "move the thresholds into the model, so that 0.5 is right in every client"}
    )
    export_onnx: bool = field(default=True, metadata={"help": "also write the model as ONNX, in fp32 and int8"})


@dataclass
class ThresholdArguments:
    """How probabilities become decisions."""

    threshold_strategy: Literal["fixed", "global", "per_label", "calibrated"] = field(
        default="calibrated",
        metadata={"help": "0.5, one cut for all labels, one a label, or one a label that overfits less"},
    )
    threshold_metric: Literal["f1_micro", "f1_macro"] = field(
        default="f1_micro", metadata={"help": "what the thresholds maximise on validation"}
    )


@dataclass
class OutputArguments:
    """Where results go."""

    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "replace the run that output_dir already holds"}
    )


class PlainParser(argparse.ArgumentParser):
    """argparse, with errors as `InputError`; see `plain_parser`."""

    def error(self, message: str) -> None:
        raise InputError(f"{message[0].upper()}{message[1:]} (see --help).")


def plain_parser(description: str) -> PlainParser:
    """The parser of the scripts that take no recipe: no abbreviations, the docstring as its help."""
    return PlainParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


class _OneLineEach(argparse.RawDescriptionHelpFormatter):
    """Help with the arguments on the left, wide enough for each to be one line."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=36, width=140)


class Parser(HfArgumentParser):
    """Dataclasses to arguments, with errors as `InputError`, no abbreviations, and a short `--help`."""

    def __init__(self, dataclass_types: Sequence[type], description: str, recipe: str | None):
        super().__init__(
            dataclass_types,
            description=description,
            allow_abbrev=False,
            formatter_class=_OneLineEach,
        )
        config_help = f"a recipe: flat YAML with these arguments as keys (default {recipe})" if recipe else "a recipe"
        self.add_argument("--config", default=recipe, metavar="FILE.yaml", help=config_help)
        training = (
            {item.name for item in dataclasses.fields(TrainingArguments)}
            if TrainingArguments in dataclass_types
            else set()
        )
        for action in self._actions:
            if action.dest == "resume_from_checkpoint":
                action.nargs, action.const = "?", "true"
                action.help = "go on with the newest whole checkpoint of output_dir, or with the one given"
            if action.dest == "hub_private_repo":  # `bool | None`, which HfArgumentParser takes for one with a value
                action.nargs, action.const, action.type = "?", True, string_to_bool
            negation = isinstance(action, argparse._StoreFalseAction)
            if negation or (action.dest in training and action.dest not in LISTED_TRAINING_ARGUMENTS):
                action.help = argparse.SUPPRESS
            elif action.option_strings and action.nargs != 0:
                action.option_strings = [
                    option for option in action.option_strings if "_" in option or "-" not in option[2:]
                ]
                if action.choices is None:
                    action.metavar = {None: "VALUE", "+": "VALUE"}.get(action.nargs, "true|false")
                action.help = (action.help or "").strip().split("\n")[0].split(". ")[0].replace("%", "%%")
        self.usage = "%(prog)s [--config FILE.yaml] [--argument value …]"
        if training:
            self.epilog = (
                "Every other field of transformers.TrainingArguments is an argument as well; see\n"
                "https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments"
            )

    def error(self, message: str) -> None:
        raise InputError(f"{message[0].upper()}{message[1:]} (see --help).")

    def keys(self) -> list[str]:
        return [option[2:] for option in self._option_string_actions if option.startswith("--")]


def parse_arguments(
    dataclass_types: Sequence[type], argv: Sequence[str] | None, description: str, recipe: str | None = None
) -> tuple[Any, ...]:
    """One instance of each dataclass, from the recipe named by `--config` and the command line, which overrides it.

    Raises:
        InputError: an unknown key (with the nearest valid one), a value of the wrong type, values that contradict
            each other: all of them at once.
    """
    parser = Parser(dataclass_types, description, recipe)
    command_line, unknown = parser.parse_known_args(argv)
    _refuse_unknown([item for item in unknown if item.startswith("--")] or unknown, parser, "the command line")
    tokens = _recipe_tokens(command_line.config, parser) if command_line.config else []
    values, _ = parser.parse_known_args([*tokens, *(sys.argv[1:] if argv is None else argv)])
    if hasattr(values, "precision"):
        _settle_precision(values)
    parsed = []
    for kind in dataclass_types:
        names = [item.name for item in dataclasses.fields(kind) if item.init]
        try:
            parsed.append(kind(**{name: getattr(values, name) for name in names}))
        except (ValueError, ImportError) as error:  # TrainingArguments checks itself
            raise InputError(f"Arguments: {str(error).strip().splitlines()[0]}") from error
    _check(values)
    return tuple(parsed)


def _recipe_tokens(path: str, parser: Parser) -> list[str]:
    """A recipe as command-line tokens, so that one parser checks both."""
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise InputError(f"--config {path}: there is no such file.") from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"--config {path}: not a readable YAML file ({' '.join(str(error).split())}).") from error
    if not isinstance(recipe, dict):
        raise InputError(f"--config {path}: holds a {type(recipe).__name__}, expected `key: value` lines.")
    known = set(parser.keys())
    _refuse_unknown([f"--{key}" for key in recipe if key not in known], parser, path)
    tokens = []
    for key, value in recipe.items():
        if value is None:
            continue
        if isinstance(value, list):
            tokens += [f"--{key}", *map(str, value)]
        else:
            tokens += [f"--{key}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return tokens


def _refuse_unknown(options: list[str], parser: Parser, source: str) -> None:
    sentences, keys = [], sorted(parser.keys(), key=len)
    for option in options:
        name = option.split("=")[0].lstrip("-").replace("-", "_")
        begun = [key for key in keys if key.startswith(name)]  # an abbreviation, more likely than a misspelling
        near = begun or difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
        sentences.append(f"{option} is not an argument{f'; did you mean --{near[0]}?' if near else '.'}")
    if sentences:
        raise InputError(f"In {source}: {' '.join(sentences)}")


def _settle_precision(values: argparse.Namespace) -> None:
    """Turn `precision` into the Trainer's bf16 and fp16; `auto` takes bf16 only where it pays."""
    if values.precision == "auto" and not (values.bf16 or values.fp16):
        values.bf16 = bf16_pays(values.use_cpu)
    elif values.precision != "auto":
        asked = [name for name in ("bf16", "fp16") if getattr(values, name) and name != values.precision]
        if asked:
            raise InputError(f"--precision {values.precision} contradicts --{asked[0]}; give one of them.")
        values.bf16, values.fp16 = values.precision == "bf16", values.precision == "fp16"
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        values.use_cpu = True


def _check(values: argparse.Namespace) -> None:
    """Report every argument outside its range at once."""
    problems = []
    ranges = {
        "max_train_samples": (1, None), "max_eval_samples": (1, None), "max_seq_length": (8, None),
        "learning_rate": (0, None), "head_learning_rate": (0, None), "num_train_epochs": (0, None),
        "per_device_train_batch_size": (1, None), "per_device_eval_batch_size": (1, None),
        "gradient_accumulation_steps": (1, None), "weight_decay": (0, None), "seed": (0, 2**32 - 1),
        "max_features": (1, None), "teacher_weight": (0, 1),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        value = getattr(values, name, None)
        if value is not None and (value < low or (high is not None and value > high)):
            problems.append(f"--{name} is {value}; accepted: {low} {f'to {high}' if high else 'or more'}.")
    if getattr(values, "hub_token", None) or getattr(values, "push_to_hub_token", None):
        problems.append("--hub_token would show the token in the process list; set HF_TOKEN or run `hf auth login`.")
    if getattr(values, "hub_always_push", False) or getattr(values, "hub_strategy", "every_save") != "every_save":
        problems.append("--hub_strategy and --hub_always_push steer pushes during training; here is one, at the end.")
    if not getattr(values, "push_to_hub", True) and getattr(values, "hub_model_id", None):
        problems.append("--hub_model_id without --push_to_hub does nothing; give both, or neither.")
    if problems:
        raise InputError(" ".join(problems))


def check_output_dir(output_dir: str | None, overwrite: bool, resume: bool = False) -> Path:
    """The run's folder, made if need be; one that holds a run is refused unless it is to be resumed or replaced."""
    if not output_dir:
        raise InputError("--output_dir is missing; give the folder that the run is to be written to.")
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder} is a file; give a folder.")
    held = [name for name in RUN_FILES if (folder / name).exists()]
    if held and not (overwrite or resume):
        raise InputError(
            f"--output_dir {folder} already holds a run ({', '.join(held[:3])}{', …' if len(held) > 3 else ''}); "
            "give another folder, --resume_from_checkpoint to go on with it, or --overwrite_output_dir to replace it."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {folder} cannot be made ({error.strerror}); give another place.") from error
    return folder


def remove_run(folder: Path) -> None:
    """Remove the run that a folder holds; only what a run writes is touched."""
    for name in RUN_FILES:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
