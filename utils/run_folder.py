"""What a run's folder holds, and how it is written: one table of its files, whole files, a model changed in one stroke.

Nobody ever finds half of a file: each is written beside its place and renamed into it. A change of the saved model
concerns several files at once; see `RunFolder.change`.
"""

import csv
import errno
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

from utils.console import InputError, refused_together
from utils.locks import held, hold

CONFIG_FILE = "config.json"
BASELINE_FILE = "baseline.skops"
CALIBRATION_FILE = "calibration.json"
THRESHOLDS_FILE = "thresholds.json"
STRATEGIES_FILE = "threshold_strategies.csv"
RESULTS_FILE = "all_results.json"
PER_LABEL_FILE = "per_label.csv"
RUN_FILE = "run.json"
WORDS_FILE = "words.json"
STATE_FILE = "trainer_state.json"
CARD_FILE = "README.md"
CHECKPOINTS = "checkpoints"
LOGS = "logs"
MARKER_FILE = "run_begun.json"  # whose folder this is: what stands in it under a run's names may be replaced
REPLACED = "replaced"  # an earlier run's checkpoints and logs, until the new run has a model
ONNX_FILES = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}  # as transformers.js and optimum look
EXPORT_FILE = "onnx/export.json"
PREDICTIONS = "predictions"  # of the model, thresholds taken out
UNCALIBRATED = "uncalibrated"  # predictions, and the output layer, from before its calibration where it has one
UNCALIBRATED_LAYER = f"{UNCALIBRATED}/output_layer.safetensors"
FINGERPRINT = "run_fingerprint"  # in run.json and in the card's metadata: see `RunFolder.write_run_json`
METRIC_PREFIX = {"validation": "eval", "test": "test"}  # of a split's scores, as the Trainer names them


class RunFile(NamedTuple):
    """A file that a run leaves: its name or pattern, the step that writes it, whether a push publishes it, and which
    backend needs it to load the model (`any`, `torch`, `onnx fp32`, `onnx int8`; None: none)."""

    name: str
    written_by: str
    published: bool
    needed_by: str | None = None


FILES = (
    RunFile(MARKER_FILE, "start", False),
    RunFile(f"{REPLACED}/{CHECKPOINTS}/checkpoint-*", "replacing", False),
    RunFile(f"{REPLACED}/{LOGS}/*", "replacing", False),
    RunFile(f"{CHECKPOINTS}/checkpoint-*", "checkpoints", False),
    RunFile(f"{LOGS}/tensorboard", "checkpoints", False),  # what --report_to keeps here
    RunFile(f"{LOGS}/trackio", "checkpoints", False),
    RunFile(f"{LOGS}/wandb", "checkpoints", False),
    RunFile(CONFIG_FILE, "training", True, "any"),  # a baseline's, which the Hub alone reads, comes with the card
    RunFile("model.safetensors", "training", True, "torch"),
    RunFile("model-?????-of-?????.safetensors", "training", True, "torch"),
    RunFile("model.safetensors.index.json", "training", True, "torch"),
    RunFile("tokenizer.json", "training", True, "any"),
    RunFile("tokenizer_config.json", "training", True, "any"),
    RunFile("special_tokens_map.json", "training", True, "any"),
    RunFile("added_tokens.json", "training", True, "any"),
    RunFile("vocab.txt", "training", True, "any"),
    RunFile("vocab.json", "training", True, "any"),
    RunFile("merges.txt", "training", True, "any"),
    RunFile("spm.model", "training", True, "any"),
    RunFile("spiece.model", "training", True, "any"),
    RunFile("sentencepiece.bpe.model", "training", True, "any"),
    RunFile("sentencepiece.model", "training", True, "any"),
    RunFile("tokenizer.model", "training", True, "any"),
    RunFile("bpe.codes", "training", True, "any"),
    RunFile("entity_vocab.json", "training", True, "any"),
    RunFile("chat_template.jinja", "training", True, "any"),
    RunFile(BASELINE_FILE, "training", True, "any"),
    RunFile(STATE_FILE, "training", False),
    RunFile(CALIBRATION_FILE, "calibration", True),
    RunFile(UNCALIBRATED_LAYER, "calibration", False),
    RunFile(f"{UNCALIBRATED}/*.parquet", "calibration", False),
    RunFile(THRESHOLDS_FILE, "report", True, "any"),
    RunFile(STRATEGIES_FILE, "report", True),
    RunFile(RESULTS_FILE, "report", True),
    RunFile(PER_LABEL_FILE, "report", True),
    RunFile("mistakes.csv", "report", False),
    RunFile("confusions.csv", "report", False),
    RunFile("calibration.csv", "report", False),
    RunFile(f"{PREDICTIONS}/*.parquet", "report", False),
    RunFile(RUN_FILE, "report", False),  # and the example, once there is one
    RunFile(ONNX_FILES["fp32"], "export", True, "onnx fp32"),
    RunFile(ONNX_FILES["int8"], "export", True, "onnx int8"),
    RunFile(EXPORT_FILE, "export", False),
    RunFile(WORDS_FILE, "words", False),  # what moves each label, for the card
    RunFile("plots/*.png", "plots", True),
    RunFile(CARD_FILE, "card", True),
)
AFTER_TRAINING = (
    "calibration",
    "report",
    "export",
    "words",
    "plots",
    "card",
)  # steps whose files belong to one state of the model
PUBLISHED = tuple(file.name for file in FILES if file.published)

