"""Out-of-fold probabilities: a row is judged by a model that has seen neither its labels nor those of a text like it.

The rows are dealt into folds; for each fold a model learns from all others and is asked about this one. What a model
says of rows that it has learned from is worth little: it repeats their labels.
"""

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

from utils.auditing.judges import Judge, ask
from utils.console import InputError, say
from utils.machine import is_launched_with_others, is_main_process
from utils.run_folder import digest, whole_file
from utils.training.checkpoints import fingerprint, identity

_QUESTION = b"question"  # in a fold's file: what was asked


def normalised(text: str) -> str:
    """What equal and nearly equal texts have in common: letters and digits, without case, accents' form or anything
    else; a text that has none is itself, without blanks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in folded if sign.isalnum()) or "".join(folded.split())


def alike(texts: Sequence[str]) -> np.ndarray:
    """The number of each text's group of equal or nearly equal texts, shape (texts,), counted from 0."""
    groups: dict[str, int] = {}
    return np.array([groups.setdefault(normalised(text), len(groups)) for text in texts], dtype=np.int64)


def deal(texts: Sequence[str], gold: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, from 0: equal label proportions (Sechidis et al. 2011), and texts that are alike together.

    Args:
        gold: zeros and ones, shape (rows, labels).
        folds: at least 2.

    Raises:
        InputError: there are fewer different texts than folds.
    """
    group = alike(texts)
    groups = int(group.max()) + 1 if len(group) else 0
    if groups < folds:
        way = "give no more folds than that" if groups > 1 else "an audit takes at least two"
        raise InputError(f"--folds {folds}: the data has {groups} different text(s); {way}.")
    labels = np.zeros((groups, gold.shape[1]))
    np.maximum.at(labels, group, gold)
    # A column for rows without labels, and, where there is one label, a second one that scikit-learn asks for.
    labels = np.column_stack([labels, labels.sum(axis=1) == 0])
    fold_of_group = np.empty(groups, dtype=np.int64)
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(groups), labels)):
        fold_of_group[held_out] = fold
    return fold_of_group[group]


def out_of_fold(rows: Dataset, fold_of: np.ndarray, judge: Judge, folder: Path, question: str) -> np.ndarray:
    """Probabilities of all rows, float32 of shape (rows, labels), each from the model that has not seen the row's fold.

    Args:
        rows: with `text` and `labels`.
        fold_of: see `deal`.
        judge: makes a model of the rows that it is given.
        folder: where each fold's probabilities are kept, and found again when the same command is given once more.
        question: what they are an answer to; those to another question are not used.
    """
    texts, count = rows["text"], len(rows.features["labels"].feature.names)
    probabilities = np.zeros((len(rows), count), dtype=np.float32)
    folds = int(fold_of.max()) + 1
    for fold in range(folds):
        held_out = np.flatnonzero(fold_of == fold)

        def answer(fold: int = fold, held_out: np.ndarray = held_out) -> np.ndarray:
            others = rows.select(np.flatnonzero(fold_of != fold))
            say(f"\nfold {fold + 1} of {folds}: learning from {len(others):,} rows, to judge {len(held_out):,}")
            return judge(others, [texts[row] for row in held_out])

        probabilities[held_out] = kept(folder / f"fold-{fold + 1}-of-{folds}.parquet", question, answer)
    return probabilities


def opinion(
    name: str, texts: Sequence[str], names: Sequence[str], device: str | torch.device, folder: Path, question: str
) -> np.ndarray:
    """What a finished model says of the rows: see `ask`; kept in `folder` as the folds' probabilities are."""
    known_by = digest([fingerprint({"judge": identity(name)}), question])
    return kept(folder / f"judge-{known_by}.parquet", known_by, lambda: ask(name, texts, names, device))


def kept(path: Path, question: str, answer: Callable[[], np.ndarray]) -> np.ndarray:
    """Probabilities, shape (rows, labels), from a file where it answers the same question, or made and kept there."""
    found = _read_together(path, question)
    if found is not None:
        say(f"{path.stem}: done before")
        return found
    answers = answer()
    if is_main_process():
        _write(path, question, answers)
    return answers


def _write(path: Path, question: str, probabilities: np.ndarray) -> None:
    table = pyarrow.table({str(label): column for label, column in enumerate(probabilities.T.astype(np.float32))})
    with whole_file(path) as file:
        pyarrow.parquet.write_table(table.replace_schema_metadata({_QUESTION: question}), file)


def _read_together(path: Path, question: str) -> np.ndarray | None:
    """As `_read`, by the main process for all: an answer is made by all of them, or by none."""
    found = [_read(path, question) if is_main_process() else None]
    if is_launched_with_others():
        broadcast_object_list(found)
    return found[0]


def _read(path: Path, question: str) -> np.ndarray | None:
    """The probabilities in a fold's file; None where it is not there, or answers another question."""
    if not path.is_file():
        return None
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError):  # damaged: it is made again
        return None
    if (table.schema.metadata or {}).get(_QUESTION) != question.encode():
        return None
    return np.column_stack([column.to_numpy() for column in table.columns])
