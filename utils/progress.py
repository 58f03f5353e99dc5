"""How far a job is, and which rows it could not do, on standard error."""

import sys
import time
from collections.abc import Callable

from tqdm.auto import tqdm

from utils.console import visible
from utils.lines import folded, terminal_width

LINES_EVERY = 30  # seconds between lines of progress in a log file
REPORTED = 20  # rows that are named one by one; a file full of bad rows would bury everything else

OnRows = Callable[[int], object]  # is told how many rows have been finished


def no_progress(rows: int) -> None:
    """Tell nobody."""


class Progress:
    """A bar with rate and time left in a terminal; in a log file a line now and then."""

    def __init__(self, total: int | None = None, done: int = 0, shown: bool = True, share: int = 1):
        """`done`: rows finished before. `share`: rows that stand for each one advanced, where others do as many."""
        self.total, self.done, self.before, self.share = total, done, done, share
        self.lines = shown and not sys.stderr.isatty()
        self.bar = tqdm(
            total=total,
            initial=done,
            unit=" rows",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=self.lines or not shown,
        )
        self.started = self.printed = time.monotonic()
        self.problems = 0

    def advance(self, rows: int) -> None:
        rows *= self.share
        if self.total is not None:
            rows = min(rows, max(0, self.total - self.done))
        self.done += rows
        self.bar.update(rows)
        now = time.monotonic()
        if self.lines and now - self.printed >= LINES_EVERY:
            self.printed = now
            meter = tqdm.format_meter(self.done, self.total or 0, now - self.started, unit=" rows", initial=self.before)
            print(meter, file=sys.stderr, flush=True)

    def report(self, problem: str) -> None:
        """Name a row that could not be classified, as long as there are few."""
        self.problems += 1
        if self.problems <= REPORTED:
            said = folded(f"not classified: {visible(problem)}", terminal_width(sys.stderr), "  ")
            tqdm.write(said, file=sys.stderr)
        elif self.problems == REPORTED + 1:
            tqdm.write("not classified: more rows, which are only counted from here on", file=sys.stderr)

    def close(self) -> None:
        self.bar.close()