_LOCK = ".lock"  # who is writing the run
_CHANGE = ".run_change"  # a whole change that is being put into its place; `.run_change.unfinished` until it is whole
_REMOVED = "removed.json"  # in it: the files that the change removes
_STATE = (CONFIG_FILE, THRESHOLDS_FILE, "model.safetensors", "model.safetensors.index.json")
_UNFINISHED = ".unfinished"
_SETTLED_WITHIN = 60  # seconds: how long one who reads the run waits for one who puts a change into its place
_PREDICTION_COLUMNS = ("text", "labels")  # of the predictions; all others are probabilities
_LABEL_NAMES = b"label_names"  # in their metadata, as a JSON list, where a column is not called like its label
_PACKAGES = ("accelerate", "datasets", "evaluate", "huggingface-hub", "iterative-stratification", "numpy",
             "scikit-learn", "skops", "tokenizers", "torch", "transformers")  # fmt: skip
_SECRETS = ("token", "password", "secret")  # how names of arguments that hold one end


def files_to_load(backend: str, precision: str) -> list[str]:
    """Names and patterns of the files that decide what a model answers, for `torch`, or `onnx` in a precision."""
    return [file.name for file in FILES if file.needed_by in ("any", backend, f"{backend} {precision}")]


class Predictions(NamedTuple):
    """What a model answers on a split: texts, gold labels as zeros and ones, and probabilities, both of shape (rows,
    labels)."""

    texts: Sequence[str]
    gold: np.ndarray
    probabilities: np.ndarray


