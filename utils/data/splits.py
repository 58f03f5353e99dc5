"""From a dataset's name to checked splits: the Hub, a local folder or file, or the embedded demo corpus.

Every source ends in the same place: a `DatasetDict` with the splits `train`, `validation` and, where there is one,
`test`, each with `text` (string), `labels` (list of ids whose names stand in the feature) and `place` (where the row
stands in its source). What was understood of the data is said, and rows are checked, before anything is trained; what
is wrong is reported together, with its place.
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    List,
    Value,
    load_dataset,
    load_from_disk,
)
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

from metrics.multilabel_scores.multilabel_scores import several_columns
from utils.arguments import HUB_DATASET, DataArguments
from utils.console import InputError, say
from utils.data.columns import Columns, find_columns, one_hot_ids, one_hot_problem
from utils.data.corrections import Corrected, correct, in_words, read_corrections
from utils.data.files import FORMATS, NAMES_FILES, SPLIT_NAMES, Watch, find_files, is_data_file, read_names
from utils.data.label_cells import Layout, Token, find_layout, read_cell
from utils.data.labels import GO_EMOTIONS, TAXONOMIES, grouping_matrix, multi_hot
from utils.data.overview import overview
from utils.data.rows import Row, half_a_character, kind_of, read_rows, refuse_rows, text_key
from utils.hub_client import limit_waiting, reason

# `fingerprint` of its configuration `simplified`
GO_EMOTIONS_SHA256 = "806e1ac9805cf815758437d145efa5a804637c1afbba53769f893af5723b02df"
DEMO_FOLDER = Path(__file__).resolve().parents[2] / "data" / "demo"
SHARE = 0.1  # of one file's rows, for validation and for test, unless arguments say otherwise


class Source(NamedTuple):
    """The rows of each split as they were read, and the label names that come with them (by column; None: none)."""

    where: str
    rows: dict[str, list[Row]]
    names: dict[str, Sequence[str]]


def load_splits(args: DataArguments, seed: int = 42) -> DatasetDict:
    """Load a dataset, say what was understood of it, check it, and correct labels where arguments name corrections.

    Corrections come after the split, which they leave as it is, and before labels are grouped: they name the dataset's
    own.

    Args:
        args: its name is `demo`, a local folder or file, or a dataset id on the Hub; the others say how to read it.
        seed: of the split of a dataset that has none.

    Raises:
        InputError: the dataset cannot be loaded, a split is missing, its labels are not understood, rows are broken, or
            corrections are not of this dataset.
    """
    corrections = [read_corrections(name) for name in args.corrections or ()]
    watch = Watch(_local_files(args))
    source = _read(args)
    if not source.rows or not any(source.rows.values()):
        raise InputError(f"{source.where} has no rows.")
    problems: list[str] = []
    if all(row.problem for row in source.rows["train"]):  # nothing that could be understood, but what is wrong with it
        refuse_rows(source.where, [f"{row.place}: {row.problem}" for row in source.rows["train"]])
    columns = find_columns(source.rows["train"] or next(iter(source.rows.values())), args, source.where)
    rows = {split: _good_rows(split_rows, columns, problems) for split, split_rows in source.rows.items()}
    names = _known_names(args, source, columns)
    watch.require_unchanged()  # all of it is in memory now
    layout = None
    if not columns.one_hot:
        cells = [row.cells[columns.labels[0]] for row in rows["train"]]
        layout = find_layout(columns.labels[0], cells, args.label_separator, names)
    if names is None:
        names = _names_of(rows["train"], columns, layout, source.where)
    checked = {
        split: _check_rows(split_rows, columns, layout, names, args.allow_unlabelled, problems)
        for split, split_rows in rows.items()
    }
    problems += [f"{split} split: no rows" for split, split_rows in source.rows.items() if not split_rows]
    refuse_rows(source.where, problems)
    features = _features(names)
    loaded = DatasetDict({split: Dataset.from_dict(part, features=features) for split, part in checked.items()})
    if is_split_here(args):
        loaded = _split(loaded, args, seed)
    before, entries = fingerprint(loaded) if corrections else "", []
    for file in corrections:
        loaded, entry = correct(loaded, file, args.correct_validation, args.allow_unlabelled)
        entries.append(entry)
    say(overview(loaded, source.where, columns, layout))
    for entry in entries:
        say(in_words(entry, loaded))
    loaded = regroup(loaded, args.taxonomy) if args.taxonomy else loaded
    return Corrected(loaded, entries, before) if entries else loaded


def is_split_here(args: DataArguments) -> bool:
    """Whether the dataset is one file, or arguments say which splits are to be taken from its training rows."""
    single = Path(args.dataset_name).expanduser().is_file()
    return single or args.validation_share is not None or args.test_share is not None


def regroup(splits: DatasetDict, taxonomy: str) -> DatasetDict:
    """The same comments, labelled by the groups of `TAXONOMIES[taxonomy]` instead of by GoEmotions' emotions."""
    names = label_names(splits)
    if tuple(names) != GO_EMOTIONS:
        raise InputError(
            f"--taxonomy {taxonomy} groups GoEmotions' 28 labels; this dataset has {', '.join(names[:4])}, …."
        )
    group_of = grouping_matrix(names, taxonomy).argmax(axis=1)
    features = _features(list(TAXONOMIES[taxonomy]))
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {
                    "text": rows["text"],
                    "labels": [sorted({int(group_of[i]) for i in ids}) for ids in rows["labels"]],
                    "place": rows["place"],
                },
                features=features,
            )
            for split, rows in splits.items()
        }
    )


