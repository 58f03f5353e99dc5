"""The folder of an audit: what stands in it, whose it is, and how an audit that was stopped goes on."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.console import InputError, refused_together
from utils.run_folder import RunFolder, read_json, write_json
from utils.training.checkpoints import differences, fingerprint
from utils.training.distillation import out_of_fold_file

QUESTION_FILE = "folds/question.json"  # what is asked, as checkpoints keep it; written first
FOLDS = "folds"  # each fold's probabilities, and each judge's
SUMMARY_FILE = "audit.json"
PROBABILITIES_FILE = out_of_fold_file("").name
SUSPECTS_FILE, LABELS_FILE, AGREEMENT_FILE, CONFUSED_FILE = (
    "suspects.csv",
    "labels.csv",
    "agreement.csv",
    "confused_labels.csv",
)
REPORT_FILE = "report.html"
RESULTS = (SUMMARY_FILE, PROBABILITIES_FILE, SUSPECTS_FILE, LABELS_FILE, AGREEMENT_FILE, CONFUSED_FILE, REPORT_FILE)


def open_folder(output_dir: str | None, *inputs: str) -> Path:
    """The folder of an audit, made if need be, and held; it holds an audit already, or nothing under its names.

    Args:
        inputs: data, models and corrections that the audit reads.

    Raises:
        InputError: it holds a run, something else under the names of an audit's files, or an input under one.
    """
    if output_dir and RunFolder(output_dir).holds_a_run:
        raise InputError(
            f"--output_dir {output_dir} holds a run; an audit needs a folder of its own, such as {output_dir}_audit."
        )
    folder = RunFolder.create(output_dir, overwrite=False, inputs=inputs).path
    refused_together(lambda: _require_audit_or_nothing(folder, [Path(name).expanduser() for name in inputs]))
    return folder


def _require_audit_or_nothing(folder: Path, inputs: Sequence[Path]) -> None:
    for source in filter(Path.exists, inputs):
        if source.resolve() in [(folder / name).resolve() for name in RESULTS]:
            raise InputError(
                f"--output_dir {folder}: the audit reads {source}, which would be replaced; rename that, or give "
                "another folder."
            )
    held = [name for name in (*RESULTS, FOLDS) if (folder / name).exists()]
    if held and not _is_question(folder / QUESTION_FILE):
        raise InputError(
            f"--output_dir {folder} holds {', '.join(held)}, and no {QUESTION_FILE} says that an audit wrote that; "
            "give another folder."
        )


def _is_question(path: Path) -> bool:
    return path.is_file() and {"dataset", "label_names", "folds", "audit_splits"} <= read_json(path).keys()


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_as_written(folder: Path) -> None:
    """Raise `InputError` if somebody has changed suspects.csv since an audit came to its end here."""
    path = folder / SUSPECTS_FILE
    if path.is_file() and (folder / SUMMARY_FILE).is_file():
        written = read_json(folder / SUMMARY_FILE).get("suspects_sha256")
        if written is not None and digest_of(path) != written:
            raise InputError(
                f"{path} has been changed since the audit wrote it, and would be replaced; rename it (as corrections "
                "it is good under any name), or give --overwrite_output_dir if it is not needed."
            )


def begin(folder: Path, question: Mapping[str, Any], overwrite: bool) -> str:
    """Begin the audit that `question` describes, or go on with it; what its folds' files are known by.

    Args:
        question: all that decides the probabilities.
        overwrite: an audit that asks something else may be replaced.

    Raises:
        InputError: the folder holds such an audit, or a suspects.csv that somebody has changed, which are not to be
            replaced.
    """

    def look() -> None:
        path = folder / QUESTION_FILE
        if path.is_file() and (different := differences(read_json(path), question)) and not overwrite:
            raise InputError(
                f"--output_dir {folder} holds an audit of something else ({'; '.join(different)}); give another "
                "folder, or --overwrite_output_dir to replace it."
            )
        if not overwrite:
            _require_as_written(folder)
        if not path.is_file() or different:
            for name in RESULTS:
                (folder / name).unlink(missing_ok=True)
            for kept in (folder / FOLDS).glob("*.parquet"):
                kept.unlink()
            write_json(path, question)

    refused_together(look)
    return fingerprint(question)
