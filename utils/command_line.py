"""The command line of the scripts that train nothing, checked before anything that takes seconds to import."""

import argparse
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils.console import InputError
from utils.lines import folded, shown_width, terminal_width
from utils.machine import PRECISIONS
from utils.recipe import as_tokens, read_recipe, refuse_unknown
from utils.run_folder import RunFolder

TRUE, FALSE = ("true", "yes", "1", "t", "y"), ("false", "no", "0", "f", "n")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help at the terminal's width: a short usage, what the script's docstring says, options with their defaults."""

    def __init__(self, prog: str, position: int = 26):
        super().__init__(prog, max_help_position=position, width=min(120, terminal_width(sys.stdout) or 100))

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        needed = [action for action in actions if action.required and action.option_strings]
        named = [f"{action.option_strings[0]} {self._format_args(action, 'VALUE')}" for action in needed]
        places = [action.metavar or action.dest for action in actions if not action.option_strings]
        return f"usage: {' '.join([self._prog, *named, '[--argument value …]', *map(str, places)])}\n\n"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = re.split(r"\n\s*\n", text.strip())
        return "\n\n".join(_example(part, width) if part[0].isspace() else folded(" ".join(part.split()), width)
                           for part in paragraphs)  # fmt: skip

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).rstrip()  # a switch that is off has no value to show

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.metavar == "":
            return ""
        shown = super()._format_args(action, default_metavar)
        return f"{self._metavar_formatter(action, default_metavar)(1)[0]} …" if action.nargs == "+" else shown

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return {int: "N", float: "X"}.get(action.type, "VALUE")  # type: ignore[call-overload]

    def _get_help_string(self, action: argparse.Action) -> str:
        return with_default(action.help or "", action.default)


def with_default(meaning: str, default: Any) -> str:
    """What an argument means, and its default, where there is one that it does not name already."""
    if default in (None, False, "", [], argparse.SUPPRESS) or re.search(r"\bdefault\b", meaning):
        return meaning
    shown = " ".join(map(str, default)) if isinstance(default, list) else getattr(default, "value", default)
    return f"{meaning} (default: {str(shown).lower() if shown is True else shown})".replace("%", "%%")


def _example(text: str, width: int) -> str:
    """The commands of a docstring, each with what it is for behind it, or where that has no place, before it."""
    lines = []
    for line in text.split("\n"):
        command_, _, comment = line.partition("  # ")
        if comment and shown_width(line) > width:
            lines.append(folded(f"    # {comment.strip()}", width, "# "))
            line = command_
        lines.append(folded(re.sub(r"(?<=\S) {2,}(?=--)", " ", line.rstrip()), width))
    return "\n".join(lines)


class PlainParser(argparse.ArgumentParser):
    """argparse, with errors as `InputError`; see `plain_parser`."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[0].upper()}{message[1:].rstrip('.')} (see --help).")


def plain_parser(description: str) -> PlainParser:
    """A parser without abbreviations, with the docstring as its help."""
    parser = PlainParser(description=description, formatter_class=HelpFormatter, allow_abbrev=False)
    parser._optionals.title = "general"
    return parser