class RunFolder:
    """The output folder of one run, laid out as a Hub repository; `FILES` lists what may stand in it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def create(
        cls, output_dir: str | None, overwrite: bool, resume: bool = False, inputs: Sequence[str] = ()
    ) -> "RunFolder":
        """The folder, made if need be, and held until the job ends; see `utils.locks`. Nothing in it is changed yet.

        One that is made, and that nothing is written to, is gone when the job ends: of what was refused nothing stays.

        Args:
            overwrite: a run that is there may be replaced, see `begin`.
            resume: it is to go on.
            inputs: data and model that the run reads, by path or by an id on the Hub.

        Raises:
            InputError: it holds a run that is neither to be resumed nor replaced, or files of somebody else's under a
                run's names, or an input; another process is writing it; or it cannot be made.
        """
        if not output_dir:
            raise InputError("--output_dir is missing; give the folder that the run is to be written to.")
        run = cls(output_dir)
        refused_together(lambda: run._open(overwrite, resume, [Path(os.path.expanduser(name)) for name in inputs]))
        return run

    def _open(self, overwrite: bool, resume: bool, inputs: Sequence[Path]) -> None:
        self._require_room(overwrite, resume, inputs)
        try:
            hold(self.path / _LOCK, self)
        except OSError as error:
            raise InputError(f"--output_dir {self} cannot be made ({error.strerror}); give another place.") from error
        self.settle()
        self._require_room(overwrite, resume, inputs)  # what held it until now may have come to its end

    def _require_room(self, overwrite: bool, resume: bool, inputs: Sequence[Path]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--output_dir {self} is a file; give a folder.")
        present = self._present(file for file in FILES if file.written_by != "start")
        names = [str(path.relative_to(self.path)) for path in present]
        shown = f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        written = [self.path.resolve(), *(path.resolve() for path in present if not resume)]
        for source in filter(os.path.exists, inputs):
            if source.resolve() == written[0] or any(
                path in (source.resolve(), *source.resolve().parents) for path in written[1:]
            ):
                raise InputError(
                    f"--output_dir {self}: the run reads {source}, which would be replaced; give another folder."
                )
        if names and not resume and not self._is_ours():
            raise InputError(
                f"--output_dir {self} holds {shown}, and neither {MARKER_FILE} nor {RUN_FILE} says that a run of this "
                "project wrote that; give another folder."
            )
        if names and not (overwrite or resume):
            raise InputError(
                f"--output_dir {self} already holds a run ({shown}); give another folder, --resume_from_checkpoint to "
                "go on with it, or --overwrite_output_dir to replace it."
            )

    def _is_ours(self) -> bool:
        """Whether a run of this project was begun here, or, before there was a marker, finished."""
        if (self.path / MARKER_FILE).is_file():
            return True
        try:
            return {"arguments", "dataset", "packages"} <= self.read(RUN_FILE).keys()
        except (InputError, AttributeError):
            return False

    @property
    def holds_a_run(self) -> bool:
        """Whether anything that a run writes is there."""
        return bool(self._present(FILES))

    @property
    def is_encoder(self) -> bool:
        """True for an encoder's run, False for a baseline's."""
        return not (self.path / BASELINE_FILE).is_file()

    @property
    def has_onnx(self) -> bool:
        """Whether its model is there as ONNX, in any precision."""
        return any((self.path / name).is_file() for name in ONNX_FILES.values())

    def require_finished(self) -> None:
        """Raise `InputError` unless the run has come to its end: it is scored, and its example is recorded."""
        self.settle()
        for name, key in ((RESULTS_FILE, "eval_f1_micro"), (THRESHOLDS_FILE, "thresholds"), (RUN_FILE, "example")):
            if not (self.path / name).is_file() or key not in self.read(name):
                raise InputError(f"{self} is not a finished run: it has no {name} with {key!r}.")
        if not (self.path / STRATEGIES_FILE).is_file():
            raise InputError(f"{self} is not a finished run: it has no {STRATEGIES_FILE}.")

    def begin(self) -> None:
        """Begin a new run in the folder, which `create` has opened for it, of all processes together.

        What an earlier run left stays as it is until the new model takes its place, see `replace`; its checkpoints and
        logs are set aside.
        """
        refused_together(self._begin)

    def _begin(self) -> None:
        shutil.rmtree(self.path / (_CHANGE + _UNFINISHED), ignore_errors=True)
        write_json(self.path / MARKER_FILE, {"about": "--overwrite_output_dir may replace the run in this folder"})
        for path in self._present(file for file in FILES if file.written_by == "checkpoints"):
            name = path.relative_to(self.path)
            aside = self.path / REPLACED / name
            if aside.exists():  # then this one is of a run that was to replace it, and came to no end
                self._remove([name])
            else:
                aside.parent.mkdir(parents=True, exist_ok=True)
                path.rename(aside)
                with suppress(OSError):  # somebody else's files are in it
                    path.parent.rmdir()

    def read(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of the folder."""
        return read_json(self.path / name)

    def read_predictions(self, split: str, folder: str = PREDICTIONS) -> tuple[list[str], Predictions]:
        """Label names and predictions of `validation` or `test`, as `write_predictions` stored them in `folder`."""
        path = self._predictions_file(split, folder)
        if not path.is_file():
            raise InputError(f"{self} has no predictions of the {split} split ({folder}/{path.name} is missing).")
        try:
            return _read_predictions(path)
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is no file of predictions as the scripts write it ({' '.join(str(error).split())}); "
                "evaluate or train the run again."
            ) from error

    def has_predictions(self, split: str) -> bool:
        """Whether the run was scored on this split."""
        return self._predictions_file(split).is_file()

    def write_predictions(
        self, split: str, names: Sequence[str], predictions: Predictions, folder: str = PREDICTIONS
    ) -> None:
        """Store text, gold labels by name and one probability column a label, as Parquet.

        A column is called like its label, but for labels called `text` or `labels`, see `_probability_columns`; the
        file's metadata then holds the names.
        """
        texts, gold, probabilities = predictions
        called = _probability_columns(names)
        columns: dict[str, Any] = {"text": list(texts)}
        columns["labels"] = [[names[i] for i in np.flatnonzero(row).tolist()] for row in gold]
        columns |= {column: probabilities[:, index].astype(np.float32) for index, column in enumerate(called)}
        table = pyarrow.table(columns)
        if called != list(names):
            table = table.replace_schema_metadata({_LABEL_NAMES: json.dumps(list(names))})
        with whole_file(self._predictions_file(split, folder)) as file:
            pyarrow.parquet.write_table(table, file)

    def _predictions_file(self, split: str, folder: str = PREDICTIONS) -> Path:
        return self.path / folder / f"{split}.parquet"

    def write_run_json(
        self,
        arguments: Mapping[str, Any],
        dataset: Mapping[str, Any],
        layout: str | None = None,
        base_model: str | None = None,
        fingerprint: str | None = None,
        shown: Mapping[str, Any] | None = None,
    ) -> None:
        """What it takes to run this again: arguments (never a token), versions, data, commit, seed, machine.

        Args:
            layout: processes, device and batch of a training, in a sentence.
            base_model: the encoder's id on the Hub.
            fingerprint: a digest of what the model was trained from, and how: by it a repository on the Hub is known to
                hold an earlier state of this run, and not another model.
            shown: what a card may show of arguments that name folders or files, see `utils.arguments.shown_names`.
        """
        versions = {"python": platform.python_version()}
        versions |= {package: importlib.metadata.version(package) for package in _PACKAGES}
        content: dict[str, Any] = {
            "arguments": {key: value for key, value in arguments.items() if not key.endswith(_SECRETS)},
            "dataset": dataset,
            "seed": arguments["seed"],
            "packages": versions,
            "git_commit": _git_commit(),
            "hardware": {"machine": platform.machine(), "logical_cpus": os.cpu_count()},
        }
        if layout:
            content["hardware"]["layout"] = layout
        optional = {"base_model": base_model, FINGERPRINT: fingerprint, "shown": shown}
        content |= {name: value for name, value in optional.items() if value}
        write_json(self.path / RUN_FILE, content)

    # --- a change of several files at once ---------------------------------------------------------------------------

    @contextmanager
    def change(self, outdated: Sequence[str] = ()) -> Iterator[Path]:
        """A folder to write files into; at the end they replace the run's own, all of them or none.

        The files are put together in `.run_change.unfinished`. Renaming that to `.run_change` is the moment in which
        the change happens: what stops the program before leaves the old files, and after it `settle`, which every
        reader calls, finishes putting the new ones into their places.

        Args:
            outdated: steps (`RunFile.written_by`) whose files are removed with the change, unless it brings new ones.

        Raises:
            InputError: another process is changing the run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.exclusive():
            self._settle()
            staged = self.path / (_CHANGE + _UNFINISHED)
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir()
            try:
                yield staged
                new = {path.relative_to(staged) for path in staged.rglob("*") if path.is_file()}
                old = self._present(file for file in FILES if file.written_by in outdated)
                removed = [str(name) for path in old if (name := path.relative_to(self.path)) not in new]
                write_json(staged / _REMOVED, {"files": removed})
                for path in new:
                    _sync(staged / path)
                staged.replace(self.path / _CHANGE)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
            self._settle()

    def replace(self) -> AbstractContextManager[Path]:
        """`change` for a new model; whatever else is left of an earlier run goes at the same moment."""
        return self.change(outdated=("training", *AFTER_TRAINING, "replacing"))

    def settle(self) -> None:
        """Finish a change that was cut short in the middle; without one, nothing happens.

        Raises:
            InputError: another process is about to do so, and does not get on with it.
        """
        waited_until = time.monotonic() + _SETTLED_WITHIN
        while (self.path / _CHANGE).is_dir():
            try:
                with self.exclusive():
                    self._settle()
                    return
            except InputError:
                if time.monotonic() > waited_until:
                    raise
                time.sleep(0.05)

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other processes from writing the run meanwhile; see `utils.locks.held`."""
        return held(self.path / _LOCK, self)

    def state(self) -> list[tuple[int, int] | None]:
        """What tells one state of the run's model from another: two that are equal hold the same files."""
        self.settle()
        found = []
        for name in _STATE:
            path = self.path / name
            found.append((path.stat().st_ino, path.stat().st_mtime_ns) if path.is_file() else None)
        return found

    def _settle(self) -> None:
        change = self.path / _CHANGE
        if (change / _REMOVED).is_file():  # the last to go, when everything else is in its place
            self._remove(filter(_is_listed, map(Path, read_json(change / _REMOVED)["files"])))
            for path in sorted(path for path in change.rglob("*") if path.is_file() and path.name != _REMOVED):
                _place(path, self.path / path.relative_to(change))
            (change / _REMOVED).unlink()
        if change.is_dir():
            folders = sorted((path for path in change.rglob("*") if path.is_dir()), reverse=True)
            for folder in [*folders, change]:
                with suppress(OSError):
                    folder.rmdir()

    def _present(self, files: Iterable[RunFile]) -> list[Path]:
        return [path for file in files for path in sorted(self.path.glob(file.name))]

    def _remove(self, names: Iterable[Path]) -> None:
        for name in names:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            path.with_name(path.name + _UNFINISHED).unlink(missing_ok=True)
            with suppress(OSError):  # somebody else's files are in it
                for folder in (self.path / name).relative_to(self.path).parents[:-1]:
                    (self.path / folder).rmdir()


