"""What was understood of a dataset, in a few lines: a person sees in one look whether it is their data."""

import sys
import unicodedata
from collections.abc import Sequence

from datasets import DatasetDict

from utils.data.columns import Columns
from utils.data.label_cells import Layout
from utils.data.labels import multi_hot
from utils.lines import folded, terminal_width

SHOWN = 40  # labels that are listed one by one
RARE = 5  # rows, below which a label is called rare


def overview(splits: DatasetDict, where: str, columns: Columns, layout: Layout | None) -> str:
    """Columns, layout, sizes, label names with their counts, what is rare, and names that may be the same."""
    names = splits["train"].features["labels"].feature.names
    counts = {split: multi_hot(rows["labels"][:], len(names)).sum(axis=0).astype(int).tolist()
              for split, rows in splits.items()}  # fmt: skip
    train, validation = counts["train"], counts["validation"]
    labels = f"labels in the columns {_some(columns.labels, 5)}, zeros and ones" if layout is None else (
        f"labels in column {columns.labels[0]!r} ({layout.describe()})"
    )  # fmt: skip
    lines = [f"{where}: text in column {columns.text!r}, {labels}"]
    order = sorted(range(len(names)), key=lambda i: -train[i]) if len(names) > SHOWN else range(len(names))
    listed = [f"{_shown(names[i])} {train[i]:,}/{validation[i]:,}" for i in list(order)[:SHOWN]]
    more = [f"and {len(names) - SHOWN:,} more"] if len(names) > SHOWN else []
    lines.append(f"{len(names):,} label(s), rows in train/validation: {', '.join([*listed, *more])}")
    if few := [_shown(name) for name, count in zip(names, train, strict=True) if count < RARE]:
        lines.append(f"in fewer than {RARE} training rows: {_some(few)}")
    if unseen := [_shown(name) for name, count in zip(names, validation, strict=True) if not count]:
        lines.append(f"in no validation row, so without a threshold of their own: {_some(unseen)}")
    for alike in twins(names):
        lines.append(f"alike but for case, accents' form or blanks: {' and '.join(map(repr, alike))}")
    width = terminal_width(sys.stdout) or 110
    return "\n".join(folded(line, width, "  ") for line in lines)


def twins(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ in nothing but case, the form of accents, or blanks."""
    groups: dict[str, list[str]] = {}
    for name in names:
        key = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        groups.setdefault(key, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _some(names: Sequence[str], count: int = 10) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count:,} more" if len(names) > count else "")


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)
