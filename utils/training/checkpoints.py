"""Checkpoints that are known to be whole: a kill while one is written never costs more than that one."""

import json
import re
from pathlib import Path

from utils.console import InputError, say
from utils.run_folder import CHECKPOINTS, STATE_FILE, RunFolder, write_json

COMPLETE_FILE = "complete.json"  # written last; lists the checkpoint's files with their sizes


def mark_whole(checkpoint: Path) -> None:
    """Note in the checkpoint that all of it has been written."""
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in checkpoint.rglob("*")
             if path.is_file() and path.name != COMPLETE_FILE}  # fmt: skip
    write_json(checkpoint / COMPLETE_FILE, sizes)


def is_whole(checkpoint: Path) -> bool:
    """True if every file stands in the checkpoint at the size it was written with."""
    try:
        sizes = json.loads((checkpoint / COMPLETE_FILE).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def find_checkpoint(resume: str | None, run: RunFolder) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` means: a path, or the newest complete one of this run.

    Raises:
        InputError: there is none.
    """
    if resume is None or str(resume).lower() in ("false", "none"):
        return None
    if str(resume).lower() != "true":
        if not (Path(resume) / STATE_FILE).is_file():
            raise InputError(f"--resume_from_checkpoint {resume}: not a checkpoint folder (it has no {STATE_FILE}).")
        return str(resume)
    folder = run.path / CHECKPOINTS
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*")
                if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))]  # fmt: skip
    for _, path in sorted(numbered, reverse=True):
        if is_whole(path):
            return str(path)
        say(f"{path} is incomplete (the run was stopped while writing it); it is passed over.")
    raise InputError(
        f"--resume_from_checkpoint: {folder} holds no complete checkpoint; give its path, or start the run again with "
        "--overwrite_output_dir."
    )
