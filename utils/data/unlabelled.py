"""Texts without labels, of which a model learns what its teachers answer."""

from collections.abc import Sequence
from pathlib import Path

from datasets import DatasetDict

from utils.console import InputError, say
from utils.data.columns import find_text_column
from utils.data.rows import LABEL_NAMES, input_problem, read_rows, refuse_rows, text_key, text_problem


def read_unlabelled(files: Sequence[str], text_column: str | None, splits: DatasetDict) -> list[str]:
    """The texts of files, in their order; says how many there are, and how many of them are left out.

    A text of the dataset is left out: of training rows people have said what the labels are, and those of validation
    and test have to stay unseen. One that stands there twice is taken once. Case and blanks make no difference.

    Args:
        files: of any kind that inference reads, see `read_rows`.
        text_column: of the texts, in the files that have such a column; others have one of a usual name.
        splits: of the dataset, whose texts these are not to be.

    Raises:
        InputError: a file is missing or of another kind, has no such column, a row of it has no text, or no text is
            new.
    """
    texts = [text for name in files for text in _texts_of(Path(name).expanduser(), text_column)]
    of_dataset = {text_key(text) for rows in splits.values() for text in rows["text"]}
    others = [text for text in texts if text_key(text) not in of_dataset]
    new: dict[str, str] = {}
    for text in others:
        new.setdefault(text_key(text), text)
    left_out = [
        f"{count:,} that {why}"
        for count, why in ((len(texts) - len(others), "the dataset has"), (len(others) - len(new), "stand there twice"))
        if count
    ]
    said = f"{', '.join(Path(name).name for name in files)}: {len(new):,} texts without labels"
    said += f" ({' and '.join(left_out)} are left out)" if left_out else ""
    if not new:
        raise InputError(f"--unlabelled_file {said}; give texts that the dataset does not have.")
    say(said)
    return list(new.values())


def _texts_of(path: Path, text_column: str | None) -> list[str]:
    if problem := input_problem(path):
        raise InputError(f"--unlabelled_file {problem}")
    rows = list(read_rows(path, text_column=text_column or "text"))
    names = list(dict.fromkeys(name for row in rows if row.problem is None for name in row.cells))
    column, missing = find_text_column(names, text_column if text_column in names else None)
    if missing and names:
        raise InputError(f"--unlabelled_file {path} (columns: {', '.join(names[:20])}): {missing}")
    problems = [(row.place, row.problem or text_problem(row.cells.get(column))) for row in rows]
    refuse_rows(f"--unlabelled_file {path}", [f"{place}: {problem}" for place, problem in problems if problem])
    if labels := [name for name in names if name.lower() in LABEL_NAMES]:
        say(f"{path.name}: column {labels[0]!r} is not read; rows whose labels count belong in --dataset_name")
    return [row.cells[column] for row in rows]
