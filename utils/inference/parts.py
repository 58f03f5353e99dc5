"""The parts of an unfinished output file, in a folder beside it: what is there is whole, so that a job can go on.

    emotions.csv.parts/
      manifest.json               what the parts were made from; other parts must not be added
      part-00000012-4096-3.csv    rows 12 × 4096 and on: 4096 of them, 3 of which could not be classified

Which rows a part holds depends on its number alone, so that any later process can go on making them.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from utils.console import InputError
from utils.inference.output import OutputFile
from utils.run_folder import whole_file, write_bytes

MANIFEST_FILE = "manifest.json"
ROWS = "rows a part"  # in the manifest, by which it is known


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

    def require_room(self, resume: bool, overwrite: bool) -> None:
        """Raise `InputError` where something is in the output's place.

        That is an output that is there and is not to be replaced, or a folder with other files than such parts. What a
        kill has left can be gone on with, also where the output was in its place already.
        """
        place, stored = self.output.path, self._manifest()
        names = sorted(os.listdir(self.path)) if self.path.is_dir() else []
        strange = [name for name in names if not self._is_ours(self.path / name)]
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is in the way: unfinished output is kept in a folder of this name.")
        if strange or (not stored and any(name.startswith("part-") for name in names)):
            shown = ", ".join((strange or names)[:3]) + ", …" * (len(strange or names) > 3)
            raise InputError(
                f"{self.path} holds other files than the parts of an unfinished output ({shown}), which are not "
                "touched; move them, or give another --output_file."
            )
        if not place.exists() or overwrite or (resume and stored.get("input")):
            return
        if resume:
            self.remove()  # of a job that was killed at its very end, the empty folder
            raise InputError(
                f"--resume: {place} is there, and no part of an unfinished one: it is finished, or another job's; "
                "give --overwrite_output to replace it."
            )
        raise InputError(f"{place} exists already; give another name, or --overwrite_output to replace it.")

    def begin(self, manifest: dict[str, Any], resume: bool, overwrite: bool = False) -> str | None:
        """Make the folder, or take over that of an earlier run; returns what a user should know about that.

        Args:
            manifest: all that rows depend on, as JSON has it. `input` None: what was read cannot be read again.
            resume: go on with the finished parts of a run with the same manifest.
            overwrite: unless they are gone on with, remove them.

        Raises:
            InputError: there are finished parts and they are not to be resumed, or they are of another job; or the
                place cannot be written to.
        """
        self.require_room(resume, overwrite=True)
        stored, parts = self._manifest(), self.finished()
        if not parts or not stored.get("input") or (overwrite and not resume):
            try:
                self.remove()
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
                "start again (--overwrite_output)."
            )
        for key, value in manifest.items():
            if stored.get(key) != value:
                change = (
                    "had other content" if key in ("input", "model") else f"was {stored.get(key)}, now it is {value}"
                )
                raise InputError(
                    f"--resume: {self.path} was left by another run (its {key} {change}); run it as it was, or "
                    "start again (--overwrite_output without --resume)."
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
                f"{self.path} lacks {len(missing)} part(s), the first is {missing[0]}; nothing else may change it."
            )
        with whole_file(self.output.path) as file:
            self.output.join((parts[number].path.open("rb") for number in range(count)), file)
        self.remove()
        return sum(parts[number].unclassified for number in range(count))

    def remove(self) -> None:
        """Remove the parts, then the manifest: until it is gone, a job that is stopped here can be gone on with."""
        if not self.path.is_dir():
            return
        ours = [path for path in self.path.iterdir() if self._is_ours(path)]
        with suppress(OSError):  # somebody else's files are in it
            for path in sorted(ours, key=lambda path: path.name == MANIFEST_FILE):
                path.unlink(missing_ok=True)
            self.path.rmdir()

    def _manifest(self) -> dict[str, Any]:
        """What the parts in the folder were made from; nothing where no manifest says so."""
        try:
            stored = json.loads((self.path / MANIFEST_FILE).read_text(encoding="utf-8"))
            return stored if ROWS in stored else {}
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def _is_ours(self, path: Path) -> bool:
        """Whether a file in the folder can be one that a job has put there."""
        name = path.name.removesuffix(".unfinished")
        if name == path.name == MANIFEST_FILE:
            return bool(self._manifest())
        part = re.fullmatch(rf"part-\d+-\d+-\d+{re.escape(self._suffix())}", name)
        return (name == MANIFEST_FILE or part is not None) and path.is_file()

    def _suffix(self) -> str:
        return "".join(self.output.path.suffixes[-2:] if self.output.compression else self.output.path.suffixes[-1:])
