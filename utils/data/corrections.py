"""Corrected labels: what a person has decided about doubtful rows, in a file beside the dataset, which stays as it is.

A file of corrections has one row for each row of the dataset that somebody has looked at: `split` and `place` (as
`load_splits` gives it), `text` and `labels` as they were, `corrected_labels`, and where it comes from report.html a
`verdict`. It is applied to exactly the rows that it was made from, or not at all.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict

from utils.console import InputError
from utils.data.files import Watch
from utils.data.rows import Row, read_rows, refuse_rows

COLUMNS = ("split", "place", "text", "labels", "corrected_labels")  # and, where it is known, `verdict`
SPLITS = ("train", "validation", "test")
VERDICTS = ("accept", "edit", "keep")
_SHOWN = 40  # characters of a text in a sentence


class Corrections(NamedTuple):
    """A file of corrections: its name without its folder, what it holds as SHA-256, and its rows as they were read."""

    name: str
    sha256: str
    rows: list[Row]


class Corrected(DatasetDict):
    """Splits some of whose labels were corrected after they had been read.

    Attributes:
        corrections: for run.json, for each file its name, SHA-256, and for each split how many rows were corrected,
            labels removed and added, and rows kept; or how many were not applied.
        sha256_before: the dataset's fingerprint before.
    """

    def __init__(self, splits: DatasetDict, corrections: list[dict[str, Any]], sha256_before: str):
        super().__init__(splits)
        self.corrections, self.sha256_before = corrections, sha256_before


class _Line(NamedTuple):
    """One row of a file of corrections, understood: which row of the dataset, and what becomes of its labels.

    `doubt`: which label an audit's suspects.csv doubts there, which has a line for each doubt about a row.
    """

    place: str
    split: str
    row: int
    kept: list[int]
    added: list[int]
    removed: int
    doubt: str | None = None

    def together(self, other: "_Line") -> "_Line":
        """Both doubts about a row taken as right, as report.html does where it is accepted."""
        kept = [label for label in self.kept if label in other.kept]
        added = sorted({*self.added, *other.added})
        return self._replace(kept=kept, added=added, removed=self.removed + len(self.kept) - len(kept))


# --- cells of labels --------------------------------------------------------------------------------------------------


def needs_lists(names: Sequence[str]) -> bool:
    """Whether cells with labels have to be JSON lists, because commas between the names would not tell them apart."""
    return any(not name or "," in name or name.startswith("[") or name != name.strip() for name in names)


def labels_cell(labels: Sequence[str], names: Sequence[str]) -> str:
    """Labels of one row as a cell: joined by commas, or as a JSON list where a name of the dataset needs that."""
    if not labels:
        return ""
    return json.dumps(list(labels), ensure_ascii=False) if needs_lists(names) else ",".join(labels)


def read_labels(cell: str | None, names: Sequence[str]) -> list[str]:
    """The labels in a cell that `labels_cell` wrote, whatever they are called.

    Raises:
        ValueError: it is none, or holds a label that the dataset does not have, or one twice; its text says which.
    """
    text = (cell or "").strip()
    if text.startswith("["):
        try:
            labels = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{_short(text)} is no JSON list of labels") from error
        if not all(isinstance(label, str) for label in labels):
            raise ValueError(f"{_short(text)} is no JSON list of labels")
    elif text and needs_lists(names):
        raise ValueError(f"{_short(text)} is no JSON list, which labels are here because a name of theirs has a comma")
    else:
        labels = [label.strip() for label in text.split(",") if label.strip()]
    for label in labels:
        if label not in names:
            near = difflib.get_close_matches(label, names, n=1)
            raise ValueError(f"unknown label {label!r}{f', did you mean {near[0]!r}' if near else ''}")
        if labels.count(label) > 1:
            raise ValueError(f"label {label!r} stands twice")
    return labels


# --- the file ---------------------------------------------------------------------------------------------------------


def read_corrections(name: str) -> Corrections:
    """A file of corrections, in any format of rows; a spreadsheet may have saved it.

    Raises:
        InputError: it is not there, empty, changes meanwhile, or lacks a column.
    """
    path = Path(name).expanduser()
    watch = Watch([path])
    rows = list(read_rows(path))
    if not rows:
        raise InputError(f"--corrections {path} has no rows; save it from report.html after the first verdict.")
    good = next((row.cells for row in rows if row.problem is None), rows[0].cells)
    if missing := [column for column in COLUMNS if column not in good]:
        raise InputError(
            f"--corrections {path} has no column {', '.join(missing)} (found: {', '.join(map(str, good)) or 'none'}); "
            f"a file of corrections has {', '.join(COLUMNS)} and, where it comes from report.html, verdict."
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    watch.require_unchanged()
    return Corrections(path.name, sha256, rows)


def correct(
    splits: DatasetDict, corrections: Corrections, validation: bool, allow_unlabelled: bool
) -> tuple[DatasetDict, dict[str, Any]]:
    """The same splits with labels corrected in train, in validation if asked, in test never.

    Every row of the file is compared with the dataset, also those that are not applied. A row is corrected in the split
    in which it stands now, which for a dataset that is split here hangs on the seed.

    Args:
        corrections: the file.
        validation: whether it is to be applied to validation as well.
        allow_unlabelled: whether a row may be left without labels.

    Returns the splits and the file's entry in `Corrected.corrections`.

    Raises:
        InputError: rows of the file and of the dataset do not go together; all of them with their places.
    """
    problems: list[str] = []
    lines = _understood(splits, corrections.rows, allow_unlabelled, problems)
    refuse_rows(f"--corrections {corrections.name}", problems)
    corrected = DatasetDict(splits)
    entry: dict[str, Any] = {"file": corrections.name, "sha256": corrections.sha256}
    for split in SPLITS:
        found = [line for line in lines if line.split == split]
        if not found and split != "train":
            continue
        if split == "test" or (split == "validation" and not validation):
            entry[split] = {"not_applied": len(found)}
            continue
        changed = [line for line in found if line.added or line.removed]
        labels = splits[split]["labels"][:]
        for line in changed:
            labels[line.row] = line.kept + line.added
        features = splits[split].features
        columns = {name: splits[split][name][:] for name in features} | {"labels": labels}
        corrected[split] = Dataset.from_dict(columns, features=features)
        entry[split] = {
            "corrected": len(changed),
            "removed": sum(line.removed for line in changed),
            "added": sum(len(line.added) for line in changed),
            "kept": len(found) - len(changed),
        }
    return corrected, entry


def changes_in(entry: Mapping[str, Any], split: str) -> Mapping[str, int] | None:
    """How many rows of a split an entry of `Corrected.corrections` has `corrected`, and labels it has `removed` and
    `added`; None where it has left the split as it is."""
    counts = entry.get(split, {})
    return counts if counts.get("corrected") else None


def in_words(entry: Mapping[str, Any], splits: Mapping[str, Sequence[Any]]) -> str:
    """One sentence about an entry of `Corrected.corrections`: what was corrected, what was not."""
    parts = []
    for split, counts in ((split, entry[split]) for split in SPLITS if split in entry):
        if "not_applied" in counts:
            why = "never applied" if split == "test" else "not asked for (--correct_validation)"
            parts.append(f"{counts['not_applied']:,} of {split} {why}")
        else:
            removed = f"{counts['removed']:,} label{'' if counts['removed'] == 1 else 's'} removed"
            parts.append(
                f"{counts['corrected']:,} of {len(splits[split]):,} {split} rows corrected "
                f"({removed}, {counts['added']:,} added), {counts['kept']:,} kept"
            )
    return f"{entry['file']}: {', '.join(parts)}"


# --- rows of the file and rows of the dataset -------------------------------------------------------------------------


def _understood(splits: DatasetDict, rows: Sequence[Row], allow_unlabelled: bool, problems: list[str]) -> list[_Line]:
    """What each row of the file means, each row of the dataset once; what is wrong with one goes to `problems`."""
    table = _Table(splits)
    found: dict[tuple[str, int], _Line] = {}
    for row in rows:
        try:
            for line in _lines_of(row, table, allow_unlabelled):
                first = found.setdefault((line.split, line.row), line)
                if first.doubt and line.doubt and first.doubt != line.doubt:
                    found[line.split, line.row] = first = first.together(line)
                    if not (first.kept or first.added or allow_unlabelled):
                        raise ValueError(
                            f"the doubts about {row.cells['place']}, here and on {first.place}, leave no labels "
                            "together; delete one of the lines, or write the row's labels into corrected_labels of both"
                        )
                elif {*first.kept, *first.added} != {*line.kept, *line.added}:
                    raise ValueError(f"{row.cells['place']} was corrected otherwise on {first.place}")
        except ValueError as error:
            problems.append(f"{row.place}: {error}")
    return list(found.values())


class _Table:
    """The rows of a dataset, found by their places."""

    def __init__(self, splits: DatasetDict):
        self.names: list[str] = splits["train"].features["labels"].feature.names
        self.ids = {name: index for index, name in enumerate(self.names)}
        self.texts = {split: rows["text"][:] for split, rows in splits.items()}
        self.labels = {split: rows["labels"][:] for split, rows in splits.items()}
        self.places = {split: rows["place"][:] for split, rows in splits.items()}
        self.at: dict[str, list[tuple[str, int]]] = {}
        for split, places in self.places.items():
            for index, place in enumerate(places):
                self.at.setdefault(place, []).append((split, index))

    def elsewhere(self, text: str) -> str:
        """Where a text stands, for a sentence; nothing where it does not."""
        place = self._place_of.get(_same(text))
        return f" (that text stands at {place})" if place else ""

    @cached_property
    def _place_of(self) -> dict[str, str]:
        pairs = ((split, index) for split, texts in self.texts.items() for index in range(len(texts)))
        return {_same(self.texts[split][index]): self.places[split][index] for split, index in pairs}


def _lines_of(row: Row, table: _Table, allow_unlabelled: bool) -> list[_Line]:
    """What one row of the file means for the row of the dataset, or for several that nothing tells apart.

    Raises:
        ValueError: what is wrong with it.
    """
    if row.problem:
        raise ValueError(row.problem)
    for column in COLUMNS:
        if not isinstance(row.cells[column], str | None):
            raise ValueError(f"{column} is {type(row.cells[column]).__name__}, not text")
    place, text, split = (row.cells[column] or "" for column in ("place", "text", "split"))
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(SPLITS)}")
    before, after = ({table.ids[name] for name in read_labels(row.cells[column], table.names)}
                     for column in ("labels", "corrected_labels"))  # fmt: skip
    verdict = str(row.cells.get("verdict", "edit")).strip().lower()
    if verdict not in VERDICTS:
        raise ValueError(f"verdict is {row.cells['verdict']!r}; accepted: {', '.join(VERDICTS)}")
    if verdict == "keep" and before != after:
        raise ValueError("verdict is keep, and corrected_labels are others than labels")
    if not after and not allow_unlabelled:
        raise ValueError("no labels are left (--allow_unlabelled takes such rows, with all-zero targets)")
    if place not in table.at:
        raise ValueError(f"the dataset has no row {place!r}{table.elsewhere(text)}")
    there = table.at[place]
    alike = [at for at in there if _same(table.texts[at[0]][at[1]]) == _same(text)]
    if not alike:
        was, found = _apart(text, table.texts[there[0][0]][there[0][1]])
        raise ValueError(f"{place} no longer reads the same: its text was {was}{table.elsewhere(text)} and is {found}")
    same = [at for at in alike if set(table.labels[at[0]][at[1]]) == before]
    if not same:
        now = [table.names[index] for index in table.labels[alike[0][0]][alike[0][1]]]
        raise ValueError(
            f"{place} no longer reads the same: its labels were {row.cells['labels'] or 'none'} and are "
            f"{labels_cell(now, table.names) or 'none'}"
        )
    doubt = str(row.cells["label"]) if row.cells.get("label") and row.cells.get("kind") else None
    lines = []
    for where, index in same:
        kept = [label for label in table.labels[where][index] if label in after]
        lines.append(_Line(row.place, where, index, kept, sorted(after - before), len(before - after), doubt))
    return lines


def _same(text: str) -> str:
    """A text by which it is known again after a spreadsheet, which has its own ends of lines."""
    return re.sub("\r\n?", "\n", text)


def _apart(one: str, other: str) -> tuple[str, str]:
    """Two texts, each from shortly before they differ, for a sentence."""
    pairs = enumerate(zip(one, other, strict=False))
    differing = next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))
    first = max(0, differing - _SHOWN // 2)
    return _short(one, first), _short(other, first)


def _short(text: str, first: int = 0) -> str:
    shown = text[first : first + _SHOWN]
    return repr(f"{'…' if first else ''}{shown}{'…' if first + _SHOWN < len(text) else ''}")
