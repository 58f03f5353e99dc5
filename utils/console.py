"""What a script says to its user: progress on standard output, one sentence when something is wrong."""

import errno
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn

from utils.lines import folded, padded, shortened, shown_width, terminal_width
from utils.machine import is_launched_with_others, is_main_process

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOMEM)
# How safetensors, SQLite and torch's writer say so, which have no number for it.
_DISK_IS_FULL = (os.strerror(errno.ENOSPC), "database or disk is full", "enforce fail at inline_container")
_PEER_IS_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # as gloo says it
_KEPT = "what was finished before is kept"
# What a terminal would obey rather than show: controls but for tabs and line ends, changes of the writing's direction;
# and halves of surrogate pairs, which cannot be written at all.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


_BAR = 30  # columns of a score of 1
_INTERRUPTED = "Interrupted; checkpoints and finished files are kept."
_OURS = ("utils", "metrics", "benchmarks")  # packages that no pip installs


def _at_the_top(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C and a missing package are a sentence from the first import on; all else: see `one_sentence_errors`."""
    if issubclass(kind, KeyboardInterrupt):
        _exit(_INTERRUPTED, 130)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in _OURS:
        _exit(
            f"The package {error.name} is not installed for this Python ({platform.python_version()}); `pip install -r "
            "requirements.txt` installs what is needed, and after `make quickstart` .venv/bin/python has it.",
            1,
        )
    sys.__excepthook__(kind, error, trace)


def _interrupted_in_passing(ignored: "sys.UnraisableHookArgs") -> None:
    """A Ctrl-C that comes while an object is taken away, where Python lets no exception through, prints no trace."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


sys.excepthook = _at_the_top
sys.unraisablehook = _interrupted_in_passing


class InputError(ValueError):
    """Something the user can mend; its text names the thing, what was received and what would be accepted."""


def visible(text: str) -> str:
    """`text` with control characters as escapes, such as `\\x1b`: shown by a terminal, not executed."""
    return _COMMANDS.sub(lambda sign: sign[0].encode("unicode_escape").decode(), text)


def say(message: str = "") -> None:
    """Print `message` at once, from the main process only; in a terminal folded to its width."""
    if is_main_process():
        print(folded(visible(message), terminal_width(sys.stdout)), flush=True)


def note(message: str) -> None:
    """Print `message` on standard error, where it mixes with no result, from the main process only."""
    if is_main_process():
        print(folded(visible(message), terminal_width(sys.stderr)), file=sys.stderr, flush=True)


def table(text: str, names: Sequence[str], scores: Sequence[float]) -> str:
    """One text with its emotions, for people: name, score, bar."""
    width = terminal_width(sys.stdout) or 80
    shown = [shortened(visible(name), max(16, width - 10 - _BAR)) for name in names]
    column = max(16, *map(shown_width, shown)) if shown else 16
    bar = max(0, min(_BAR, width - column - 10))
    lines = [shortened(visible(" ".join(text.split())), width)]
    lines += [
        f"  {padded(name, column)}{score:6.3f}  {'█' * round(score * bar)}"
        for name, score in zip(shown, scores, strict=True)
    ]
    if not names:
        lines.append("  (no emotion reaches its threshold)")
    return "\n".join(lines) + "\n"


def refused_together(action: Callable[[], object]) -> None:
    """Do something in the main process; where that is refused, all processes of a launch are, with its sentence."""
    if not is_launched_with_others():
        action()
        return
    from accelerate.utils import broadcast_object_list

    said: list[str | None] = [None]
    if is_main_process():
        try:
            action()
        except (InputError, OSError) as error:
            said = [str(error)]
    broadcast_object_list(said)
    if said[0] is not None:
        raise InputError(said[0])


@contextmanager
def left_out(part: str) -> Iterator[None]:
    """Go on without `part` where it cannot be made, and say so in one line: what is finished is worth more."""
    try:
        yield
    except Exception as error:  # whatever is wrong with it
        reason = " ".join(str(error).split())[:300].rstrip(" .")
        say(f"{part[0].upper()}{part[1:]} is left out: {reason or type(error).__name__}.")


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn what a user can mend into one sentence on standard error and a non-zero exit status.

    Bugs keep their traceback: only `InputError`, what the system refuses, too little memory, a closed pipe and Ctrl-C
    end here. Exit status 2 is wrong input, 1 the machine's refusal, 130 an interruption.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal in latin-1 shows what it can
    try:
        yield
    except InputError as error:
        _exit(str(error), 2)
    except BrokenPipeError:  # `run_inference.py … | head` is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        _exit(_INTERRUPTED, 130)
    except RecursionError:
        _exit("A file is nested more deeply than it can be read; accepted: a hundred levels, which is plenty.", 2)
    except Exception as error:
        # torch and safetensors report a full disk in exceptions of their own, caused by or quoting the system's.
        refused = error if isinstance(error, OSError) else error.__context__
        if isinstance(refused, OSError) and refused.errno in _REFUSALS:
            _exit(f"{refused.strerror}: {refused.filename or 'while writing'}; {_KEPT}.", 1)
        if is_launched_with_others() and any(words in str(error) for words in _PEER_IS_GONE):
            _exit("Another process of this job has ended, and this one cannot go on; see what that one said.", 1)
        if any(words in str(error) for words in _DISK_IS_FULL):
            _exit(f"{os.strerror(errno.ENOSPC)}; {_KEPT}.", 1)
        if _is_short_of_memory(error):
            _exit(f"The memory does not suffice; {_KEPT}; smaller batches, or a smaller model, take less.", 1)
        if isinstance(error, OSError) and error.errno and error.filename:  # a name too long, a loop of links, …
            _exit(f"{os.fsdecode(error.filename)}: {error.strerror}.", 2)
        raise


def _is_short_of_memory(error: Exception) -> bool:
    """Whether Python, the CPU's or the GPU's allocator, or Arrow has had no memory to give."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = ("can't allocate memory", "failed to map segment")  # torch, and the loader of its libraries
    named = kinds & {"MemoryError", "OutOfMemoryError", "ArrowMemoryError"}
    return bool(named) or any(words in str(error) for words in said)


def _exit(sentence: str, status: int) -> NoReturn:
    if is_main_process() or status == 1:  # wrong input is the same for all processes; a full disk need not be
        said = f"error: {visible(' '.join(sentence.split()))}"
        print(folded(said, terminal_width(sys.stderr)), file=sys.stderr, flush=True)
    sys.exit(status)
