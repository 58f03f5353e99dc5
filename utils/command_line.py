"""The command line of the scripts that take no recipe, checked before anything that takes seconds to import."""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from utils.console import InputError
from utils.run_folder import RunFolder

TRUE, FALSE = ("true", "yes", "1", "t", "y"), ("false", "no", "0", "f", "n")


class PlainParser(argparse.ArgumentParser):
    """argparse, with errors as `InputError`; see `plain_parser`."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[0].upper()}{message[1:].rstrip('.')} (see --help).")


def plain_parser(description: str) -> PlainParser:
    """A parser without abbreviations, with the docstring as its help."""
    return PlainParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


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
