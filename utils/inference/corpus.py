"""Many files, as a pipeline of datatrove's: a task reads its share of them, labels every row, and writes as many files.

datatrove deals files out to tasks, runs the tasks and remembers which are finished. Its own readers guess types, drop
rows without text and pass over broken lines, and its writers drop empty cells; so rows are read and written here as
run_inference.py does it: the same input file becomes the same output file.
"""

import functools
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any, BinaryIO

import pyarrow
import torch
from datatrove.data import Document
from datatrove.io import DataFolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers.disk_base import DiskWriter
from datatrove.utils.stats import Stats
from huggingface_hub import CommitOperationAdd

from utils.console import InputError
from utils.data.files import Watch
from utils.data.rows import Row, kind_of, read_rows
from utils.hub_client import HubSilentError, limit_waiting
from utils.inference.jobs import ahead
from utils.inference.label_rows import Prepared, RowClassifier, windows
from utils.inference.output import SUFFIXES, OutputFile, table_schema
from utils.inference.parts import digest
from utils.model.classifiers import Classifier, compute_device, load_classifier, model_files, model_folder
from utils.progress import OnRows, no_progress
from utils.run_folder import whole_file

LISTED = 1000  # rows of one task that are listed when they cannot be classified; all are counted


@dataclass(eq=False)
class Source:
    """An input file, by its name in the input folder, and the file that its rows go to."""

    name: str
    output: OutputFile


@dataclass(slots=True)
class RowDocument(Document):
    """A row on its way: all its cells are `metadata`, where it stands is `id`.

    A column of any name is safe there: datatrove's readers take a row's `id`, `media` and `metadata` for their own.
    """

    source: Source | None = None
    problem: str | None = None


class RowReader(BaseDiskReader):
    """Every row of a task's files, in order, also those that cannot be classified."""

    name = "rows"

    def __init__(
        self,
        data_folder: DataFolder,
        paths_file: str,
        text_column: str = "text",
        output_format: str | None = None,
        added: dict[str, pyarrow.DataType] | None = None,
    ):
        """
        Args:
            paths_file: the names of all files, one a line. A listing of each task's own would deal them out anew when
                a file has come meanwhile.
            output_format: see `output_name`.
            added: see `utils.inference.output.table_schema`.
        """
        super().__init__(data_folder, paths_file, text_key=text_column, add_file_path=False)
        self.output_format, self.added = output_format, added or {}

    def update_doc_stats(self, document: Document) -> None:
        """None: they would take a user's column `token_count` for a number."""

    def read_file(self, filepath: str) -> Iterator[RowDocument]:
        """The rows of one file.

        Raises:
            InputError: it is none of its format, lacks the text's column, or was changed meanwhile.
        """
        with _local_copy(self.data_folder, filepath) as path:
            try:
                yield from self._rows(filepath, path)
            except (InputError, OSError, pyarrow.ArrowException) as error:
                reason = str(error).replace(str(path), path.name).replace(f"{path.name}: ", "")
                raise InputError(f"{filepath}: {reason}") from error

    def _rows(self, filepath: str, path: Path) -> Iterator[RowDocument]:
        watch = Watch([path])
        rows = read_rows(path, text_column=self.text_key)
        first = next(rows, None)
        if first is None:
            return
        if self.text_key not in first.cells and first.problem is None:
            raise InputError(
                f"there is no column {self.text_key!r} (it has {', '.join(first.cells) or 'none'}); name the text's "
                "column with --text_column."
            )
        output = Path(output_name(filepath, self.output_format))
        schema = None if kind_of(output)[0] == ".jsonl" else table_schema(path, [], self.text_key, self.added)
        source = Source(filepath, OutputFile(output, schema))
        for row in itertools.chain([first], rows):
            text = row.cells.get(self.text_key)
            yield RowDocument(
                text if isinstance(text, str) else "", row.place, metadata=row.cells, source=source, problem=row.problem
            )
        watch.require_unchanged()


