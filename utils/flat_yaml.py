"""Flat YAML files, `key: value` a line: of a mapping each key once, and no references."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from utils.console import InputError

MOST_BYTES = 1 << 20


class FlatLoader(yaml.SafeLoader):
    """YAML without what a flat file has no use for: keys twice, of which the last would win, and references, a few of
    which can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError(f"references (*{self.peek_event().anchor}) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"{twice[0]} stands in it twice")
        return super().construct_mapping(node, deep)


class TextLoader(FlatLoader):
    """The same, with keys and values as they are written: a label may be called `no`, `911` or `2024-01-01`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (as yaml declares it)


def read_flat(path: str, option: str, loader: type[FlatLoader] = FlatLoader) -> dict[str, Any]:
    """The keys and values of a file that a user has named with `option`.

    Raises:
        InputError: it is no file, or none of this form.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise InputError(f"{option} {path}: there is no such file.")
    if not file.is_file():
        raise InputError(f"{option} {path}: is no file.")
    if file.stat().st_size > MOST_BYTES:
        raise InputError(f"{option} {path}: has {file.stat().st_size:,} bytes; accepted: up to {MOST_BYTES:,}.")
    try:
        content = yaml.load(file.read_text(encoding="utf-8-sig"), loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise InputError(f"{option} {path}: not a readable YAML file ({reason}).") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{option} {path}: holds a {type(content).__name__}, expected `key: value` lines.")
    return {str(key): value for key, value in content.items()}
