"""From a dataset's name to checked splits: the Hub, a local folder, or the embedded demo corpus.

Every source ends in the same place: a `DatasetDict` with the splits `train`, `validation` and, where there is one,
`test`, each with `text` (string) and `labels` (list of ids whose names stand in the feature). Rows are checked before
anything is trained; what is wrong is reported together, with file and line.
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

from utils.arguments import HUB_DATASET
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS, TAXONOMIES, grouping_matrix, multi_hot
from utils.data.rows import READERS, Row, read_rows

# `fingerprint` of its configuration `simplified`
GO_EMOTIONS_SHA256 = "806e1ac9805cf815758437d145efa5a804637c1afbba53769f893af5723b02df"
DEMO_FOLDER = Path(__file__).resolve().parents[2] / "data" / "demo"
SPLIT_FILES = {"train": ("train",), "validation": ("validation", "dev"), "test": ("test",)}
FORMATS = [suffix for suffix in READERS if suffix != ".txt"]
REPORTED_PROBLEMS = 20


def load_splits(
    name: str, config_name: str | None = None, allow_unlabelled: bool = False, taxonomy: str | None = None
) -> DatasetDict:
    """Load and check a dataset.

    Args:
        name: `demo`, an existing local folder, or a dataset id on the Hub.
        config_name: the Hub dataset's configuration; `simplified` for GoEmotions when not given.
        allow_unlabelled: take rows without labels (their targets are all zero) instead of refusing them.
        taxonomy: `ekman` or `sentiment` to group GoEmotions' labels as the paper does.

    Raises:
        InputError: the dataset cannot be loaded, a split is missing, or rows are broken.
    """
    folder = DEMO_FOLDER if name == "demo" else Path(name).expanduser()
    if folder.is_dir():
        names, splits, problems = _read_folder(folder)
    elif name.startswith((".", "/", "~")):
        raise InputError(
            f"--dataset_name {name}: there is no such folder; give a folder, a dataset id on the Hub, or `demo`."
        )
    else:
        names, splits, problems = _read_hub(name, config_name)
    for split in ("train", "validation"):
        if split not in splits:
            files = " or ".join(f"{stem}.*" for stem in SPLIT_FILES[split])
            raise InputError(
                f"Dataset {name} has no {split} split (found: {', '.join(splits) or 'none'}); it needs one "
                f"({files} in a local folder). Another split is never taken in its place."
            )
    if names is None:
        names = _label_names(splits["train"])
    checked = {split: _check_rows(rows, names, allow_unlabelled, problems) for split, rows in splits.items()}
    problems += [f"{split} split: no rows" for split, rows in splits.items() if not rows and not problems]
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:REPORTED_PROBLEMS])
        more = f"\n  … and {len(problems) - REPORTED_PROBLEMS} more" if len(problems) > REPORTED_PROBLEMS else ""
        raise InputError(f"Dataset {name} has {len(problems)} problem(s); nothing was trained:\n{shown}{more}")
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=list(names)))})
    loaded = DatasetDict({split: Dataset.from_dict(columns, features=features) for split, columns in checked.items()})
    return regroup(loaded, taxonomy) if taxonomy else loaded


def regroup(splits: DatasetDict, taxonomy: str) -> DatasetDict:
    """The same comments, labelled by the groups of `TAXONOMIES[taxonomy]` instead of by GoEmotions' emotions."""
    names = label_names(splits)
    if tuple(names) != GO_EMOTIONS:
        raise InputError(
            f"--taxonomy {taxonomy} groups GoEmotions' 28 labels; this dataset has {', '.join(names[:4])}, …."
        )
    group_of = grouping_matrix(names, taxonomy).argmax(axis=1)
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=list(TAXONOMIES[taxonomy])))})
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {"text": rows["text"], "labels": [sorted({int(group_of[i]) for i in ids}) for ids in rows["labels"]]},
                features=features,
            )
            for split, rows in splits.items()
        }
    )


def label_names(splits: DatasetDict) -> list[str]:
    """The label names, in the order of their ids."""
    return splits["train"].features["labels"].feature.names