class LabelEmotions(PipelineStep):
    """Adds labels and scores to documents, a window of one file's rows at a time: see `RowClassifier`.

    A process loads the model once, for all its tasks.
    """

    name, type = "emotions", "🏷 - LABELS"

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        files: dict[str, str] | None = None,
        backend: str = "torch",
        precision: str = "fp32",
        use_cpu: bool = False,
        threads: int | None = None,
        text_column: str = "text",
        threshold: float | None = None,
        top_k: int | None = None,
        at_least_one: bool = False,
        neutral_alone: bool = False,
        all_scores: bool = False,
    ):
        """
        Args:
            model: a folder that every machine sees, or a model id on the Hub.
            revision: of the model on the Hub.
            files: the digest of the model's files. Those that a task finds must be the same.
            threads: that compute on a CPU; None: as many as torch takes.
        """
        super().__init__()
        self.model = (model, revision, backend, precision, use_cpu, json.dumps(files), threads)
        self.choice = (text_column, threshold, top_k, at_least_one, neutral_alone, all_scores)
        self.progress: OnRows = no_progress

    def run(self, data: Iterable[RowDocument], rank: int = 0, world_size: int = 1) -> Iterator[RowDocument]:
        """The same documents with `labels` and `scores` among their cells, and what kept one from being classified."""
        classifier, thresholds = _loaded(*self.model)
        named = RowClassifier(classifier, thresholds, *self.choice)

        def prepared() -> Iterator[tuple[list[RowDocument], Prepared]]:
            for window in windows_of_files(data):
                rows = [Row(document.id, document.metadata, document.problem) for document in window]
                yield window, named.prepare(rows)

        for window, rows in ahead(prepared()):
            with self.track_time("window"):
                answers = named.classify(rows, self.progress)
            self.stat_update("rows", value=len(window), unit="window")
            for document, (cells, problem) in zip(window, answers, strict=True):
                document.metadata, document.problem = cells, problem
                yield document


class RowWriter(DiskWriter):
    """The last step: each input file becomes a file of the same name, which is there whole or not at all.

    It leaves a report of the task's rows, and where the task fails, of what has failed. On a Hub repository a task is
    one commit, since the Hub limits the commits of an hour.
    """

    default_output_filename = "${rank}"
    name = "rows"

    def __init__(self, output_folder: DataFolder, reports: DataFolder):
        super().__init__(output_folder, compression=None)
        self.reports = reports

    @staticmethod
    def is_retryable_hf_hub_error(error: Exception) -> bool:
        """Also where this project's client has given the Hub up: it has been asked to wait for minutes."""
        return isinstance(error, HubSilentError) or DiskWriter.is_retryable_hf_hub_error(error)

    def _write(self, document: dict, file_handler: IO, filename: str) -> None:
        """datatrove's writers are fed one document at a time by `write`; this one writes files whole, in `run`."""
        raise TypeError("a RowWriter writes whole files: call run, not write")

    def run(self, data: Iterable[RowDocument], rank: int = 0, world_size: int = 1) -> Iterator[RowDocument]:
        """Writes all documents, and yields none."""
        self.stats = Stats(str(self))
        report: dict[str, Any] = {"rows": 0, "unclassified": 0, "labels": Counter(), "problems": []}
        try:
            if self.output_folder.is_local():
                self._write_files(Path(self.output_folder.resolve_paths("")), data, report)
            else:
                with TemporaryDirectory() as folder:
                    self._publish(Path(folder), self._write_files(Path(folder), data, report))
        except Exception as error:
            problem = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self._tell("failures", rank, {"problem": problem})
            raise
        self._tell("reports", rank, report)
        if self.reports.isfile(failure := f"failures/{rank:05d}.json"):
            self.reports.rm(failure)
        yield from ()

    def _write_files(self, folder: Path, data: Iterable[RowDocument], report: dict[str, Any]) -> list[Path]:
        written = []
        for source, documents in itertools.groupby(data, key=lambda document: document.source):
            assert source is not None
            pieces = (io.BytesIO(piece) for piece in self._pieces(source.output, documents, report))
            with whole_file(folder / source.output.path) as file:
                source.output.join(pieces, file)
            written.append(source.output.path)
        return written

    def _pieces(self, output: OutputFile, documents: Iterable[RowDocument], report: dict[str, Any]) -> Iterator[bytes]:
        for number, window in enumerate(windows(documents)):
            rows = [document.metadata for document in window]
            report["rows"] += len(rows)
            report["labels"].update(itertools.chain.from_iterable(row["labels"] for row in rows))
            for document in window:
                if document.problem:
                    assert document.source
                    report["unclassified"] += 1
                    if len(report["problems"]) < LISTED:
                        name = document.source.name
                        problem = document.problem.removeprefix(f"{PurePosixPath(name).name} ")
                        report["problems"].append({"file": name, "problem": problem})
            self.stat_update("rows", value=len(rows), unit="window")
            yield output.piece(rows, first=number == 0)

    def _publish(self, folder: Path, names: list[Path]) -> None:
        """Bring finished files to where they belong, on the Hub in one commit."""
        files = {name.as_posix(): folder / name for name in names}
        put_files(self.output_folder, files, f"{len(files)} file(s) with emotions", self._retry_hf_hub_operation)

    def _tell(self, kind: str, rank: int, content: dict[str, Any]) -> None:
        with self.reports.open(f"{kind}/{rank:05d}.json", "w") as file:
            json.dump(content, file)