def _features(names: Sequence[str]) -> Features:
    return Features({"text": Value("string"), "labels": List(ClassLabel(names=list(names))), "place": Value("string")})


def label_names(splits: DatasetDict) -> list[str]:
    """The label names, in the order of their ids."""
    return splits["train"].features["labels"].feature.names


def pooled(splits: DatasetDict, wanted: Sequence[str]) -> Dataset:
    """The rows of several splits, one after the other, with their split's name in the column `split`.

    Raises:
        InputError: the dataset does not have such a split.
    """
    if missing := [name for name in wanted if name not in splits]:
        raise InputError(f"The dataset has no {' and no '.join(missing)} split; it has {', '.join(splits)}.")
    names = dict.fromkeys(wanted)
    columns = {
        column: list(chain.from_iterable(splits[name][column][:] for name in names))
        for column in ("text", "labels", "place")
    }
    columns["split"] = list(chain.from_iterable([name] * len(splits[name]) for name in names))
    return Dataset.from_dict(columns, features=Features({**splits["train"].features, "split": Value("string")}))


def stratified_subset(dataset: Dataset, size: int | None, seed: int) -> Dataset:
    """Exactly `size` rows whose label proportions are those of `dataset`, the same ones for the same seed.

    Returns `dataset` itself if `size` is None or no smaller than the dataset; the dataset's order is kept.
    """
    if size is None or size >= len(dataset):
        return dataset
    matrix = multi_hot(dataset["labels"], len(dataset.features["labels"].feature.names))
    return dataset.select(np.flatnonzero(_stratified(matrix, size, seed)))


def _stratified(matrix: np.ndarray, size: int, seed: int) -> np.ndarray:
    """True for exactly `size` rows with the label proportions of all; `matrix`: zeros and ones, shape (rows, labels).

    iterative-stratification (Sechidis et al., 2011) draws roughly `size` rows; the exact number, and the last few
    tenths of a percentage point, come from single rows added and removed so that the squared distance of the label
    counts from their targets falls until no exchange lowers it.
    """
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
    _, drawn = next(splitter.split(np.zeros(len(matrix)), several_columns(matrix)))
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
    result = np.zeros(len(matrix), dtype=bool)
    result[order[chosen]] = True
    return result


def fingerprint(splits: DatasetDict) -> str:
    """SHA-256 over label names and rows, equal wherever the same data came from."""
    digest = hashlib.sha256(json.dumps(label_names(splits)).encode())
    for split in sorted(splits):
        digest.update(json.dumps([split, splits[split]["text"][:], splits[split]["labels"][:]]).encode())
    return digest.hexdigest()


def hub_id(name: str) -> str | None:
    """The dataset's id on the Hub; None for a local folder or file and the demo corpus."""
    return None if name == "demo" or Path(name).expanduser().exists() else name