def parse_with_recipe(parser: PlainParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the recipe that `--config` names, and of the command line, which overrides it.

    Raises:
        InputError: an unknown key, with the nearest valid one, or a value that is not accepted.
    """
    tokens = sys.argv[1:] if argv is None else list(argv)
    first = plain_parser("")
    first.add_argument("--config", type=name_or_place)
    config = first.parse_known_args([token for token in tokens if token not in ("-h", "--help")])[0].config
    recipe = read_recipe(config) if config else {}
    keys = {action.dest for action in parser._actions} - {"help", "config"}
    refuse_unknown([f"--{key}" for key in recipe if key not in keys], keys, config or "")
    flags = {action.dest for action in parser._actions if action.nargs == 0}
    refuse([f"--config {config}: {key} is {recipe[key]!r}; accepted: true or false." for key in flags & recipe.keys()
            if not isinstance(recipe[key], bool)])  # fmt: skip
    on = [f"--{key}" for key in flags & recipe.keys() if recipe[key]]
    values = {key: value for key, value in recipe.items() if key not in flags}
    args, unknown = parser.parse_known_args([*as_tokens(values), *on, *tokens])
    refuse_unknown(unknown, keys, "the command line")
    return args


def add_answer_arguments(parser: PlainParser) -> None:
    """The arguments about what is answered to a text, and what computes it, in two groups."""
    add = parser.add_argument_group("what is answered").add_argument
    add("--text_column", default="text", help="the column that holds the text")
    add("--threshold", type=float, help="one threshold for all labels (unset: the model's own)")
    add("--top_k", type=int, help="the K best labels of each text, whether or not they reach their threshold")
    for name, meaning in (
        ("at_least_one", "where no label reaches its threshold, name the nearest"),
        ("neutral_alone", "where another label reaches its threshold too, do not name neutral"),
        ("all_scores", "also one column `probability_LABEL` per label (of the unfolded model)"),
    ):
        add(f"--{name}", action="store_true", help=meaning)
    add = parser.add_argument_group("what computes").add_argument
    add("--use_cpu", action="store_true", help="do not use a GPU")
    add("--backend", choices=("torch", "onnx"), default="torch", help="what computes (onnx: ONNX Runtime, on the CPU)")
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of the numbers; auto: int8 with onnx, else bf16 where it is faster",
    )


def answer_problems(args: argparse.Namespace) -> list[str]:
    """A sentence for each of these arguments that is out of its range."""
    return out_of_range(args, {"threshold": (0, 1), "top_k": (1, None)})


def with_home(path: str) -> str:
    """`path` with the home in place of `~`, which the shell leaves alone in `--argument=~/…` and in recipes.

    Raises:
        InputError: there is no such user.
    """
    try:
        return os.path.join(Path(path.split("/")[0]).expanduser(), *path.split("/")[1:]) if path[:1] == "~" else path
    except RuntimeError as error:
        raise InputError(f"{path}: there is no user {path.split('/')[0][1:]!r}; ~ alone is your own home.") from error


def name_or_place(text: str) -> str:
    """`with_home` for argparse's `type`, which keeps the sentence of an `ArgumentTypeError` alone."""
    try:
        return with_home(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def place(path: str) -> Path:
    """A path on the command line, for argparse's `type`; see `with_home`."""
    return Path(name_or_place(path))


def run_folder(path: str) -> RunFolder:
    """A run's folder on the command line, for argparse's `type`; see `with_home`."""
    return RunFolder(name_or_place(path))


def command(script: str, *arguments: object) -> str:
    """The command line that runs a script of this project from the folder in which the user is, with this Python."""
    here = os.path.dirname(sys.executable)
    found = shutil.which("python")
    python = "python" if found and os.path.dirname(found) == here else _seen_from_here(sys.executable)
    return shlex.join(
        [python, _seen_from_here(str(Path(__file__).resolve().parents[1] / script)), *map(str, arguments)]
    )


def without_options(tokens: Sequence[str], names: Collection[str]) -> list[str]:
    """A command's arguments without the options of these names and their values."""
    kept, dropping = [], False
    for token in tokens:
        if token.startswith("--"):
            dropping = token[2:].split("=")[0] in names
        if not dropping:
            kept.append(token)
    return kept


def in_steps(steps: Mapping[str, str]) -> str:
    """What a user may do next, one line each: what for, and the command."""
    return "\n".join(f"  {purpose}: {line}" for purpose, line in steps.items())


def _seen_from_here(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def true_or_false(text: str) -> bool:
    """What `true` and `false` and their like mean on a command line: the words that transformers takes."""
    if text.lower() not in TRUE + FALSE:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() in TRUE


def check_ranges(values: Any, ranges: Mapping[str, tuple[float, float | None]]) -> None:
    """Raise `InputError` for all arguments outside their ranges (lowest and highest value, None: no limit)."""
    refuse(out_of_range(values, ranges))


def out_of_range(values: Any, ranges: Mapping[str, tuple[float, float | None]]) -> list[str]:
    """A sentence for each argument outside its range; what is no number, or infinite, is outside of every one."""
    problems = []
    for name, (low, high) in ranges.items():
        value = getattr(values, name)
        if value is not None and not (math.isfinite(value) and low <= value and (high is None or value <= high)):
            problems.append(f"--{name} is {value}; accepted: {low} {f'to {high}' if high else 'or more'}.")
    return problems


def refuse(problems: Sequence[str]) -> None:
    """Raise `InputError` with all problems, if there are any."""
    if problems:
        raise InputError(" ".join(problems))