def stratified_subset(dataset: Dataset, size: int | None, seed: int) -> Dataset:
    """Exactly `size` rows whose label proportions are those of `dataset`, the same ones for the same seed.

    iterative-stratification (Sechidis et al., 2011) draws roughly `size` rows; the exact number, and the last few
    tenths of a percentage point, come from single rows added and removed so that the squared distance of the label
    counts from their targets falls until no exchange lowers it.

    Returns `dataset` itself if `size` is None or no smaller than the dataset; the dataset's order is kept.
    """
    if size is None or size >= len(dataset):
        return dataset
    matrix = multi_hot(dataset["labels"], len(dataset.features["labels"].feature.names))
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    _, drawn = next(splitter.split(np.zeros(len(matrix)), matrix))
    # Rows are visited in a shuffled order so that ties do not favour the beginning of the file.
    order = np.random.default_rng(seed).permutation(len(matrix))
    chosen = np.isin(order, drawn)
    matrix = matrix[order]
    target = matrix.mean(axis=0) * size

    def best_to_flip(pool: np.ndarray, direction: int) -> tuple[int, float]:
        """The row of `pool` whose addition (+1) or removal (-1) raises the distance least, and by how much."""
        gap = matrix[chosen].sum(axis=0) - target
        change = np.where(pool, matrix @ (1.0 + 2.0 * direction * gap), np.inf)
        return int(change.argmin()), float(change.min())

    while chosen.sum() > size:
        chosen[best_to_flip(chosen, -1)[0]] = False
    while chosen.sum() < size:
        chosen[best_to_flip(~chosen, +1)[0]] = True
    for _ in range(size):
        added, rise = best_to_flip(~chosen, +1)
        chosen[added] = True
        removed, fall = best_to_flip(chosen, -1)
        chosen[removed] = False
        if removed == added or rise + fall > -1e-9:
            chosen[removed], chosen[added] = True, False
            break
    return dataset.select(np.sort(order[chosen]))


def fingerprint(splits: DatasetDict) -> str:
    """SHA-256 over label names and rows, equal wherever the same data came from."""
    digest = hashlib.sha256(json.dumps(label_names(splits)).encode())
    for split in sorted(splits):
        digest.update(json.dumps([split, list(splits[split]["text"]), list(splits[split]["labels"])]).encode())
    return digest.hexdigest()


def hub_id(name: str) -> str | None:
    """The dataset's id on the Hub; None for a local folder and the demo corpus."""
    return None if name == "demo" or Path(name).expanduser().is_dir() else name


def describe(name: str, splits: DatasetDict) -> dict[str, Any]:
    """What run.json says of a dataset: its name as given, its id on the Hub (or None) and its fingerprint.

    A local copy of GoEmotions is known by its fingerprint, wherever it lies.
    """
    digest = fingerprint(splits)
    return {"name": name, "hub_id": HUB_DATASET if digest == GO_EMOTIONS_SHA256 else hub_id(name), "sha256": digest}


def _read_hub(name: str, config_name: str | None) -> tuple[Sequence[str] | None, dict[str, list[Row]], list[str]]:
    if config_name is None and name == HUB_DATASET:
        config_name = "simplified"
    try:
        dataset = load_dataset(name, config_name)
    except Exception as error:  # whatever the client raises, the user's ways on are the same
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(
            f"Dataset {name}{f' (config {config_name})' if config_name else ''} could not be loaded from the Hub "
            f"({reason}); give a local folder (--dataset_name FOLDER with train.* and validation.* files) or the "
            "embedded corpus (--dataset_name demo)."
        ) from error
    splits, names = {}, None
    for split in [split for split in SPLIT_FILES if split in dataset]:
        columns = dataset[split].column_names
        if missing := [column for column in ("text", "labels") if column not in columns]:
            raise InputError(
                f"Dataset {name}, split {split}: no column {' and no column '.join(missing)} (it has "
                f"{', '.join(columns)}); `text` and `labels` are needed."
            )
        feature = dataset[split].features["labels"]
        names = getattr(getattr(feature, "feature", feature), "names", None) or names
        pairs = zip(dataset[split]["text"], dataset[split]["labels"], strict=True)
        splits[split] = [
            Row(f"{split} row {index}", {"text": text, "labels": labels}) for index, (text, labels) in enumerate(pairs)
        ]
    return names, splits, []