def describe(args: DataArguments, splits: DatasetDict, seed: int = 42) -> dict[str, Any]:
    """What run.json says of a dataset: its name as given, its id on the Hub (or None), fingerprint, split, corrections.

    A local copy of GoEmotions is known by its fingerprint, wherever it lies, also where labels were corrected since.
    """
    digest = fingerprint(splits)
    before = splits.sha256_before if isinstance(splits, Corrected) else digest
    known = HUB_DATASET if before == GO_EMOTIONS_SHA256 else hub_id(args.dataset_name)
    described: dict[str, Any] = {"name": args.dataset_name, "hub_id": known, "sha256": digest}
    if isinstance(splits, Corrected):
        described |= {"sha256_before_corrections": before, "corrections": splits.corrections}
    if is_split_here(args):
        described["split"] = {f"{split}_share": share for split, share in _shares(args).items()} | {"seed": seed}
    return described


# --- where rows come from ---------------------------------------------------------------------------------------------


def _read(args: DataArguments) -> Source:
    name = args.dataset_name
    path = DEMO_FOLDER if name == "demo" else Path(name).expanduser()
    if path.is_file():
        source = _read_file(path, args)
    elif path.is_dir():
        source = _read_folder(path, args)
    elif name.startswith((".", "/", "~")) or is_data_name(path):
        raise InputError(
            f"--dataset_name {name}: there is no such folder or file; give one, a dataset id on the Hub, or `demo`."
        )
    else:
        source = _read_hub(name, args.dataset_config_name)
    taken = _shares(args)
    for split in ("train", "validation"):
        if split not in source.rows and not taken.get(split):
            files = " or ".join(f"{stem}.*" for stem in SPLIT_NAMES[split])
            raise InputError(
                f"Dataset {name} has no {split} split (found: {', '.join(source.rows) or 'none'}); it needs one "
                f"({files} in a local folder){', or --validation_share 0.1 to take it from train' * (split != 'train')}"
                ". Another split is never taken in its place."
            )
    for split in taken:
        if split in source.rows and taken[split]:
            raise InputError(
                f"--{split}_share {taken[split]}: dataset {name} has a {split} split of its own; the argument is for "
                "one without."
            )
    return source


def _local_files(args: DataArguments) -> list[Path]:
    """The files that a local dataset is read from, as far as they can be found."""
    path = DEMO_FOLDER if args.dataset_name == "demo" else Path(args.dataset_name).expanduser()
    if not path.is_dir():
        return [path.parent / name for name in (path.name, *NAMES_FILES)] if path.is_file() else []
    files = [path / name for name in NAMES_FILES]
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return files + [saved for pattern in ("*", "*/*") for saved in path.glob(pattern) if saved.is_file()]
    with suppress(InputError):  # which says what is wrong with the folder, and is raised again when it is read
        files += [file for part in find_files(path).values() for file in part]
    return files


def is_data_name(path: Path) -> bool:
    """Whether a name is that of a file of rows, rather than a dataset's on the Hub."""
    return kind_of(path)[0] in FORMATS


def _read_file(path: Path, args: DataArguments) -> Source:
    if not is_data_file(path):
        raise InputError(f"--dataset_name {path}: unknown kind of file; accepted: {', '.join(FORMATS)}.")
    rows = {"train": list(read_rows(path, text_column=args.text_column or "text"))}
    return Source(path.name, rows, _names_in_parquet([path]))


def _read_folder(folder: Path, args: DataArguments) -> Source:
    where = f"Dataset {args.dataset_name}"
    names: dict[str, Sequence[str]] = {}
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        try:
            saved = load_from_disk(str(folder))
        except Exception as error:  # truncated or of another version: Arrow and datasets have exceptions of their own
            raise InputError(f"{folder} is not a readable saved dataset ({reason(error)}).") from error
        return _of_datasets(where, saved if isinstance(saved, DatasetDict) else DatasetDict({"train": saved}))
    files = find_files(folder)
    text_column = args.text_column or "text"
    rows = {split: [row for path in paths for row in read_rows(path, text_column=text_column)]
            for split, paths in files.items()}  # fmt: skip
    names = _names_in_parquet([path for paths in files.values() for path in paths])
    return Source(where, rows, names)


def _names_in_parquet(paths: Sequence[Path]) -> dict[str, Sequence[str]]:
    """The label names that `datasets` writes into the metadata of Parquet files, by column."""
    names: dict[str, Sequence[str]] = {}
    for path in paths:
        if kind_of(path)[0] == ".parquet":
            metadata = pyarrow.parquet.read_schema(path).metadata or {}
            info = json.loads(metadata.get(b"huggingface", b"{}")).get("info") or {}
            names |= _class_names(Features.from_dict(info.get("features") or {}))
    return names


