"""Recipes: flat YAML files with the arguments of a script as keys."""

import difflib
import json
from collections.abc import Iterable
from typing import Any

from utils.console import InputError
from utils.flat_yaml import read_flat


def read_recipe(path: str) -> dict[str, Any]:
    """The arguments in a recipe, by name.

    Raises:
        InputError: it is no file, or none of this form.
    """
    recipe = read_flat(path, "--config")
    if "config" in recipe:
        raise InputError(f"--config {path}: names another recipe (config: {recipe['config']}); accepted: one recipe.")
    return recipe


def as_tokens(recipe: dict[str, Any]) -> list[str]:
    """A recipe as command-line tokens, so that one parser checks both."""
    tokens = []
    for key, value in recipe.items():
        if isinstance(value, list):
            tokens += [f"--{key}", *map(str, value)]
        elif value is not None:
            tokens.append(f"--{key}={json.dumps(value) if isinstance(value, dict) else value}")
    return tokens


def refuse_unknown(options: Iterable[str], keys: Iterable[str], source: str) -> None:
    """Raise `InputError` if there are any `options`, which are none of `keys`: a sentence each, with the nearest."""
    sentences, keys = [], sorted(keys, key=len)
    for option in options:
        name = option.split("=")[0].lstrip("-").replace("-", "_")
        begun = [key for key in keys if key.startswith(name)]  # an abbreviation, more likely than a misspelling
        near = begun or difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
        sentences.append(f"{option} is not an argument{f'; did you mean --{near[0]}?' if near else '.'}")
    if sentences:
        raise InputError(f"In {source}: {' '.join(sentences)}")