def output_name(name: str, output_format: str | None) -> str:
    """The file that an input file becomes: of the same name, or with the suffix of `output_format` in place of its own.

    Formats that are only read become JSON Lines.
    """
    path = PurePosixPath(name)
    kind, compression = kind_of(Path(name))
    stem = PurePosixPath(path.stem).stem if compression else path.stem
    packed = path.suffix if compression else ""
    if output_format is None:
        return str(path if kind in SUFFIXES else path.with_name(f"{stem}.jsonl{packed}"))
    return str(path.with_name(f"{stem}.{output_format}{'' if output_format == 'parquet' else packed}"))


def windows_of_files(documents: Iterable[RowDocument]) -> Iterator[list[RowDocument]]:
    """Windows of documents, none with rows of two files: what is computed with a row does not depend on the tasks."""
    for _, rows in itertools.groupby(documents, key=lambda document: document.source):
        yield from windows(rows)


def put_files(folder: DataFolder, files: Mapping[str, Path | bytes], message: str, retry: Any = None) -> None:
    """Put files, or their content, into a folder by their names there; into a Hub repository in one commit."""
    limit_waiting()
    place = folder.fs.resolve_path(folder.path) if hasattr(folder.fs, "resolve_path") else None
    if place is None or not hasattr(place, "repo_id"):
        for name, content in files.items():
            data: BinaryIO = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
            with data, folder.open(name, "wb") as file:
                while block := data.read(1 << 20):
                    file.write(block)
        return
    within = f"{place.path_in_repo}/" if place.path_in_repo else ""

    def commit() -> None:
        limit_waiting()  # what was given up once is asked anew
        operations = [CommitOperationAdd(within + name, content) for name, content in files.items()]
        folder.fs._api.create_commit(
            place.repo_id, operations, commit_message=message, repo_type=place.repo_type, revision=place.revision
        )

    if files:
        retry("commit", place.repo_id, commit) if retry else commit()
        folder.fs.invalidate_cache()


@contextmanager
def _local_copy(folder: DataFolder, name: str) -> Iterator[Path]:
    """A file's path on this machine: its own, or that of a copy, so that a file is one request and is read like any."""
    if folder.is_local():
        yield Path(folder.resolve_paths(name))
        return
    limit_waiting()
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / PurePosixPath(name).name
        folder.get_file(name, str(path))
        yield path


@functools.cache
def _loaded(
    model: str, revision: str | None, backend: str, precision: str, use_cpu: bool, files: str, threads: int | None
) -> tuple[Classifier, Any]:
    if threads:
        torch.set_num_threads(threads)
    folder = model_folder(model, backend, precision, revision)
    if json.loads(files) not in (None, digest(model_files(folder, backend, precision))):
        raise InputError(f"{model} has other files than when this job began; start again into another folder.")
    return load_classifier(folder, compute_device(use_cpu or backend == "onnx"), backend, precision)
