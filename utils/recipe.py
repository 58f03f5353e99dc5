"""Recipes: flat YAML files with the arguments of a script as keys."""

import difflib
import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from utils.console import InputError

MOST_BYTES = 1 << 20  # of a recipe


class _FlatLoader(yaml.SafeLoader):
    """YAML without what a flat recipe has no use for: keys twice, of which the last would win, and references, a few
    of which can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError(f"references (*{self.peek_event().anchor}) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"{twice[0]} stands in it twice")
        return super().construct_mapping(node, deep)


def read_recipe(path: str) -> dict[str, Any]:
    """The arguments in a recipe, by name.

    Raises:
        InputError: it is no file, or none of this form.
    """
    file = Path(path)
    if not file.exists():
        raise InputError(f"--config {path}: there is no such file.")
    if not file.is_file():
        raise InputError(f"--config {path}: is no file.")
    if file.stat().st_size > MOST_BYTES:
        raise InputError(f"--config {path}: has {file.stat().st_size:,} bytes; accepted: up to {MOST_BYTES:,}.")
    try:
        recipe = yaml.load(file.read_text(encoding="utf-8"), _FlatLoader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise InputError(f"--config {path}: not a readable YAML file ({reason}).") from error
    if recipe is None:
        return {}
    if not isinstance(recipe, dict):
        raise InputError(f"--config {path}: holds a {type(recipe).__name__}, expected `key: value` lines.")
    if "config" in recipe:
        raise InputError(f"--config {path}: names another recipe (config: {recipe['config']}); accepted: one recipe.")
    return {str(key): value for key, value in recipe.items()}


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