def _is_listed(name: Path) -> bool:
    """Whether a path inside a run's folder is one of `FILES`: a folder from elsewhere may name any other."""
    plain = not name.is_absolute() and ".." not in name.parts
    return plain and any(len(name.parts) == len(Path(file.name).parts) and name.match(file.name) for file in FILES)


def _read_predictions(path: Path) -> tuple[list[str], Predictions]:
    table = pyarrow.parquet.read_table(path)
    columns = [name for name in table.column_names if name not in _PREDICTION_COLUMNS]
    stored = (table.schema.metadata or {}).get(_LABEL_NAMES)
    names: list[str] = json.loads(stored) if stored else columns
    index = {name: number for number, name in enumerate(names)}
    gold = np.zeros((len(table), len(names)), dtype=np.float32)
    for row, labels in enumerate(table["labels"].to_pylist()):
        gold[row, [index[label] for label in labels]] = 1
    probabilities = np.array([table[column].to_numpy() for column in columns], dtype=np.float32).T
    return names, Predictions(table["text"].to_pylist(), gold, probabilities)


def digest(value: Any) -> str:
    """A short name of a JSON value, 16 hexadecimal digits, equal for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _probability_columns(names: Sequence[str]) -> list[str]:
    """The column of each label's probabilities: its name, with `label:` before it where that is another column's."""
    taken, columns = {*_PREDICTION_COLUMNS, *names}, []
    for name in names:
        column = name
        while name in _PREDICTION_COLUMNS and column in taken:
            column = f"label:{column}"
        taken.add(column)
        columns.append(column)
    return columns


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


# --- files ------------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; `InputError` where it is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; a finished run has one.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a JSON {type(content).__name__}; an object is expected.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as readable JSON; nan and infinity, which JSON lacks, are left out."""
    finite = {
        key: value for key, value in content.items() if not (isinstance(value, float) and not math.isfinite(value))
    }
    write_bytes(path, (json.dumps(finite, indent=2, ensure_ascii=False, default=str) + "\n").encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table that `write_csv` wrote, by column; `InputError` where it is missing or broken."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; a finished run has one.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable table ({error}).") from error


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (), for_spreadsheets: bool = False
) -> None:
    """Write rows with equal keys; nan becomes an empty cell.

    Args:
        columns: those of a table that may have no row.
        for_spreadsheets: with the byte order mark, without which some take UTF-8 for something else.
    """
    lines: list[str] = []
    # csv quotes a carriage return only where its own lines end in one, and readers take a bare one for an end of line.
    ends = SimpleNamespace(write=lambda line: lines.append(line.removesuffix("\r\n") + "\n"))
    writer = csv.DictWriter(ends, fieldnames=list(rows[0]) if rows else list(columns), lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        )
    write_bytes(path, "".join(lines).encode("utf-8-sig" if for_spreadsheets else "utf-8"))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one stroke; see `whole_file`."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes `path`'s place when everything is in it; an error leaves what was there.

    Its content is on the disk before its name is: a power cut leaves no name without content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _place(path: Path, target: Path) -> None:
    """Put a finished file into its place, also where that lies on another file system, behind a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with path.open("rb") as content, whole_file(target) as file:
            shutil.copyfileobj(content, file)
        path.unlink()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