def _read_hub(name: str, config_name: str | None) -> Source:
    if config_name is None and name == HUB_DATASET:
        config_name = "simplified"
    where = f"Dataset {name}{f' (config {config_name})' if config_name else ''}"
    limit_waiting()
    try:
        dataset = load_dataset(name, config_name)
    except Exception as error:  # whatever the client raises, the user's ways on are the same
        raise InputError(
            f"{where} could not be loaded from the Hub ({reason(error)}); give a local folder (--dataset_name FOLDER "
            "with train.* and validation.* files), a file, or the embedded corpus (--dataset_name demo)."
        ) from error
    return _of_datasets(f"Dataset {name}", dataset)


def _of_datasets(where: str, dataset: DatasetDict) -> Source:
    """The rows of a dataset of the `datasets` library, and the names of its class labels."""
    rows: dict[str, list[Row]] = {}
    names: dict[str, Sequence[str]] = {}
    for split, known in SPLIT_NAMES.items():
        found = [name for name in known if name in dataset]
        if len(found) > 1:
            raise InputError(f"{where} has {' and '.join(found)}, which both mean the {split} split; keep one.")
        if found:
            part = dataset[found[0]]
            names |= _class_names(part.features)
            rows[split] = [Row(f"{split} row {index}", cells) for index, cells in enumerate(part)]
    return Source(where, rows, names)


def _class_names(features: Features) -> dict[str, Sequence[str]]:
    found = {}
    for column, feature in features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, ClassLabel) and inner.names:
            found[column] = inner.names
    return found


# --- what the rows hold -----------------------------------------------------------------------------------------------


def _known_names(args: DataArguments, source: Source, columns: Columns) -> Sequence[str] | None:
    """The label names that do not have to be found in the rows: asked for, in a file, or in the data's own metadata."""
    if columns.one_hot:
        return columns.labels
    if args.label_names == "go_emotions":
        return GO_EMOTIONS
    if args.label_names:
        path = Path(args.label_names).expanduser()
        return read_names(path) if path.is_file() else [name.strip() for name in args.label_names.split(",")]
    path = DEMO_FOLDER if args.dataset_name == "demo" else Path(args.dataset_name).expanduser()
    for name in NAMES_FILES:
        beside = (path if path.is_dir() else path.parent) / name
        if path.exists() and beside.is_file():
            return read_names(beside)
    return source.names.get(columns.labels[0])


def _names_of(rows: Sequence[Row], columns: Columns, layout: Layout | None, where: str) -> Sequence[str]:
    """The names found in the training rows, sorted."""
    if layout is not None and layout.kind == "vectors":
        raise InputError(f"{where}: {columns.labels[0]} holds {layout.describe()}, without names; {_WAYS_TO_NAME}.")
    tokens: set[Token] = set()
    for row in rows:
        if layout is not None:
            tokens.update(read_cell(row.cells[columns.labels[0]], layout, None) or ())
    ids = sorted(token for token in tokens if isinstance(token, int))
    if ids:
        shown = ", ".join(map(str, ids[:5])) + (", …" if len(ids) > 5 else "")
        raise InputError(f"{where}: labels are ids ({shown}), without names; {_WAYS_TO_NAME}.")
    if not tokens and layout is not None:
        for cell in (row.cells[columns.labels[0]] for row in rows):
            if read_cell(cell, layout, None) is None:
                raise InputError(
                    f"{where}: column {columns.labels[0]} holds {str(cell)[:60]!r}, which is no list of names, ids or "
                    "zeros and ones, nor one of these; docs/data.md shows every layout that is read."
                )
        raise InputError(f"{where}: no row of the training split has a label in column {columns.labels[0]}.")
    return sorted(str(token) for token in tokens)


_WAYS_TO_NAME = (
    "name them in labels.txt beside the data, one a line in the order of the ids, or with --label_names (such a file, "
    "A,B,C, or go_emotions)"
)


