"""Which files a local dataset is made of: one file, a file or several shards for each split, or a saved dataset."""

import codecs
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from utils.console import InputError
from utils.data.rows import COMPRESSIONS, READERS, kind_of

SPLIT_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
FORMATS = [suffix for suffix in READERS if suffix != ".txt"]
NAMES_FILES = ("emotions.txt", "labels.txt")
_SHARD = re.compile(r"[-_.](?P<number>\d+)(?:-of-(?P<all>\d+))?")


class ChangedError(InputError):
    """A file is not what it was when reading it began."""


class Watch:
    """Whether files stay what they are while they are read: known by size, time of change and place on the disk."""

    def __init__(self, paths: Iterable[Path]):
        self._seen = [(path, _stamp(path)) for path in paths]

    def require_unchanged(self) -> None:
        """Raise `ChangedError` if one of them is another than before."""
        for path, before in self._seen:
            if _stamp(path) != before:
                raise ChangedError(
                    f"{path} was changed while it was read; what was read of it is not used. Start again when nothing "
                    "writes to it any more."
                )


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev


def find_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, in the order of their numbers.

    `train.csv`, `TRAIN.JSONL.gz`, `val.tsv`, `train-00000-of-00002.parquet`, in the folder or in its folder `data`.

    Raises:
        InputError: there are none, several that are no shards of one split, or a shard is missing.
    """
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    candidates = [path for place in places for path in sorted(place.iterdir()) if is_data_file(path)]
    splits = {}
    for split, names in SPLIT_NAMES.items():
        found = [(path, rest) for path in candidates if (rest := _rest(path, names)) is not None]
        if found:
            splits[split] = _shards(folder, split, found)
    if not splits:
        hint = f" Give one file with all rows by its name: {candidates[0]}." if candidates else ""
        raise InputError(
            f"{folder} holds no data: train.*, validation.* (or dev.*) and optionally test.* are looked for, as "
            f"{', '.join(FORMATS)}, the text formats also with {' or '.join(COMPRESSIONS)}.{hint}"
        )
    return splits


def is_data_file(path: Path) -> bool:
    """Whether a file is of a kind that datasets are read from."""
    return path.is_file() and kind_of(path)[0] in FORMATS


def _rest(path: Path, names: Sequence[str]) -> str | None:
    """What stands in a file's name between the split's name and the suffix; None if it is of another split."""
    stem = path.name.lower()
    for suffix in reversed([suffix.lower() for suffix in path.suffixes[-2:]]):
        if suffix in COMPRESSIONS or suffix in FORMATS:
            stem = stem.removesuffix(suffix)
    for name in names:
        rest = stem.removeprefix(name)
        if rest != stem and (not rest or _SHARD.fullmatch(rest)):
            return rest
    return None


def _shards(folder: Path, split: str, found: list[tuple[Path, str]]) -> list[Path]:
    shards = [(path, _SHARD.fullmatch(rest)) for path, rest in found]
    if len(found) > 1 and not all(match for _, match in shards):
        files = ", ".join(path.name for path, _ in found)
        raise InputError(f"{folder}: {len(found)} files for the {split} split ({files}); keep one.")
    totals = {int(match["all"]) for _, match in shards if match and match["all"]}
    if totals and totals != {len(found)}:
        raise InputError(
            f"{folder}: the {split} split has {len(found)} of {max(totals)} shards ({found[0][0].name}, …); all of "
            "them are needed."
        )
    return [path for path, match in sorted(shards, key=lambda item: int(item[1]["number"]) if item[1] else 0)]


def read_names(path: Path) -> list[str]:
    """The label names of a file, one a line, with any characters inside; the order of the lines gives the ids.

    Raises:
        InputError: it is not UTF-8 (or UTF-16 with a byte order mark), is empty, or has an empty line or a name twice.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start + 1}); save it as UTF-8, one name a line.") from error
    names = [line.strip() for line in re.split(r"\r\n|\n|\r", text)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"{path} is empty; one label name a line is needed.")
    if "" in names:
        raise InputError(f"{path} line {names.index('') + 1} is empty; each line gives the name of one id.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"{path} names {', '.join(map(repr, twice))} more than once; one distinct name a line is needed."
        )
    return names