def _read_folder(folder: Path) -> tuple[Sequence[str] | None, dict[str, list[Row]], list[str]]:
    problems: list[str] = []
    splits = {}
    for split, stems in SPLIT_FILES.items():
        found = [path for stem in stems for path in sorted(folder.glob(f"{stem}.*")) if path.suffix in FORMATS]
        if len(found) > 1:
            files = ", ".join(path.name for path in found)
            raise InputError(f"{folder}: {len(found)} files for the {split} split ({files}); keep one.")
        if found:
            splits[split] = _good_rows(found[0], problems)
    if not splits:
        raise InputError(
            f"{folder} holds no data: train.*, validation.* (or dev.*) and optionally test.* are looked for, as "
            f"{', '.join(FORMATS)}."
        )
    for names_file in (folder / "emotions.txt", folder / "labels.txt"):
        if names_file.is_file():
            names = names_file.read_text(encoding="utf-8").split()
            if len(set(names)) != len(names) or not names:
                raise InputError(f"{names_file}: needs one distinct label name a line, received {len(names)} names.")
            return names, splits, problems
    return None, splits, problems


def _good_rows(path: Path, problems: list[str]) -> list[Row]:
    """The rows that have a text and labels; what is wrong with the others goes to `problems`."""
    rows = list(read_rows(path))
    for column in ("text", "labels"):
        if rows and not any(column in row.cells for row in rows):
            problems.append(f"{path.name}: no column {column} (found: {', '.join(rows[0].cells) or 'none'})")
            return []
    good = []
    for row in rows:
        missing = [column for column in ("text", "labels") if column not in row.cells]
        problem = row.problem or (f"no {' and no '.join(missing)}" if missing else None)
        if problem:
            problems.append(f"{row.place}: {problem}")
        else:
            good.append(row)
    return good


def _label_names(rows: list[Row]) -> Sequence[str]:
    """GoEmotions' names where training labels are ids, or names most of which are GoEmotions'; else the names found."""
    tokens = {token for row in rows for token in (_label_tokens(row.cells["labels"]) or ())}
    names = {token for token in tokens if isinstance(token, str)}
    if names != tokens or 2 * len(names & set(GO_EMOTIONS)) >= len(names):
        return GO_EMOTIONS
    return sorted(names)


def _label_tokens(value: Any) -> list[int | str] | None:
    """A row's labels as ids and names; None if they are neither a list nor a comma-separated string."""
    if value is None or (isinstance(value, float) and value != value):
        return []
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value.strip() else []
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    elif not isinstance(value, list | tuple):
        return None
    if not all(isinstance(token, int | str) and not isinstance(token, bool) for token in value):
        return None
    return [int(token) if isinstance(token, str) and token.isascii() and token.isdigit() else token for token in value]


def _check_rows(rows: list[Row], names: Sequence[str], allow_unlabelled: bool, problems: list[str]) -> dict:
    """Texts and label ids of the good rows; a sentence in `problems` for each thing that is wrong with the others."""
    ids = {name: index for index, name in enumerate(names)}
    texts, label_ids = [], []
    for place, cells, _ in rows:
        text, labels = cells["text"], cells["labels"]
        if not isinstance(text, str):
            problems.append(f"{place}: the text is {type(text).__name__}, not a string")
        elif not text.strip():
            problems.append(f"{place}: the text is empty")
        tokens = _label_tokens(labels)
        if tokens is None:
            problems.append(f"{place}: labels are {labels!r}, not a list (or comma-separated string) of ids or names")
            continue
        if not tokens and not allow_unlabelled:
            problems.append(f"{place}: no labels (--allow_unlabelled takes such rows, with all-zero targets)")
        row_ids = []
        for token in tokens:
            index = token if isinstance(token, int) else ids.get(token)
            if index is None:
                near = difflib.get_close_matches(str(token), names, n=1)
                problems.append(f"{place}: unknown label {token!r}{f', did you mean {near[0]!r}' if near else ''}")
            elif not 0 <= index < len(names):
                problems.append(f"{place}: label id {index} is outside 0 to {len(names) - 1}")
            elif index in row_ids:
                problems.append(f"{place}: label {names[index]!r} stands twice")
            else:
                row_ids.append(index)
        texts.append(text)
        label_ids.append(row_ids)
    return {"text": texts, "labels": label_ids}
