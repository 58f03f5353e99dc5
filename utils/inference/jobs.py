"""A whole file, classified: read and encoded ahead, stored in parts behind."""

import gc
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from utils.console import InputError, note
from utils.data.files import ChangedError, Watch
from utils.data.rows import Row, kind_of
from utils.inference.label_rows import WINDOW, Prepared, RowClassifier, windows
from utils.inference.output import PAGE, OutputFile, added_columns, kept_names, table_schema
from utils.inference.parts import ROWS, PartFolder, digest
from utils.locks import hold
from utils.progress import Progress

Item = TypeVar("Item")
SHOWN = 10  # labels in the sentence about a job


def claim(output_file: Path, resume: bool, overwrite: bool) -> None:
    """Hold the output until the job ends, and see that nothing is in its place.

    Raises:
        InputError: another job is writing it, or it is there and is neither gone on with nor replaced; see
            `PartFolder.require_room`.
    """
    try:
        hold(output_file.with_name(f"{output_file.name}.lock"), output_file)
    except OSError as error:
        raise InputError(f"{output_file} cannot be written ({error.strerror}); give another place.") from error
    PartFolder(OutputFile(output_file)).require_room(resume, overwrite)


def open_parts(
    output_file: Path,
    input_file: Path | None,
    settings: dict[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    columns: Sequence[str] = (),
    all_scores: Sequence[str] = (),
    explained: bool = False,
) -> PartFolder:
    """Where the output's parts go; for `resume` and `overwrite`, see `PartFolder.begin`.

    Args:
        input_file: None for texts that cannot be read again.
        settings: what else the output's rows depend on, `text_column` among it.
        columns: those of texts that cannot be read again.
        all_scores: the labels whose probabilities have a column each.
        explained: there is a column for what the words contributed.
    """
    is_table, text_column = kind_of(output_file)[0] not in (".jsonl", PAGE), settings["text_column"]
    added = added_columns(all_scores, explained)
    schema = table_schema(input_file, columns, text_column, added) if is_table else None
    parts = PartFolder(OutputFile(output_file, schema, kept_names([text_column], added)[text_column]))

    source = digest([input_file]) if input_file else None
    if said := parts.begin({**settings, ROWS: WINDOW, "input": source}, resume, overwrite):
        note(said)
    return parts


def classify_file(
    classifier: RowClassifier,
    rows: Iterable[Row],
    parts: PartFolder,
    progress: Progress,
    resumable: bool,
    source: Watch | None = None,
) -> int:
    """Classify all rows that no finished part holds, join the parts, and return how many rows stay unclassified.

    Each window of rows becomes a part.

    Args:
        resumable: the rows can be read again, so parts outlive an error.
        source: the file that they are read from. No part is stored, and none is kept, once that has changed.
    """
    source = source or Watch([])
    done = parts.finished().keys()
    count = 0
    gc.freeze()  # the libraries' half a million objects stay: searching them for garbage takes a tenth of a second
    try:
        with ThreadPoolExecutor(1) as writer:
            written = None
            prepared = _prepared(classifier, rows, done)
            for number, window in ahead(prepared) if resumable else prepared:
                count = number + 1
                if window is not None:
                    results = classifier.classify(window, progress.advance)
                    for _, problem in results:
                        if problem:
                            progress.report(problem)
                    if written:
                        written.result()
                    source.require_unchanged()
                    written = writer.submit(_store, parts, number, results)
            if written:
                written.result()
        progress.close()
        source.require_unchanged()
        return parts.join(count)
    except BaseException as error:
        progress.close()
        if not resumable or isinstance(error, ChangedError):
            parts.remove()
        elif kept := len(parts.finished()):
            print(f"{kept:,} finished part(s) are kept; the same command with --resume goes on.", file=sys.stderr)
        raise


def summary(classifier: RowClassifier, progress: Progress, output_file: Path) -> str:
    """What a job has done, in a sentence: rows, labels by their number, path, seconds."""
    counts, rows, before = classifier.counts, classifier.rows, progress.before
    labels = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(SHOWN)) or "no labels"
    more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    kept = f" beside {before:,} from before" if before else ""
    return f"{rows:,} rows{kept} in {output_file}, {time.monotonic() - progress.started:.1f} s: {labels}{more}"


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(_next, items)
        while item := made.result():
            made = pool.submit(_next, items)
            yield item[0]


def _next(items: Iterator[Item]) -> tuple[Item] | None:
    """The next item in a tuple; None at the end."""
    return next(((item,) for item in items), None)


def _prepared(
    classifier: RowClassifier, rows: Iterable[Row], done: Iterable[int]
) -> Iterator[tuple[int, Prepared | None]]:
    """Number and content of every window; None for those that are done."""
    for number, window in enumerate(windows(rows)):
        yield number, None if number in done else classifier.prepare(window)


def _store(parts: PartFolder, number: int, results: list[tuple[dict[str, Any], str | None]]) -> None:
    unclassified = sum(problem is not None for _, problem in results)
    content = parts.output.piece([row for row, _ in results], first=number == 0)
    parts.write(number, content, len(results), unclassified)