def _good_rows(rows: Sequence[Row], columns: Columns, problems: list[str]) -> list[Row]:
    """The rows that have their columns; what is wrong with the others goes to `problems`."""
    good = []
    for row in rows:
        missing = [column for column in (columns.text, *columns.labels) if column not in row.cells]
        problem = row.problem or (f"no column {' and no column '.join(missing)}" if missing else None)
        if problem:
            problems.append(f"{row.place}: {problem}")
        else:
            good.append(row)
    return good


def _check_rows(
    rows: Sequence[Row],
    columns: Columns,
    layout: Layout | None,
    names: Sequence[str],
    allow_unlabelled: bool,
    problems: list[str],
) -> dict[str, list[Any]]:
    """Texts, label ids and places of the rows; a sentence in `problems` for each thing that is wrong with one."""
    ids = {name: index for index, name in enumerate(names)}
    texts, label_ids, places = [], [], []
    for row in rows:
        text = row.cells[columns.text]
        if not isinstance(text, str):
            problems.append(f"{row.place}: the text is {type(text).__name__}, not a string")
        elif not text.strip():
            problems.append(f"{row.place}: the text is empty")
        elif half_a_character(text):
            problems.append(f"{row.place}: the text holds half of a surrogate pair, which is no character")
        tokens: Sequence[Token] | None
        if layout is None:
            if problem := one_hot_problem(row, columns.labels):
                problems.append(f"{row.place}: {problem}")
                continue
            tokens = one_hot_ids(row, columns.labels)
        else:
            cell = row.cells[columns.labels[0]]
            tokens = read_cell(cell, layout, names)
            if tokens is None:
                problems.append(f"{row.place}: labels are {cell!r}, where the column holds {layout.describe()}")
                continue
        if not tokens and not allow_unlabelled:
            problems.append(f"{row.place}: no labels (--allow_unlabelled takes such rows, with all-zero targets)")
        row_ids: list[int] = []
        for token in tokens:
            index = token if isinstance(token, int) else ids.get(token)
            if index is None:
                near = difflib.get_close_matches(str(token), names, n=1)
                problems.append(f"{row.place}: unknown label {token!r}{f', did you mean {near[0]!r}' if near else ''}")
            elif not 0 <= index < len(names):
                problems.append(f"{row.place}: label id {index} is outside 0 to {len(names) - 1}")
            elif index in row_ids:
                problems.append(f"{row.place}: label {names[index]!r} stands twice")
            else:
                row_ids.append(index)
        texts.append(text)
        label_ids.append(row_ids)
        places.append(row.place)
    return {"text": texts, "labels": label_ids, "place": places}


# --- a dataset without splits -----------------------------------------------------------------------------------------


def _shares(args: DataArguments) -> dict[str, float]:
    """Which share of the training rows becomes validation, and which test; 0 for none."""
    default = SHARE if Path(args.dataset_name).expanduser().is_file() else 0.0
    asked = {"validation": args.validation_share, "test": args.test_share}
    return {split: default if share is None else share for split, share in asked.items()}


def _split(loaded: DatasetDict, args: DataArguments, seed: int) -> DatasetDict:
    """Training rows divided into the splits that are lacking, with the same label proportions, rows with the same text
    on one side; the dataset's own splits stay as they are."""
    rows, shares = loaded["train"], _shares(args)
    validation, test = shares["validation"], shares["test"]
    if validation + test >= 1 or (validation <= 0 and "validation" not in loaded):
        raise InputError(
            f"--validation_share {validation} and --test_share {test}: the first must be above 0, and both together "
            "below 1."
        )
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(rows["text"]):
        groups.setdefault(text_key(text), []).append(index)
    members = list(groups.values())
    matrix = multi_hot(rows["labels"], len(rows.features["labels"].feature.names))
    labels = np.stack([matrix[group].max(axis=0) for group in members])
    wanted = {split: max(1, round(shares[split] * len(members))) for split in ("test", "validation") if shares[split]}
    if len(members) - sum(wanted.values()) < 1:
        raise InputError(f"{args.dataset_name} has {len(members)} different text(s), too few to be split.")
    parts, rest = {}, np.arange(len(members))
    for split, count in wanted.items():
        chosen = _stratified(labels[rest], count, seed)
        parts[split], rest = rest[chosen], rest[~chosen]
    parts["train"] = rest
    made = {split: rows.select(sorted(i for group in part for i in members[group])) for split, part in parts.items()}
    splits = {**loaded, **made}
    return DatasetDict({split: splits[split] for split in ("train", "validation", "test") if split in splits})
