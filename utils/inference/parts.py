"""The parts of an unfinished output file, in a folder beside it: what is there is whole, so that a job can go on.

    emotions.csv.parts/
      manifest.json               what the parts were made from; other parts must not be added
      part-00000012-4096-3.csv    rows 12 × 4096 and on: 4096 of them, 3 of which could not be classified

Which rows a part holds depends on its number alone, so any number of processes can make parts and go on making them.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from utils.console import InputError
from utils.inference.output import OutputFile
from utils.run_folder import whole_file, write_bytes

MANIFEST_FILE = "manifest.json"


def digest(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 over the content of files, for a manifest; their names and dates do not matter."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return {"sha256": total.hexdigest()}


class Part(NamedTuple):
    """A finished part, its rows, and how many of them could not be classified."""

    path: Path
    rows: int
    unclassified: int


class PartFolder:
    def __init__(self, output: OutputFile):
        self.output = output
        self.path = output.path.with_name(output.path.name + ".parts")

    def begin(self, manifest: dict[str, Any], resume: bool) -> str | None:
        """Make the folder, or take over that of an earlier run; returns what a user should know about that.

        Args:
            manifest: all that rows depend on, as JSON has it. `input` None: what was read cannot be read again.
            resume: go on with the finished parts of a run with the same manifest.

        Raises:
            InputError: there are finished parts and they are not to be resumed, or they are of another job; or the
                place cannot be written to.
        """
        try:
            stored = json.loads((self.path / MANIFEST_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stored = {}
        parts = self.finished()
        if not parts or not stored.get("input"):
            try:
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)
                write_bytes(self.path / MANIFEST_FILE, json.dumps(manifest, indent=2).encode())
            except OSError as error:
                raise InputError(
                    f"{self.output.path} cannot be written ({error.strerror}); give another place."
                ) from error
            return "--resume: no part was finished before; this starts at the first row." if resume else None
        if not resume:
            raise InputError(
                f"{self.path} holds {len(parts):,} finished part(s) of an earlier run; go on with it (--resume), or "
                "remove that folder to start again."
            )
        for key, value in manifest.items():
            if stored.get(key) != value:
                change = (
                    "had other content" if key in ("input", "model") else f"was {stored.get(key)}, now it is {value}"
                )
                raise InputError(
                    f"--resume: {self.path} was left by another run (its {key} {change}); run it as it was, or remove "
                    "that folder to start again."
                )
        return f"--resume: {sum(part.rows for part in parts.values()):,} rows were finished before."

    def finished(self) -> dict[int, Part]:
        """The finished parts by their numbers."""
        parts = {}
        for path in self.path.glob("part-*") if self.path.is_dir() else ():
            if found := re.fullmatch(rf"part-(\d+)-(\d+)-(\d+){re.escape(self._suffix())}", path.name):
                number, rows, unclassified = map(int, found.groups())
                parts[number] = Part(path, rows, unclassified)
        return parts

    def write(self, number: int, content: bytes, rows: int, unclassified: int) -> None:
        """Store a part in one stroke."""
        write_bytes(self.path / f"part-{number:08}-{rows}-{unclassified}{self._suffix()}", content)

    def join(self, count: int) -> int:
        """Make the output file of parts 0 to `count` - 1 and remove the folder; returns the unclassified rows."""
        parts = self.finished()
        if missing := sorted(set(range(count)) - parts.keys()):
            raise InputError(
                f"{self.path} lacks {len(missing)} part(s), the first is {missing[0]}; all processes must see the same "
                "folder, and nothing else may change it."
            )
        with whole_file(self.output.path) as file:
            self.output.join((parts[number].path for number in range(count)), file)
        self.remove()
        return sum(parts[number].unclassified for number in range(count))

    def remove(self) -> None:
        """Remove the folder, the manifest first: without it, nobody takes what is left for a job to go on with."""
        (self.path / MANIFEST_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _suffix(self) -> str:
        return "".join(self.output.path.suffixes[-2:] if self.output.compression else self.output.path.suffixes[-1:])
