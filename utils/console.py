"""What a script says to its user: progress on standard output, one sentence when something is wrong."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from utils.machine import is_main_process

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS)


class InputError(ValueError):
    """Something the user can mend; its text names the thing, what was received and what would be accepted."""


def say(message: str = "") -> None:
    """Print `message` at once, from the main process only."""
    if is_main_process():
        print(message, flush=True)


def note(message: str) -> None:
    """Print `message` on standard error, where it mixes with no result, from the main process only."""
    if is_main_process():
        print(message, file=sys.stderr, flush=True)


def table(text: str, names: Sequence[str], scores: Sequence[float]) -> str:
    """One text with its emotions, for people: name, score, bar."""
    width = shutil.get_terminal_size().columns
    line = " ".join(text.split())
    lines = [line if len(line) <= width else f"{line[: width - 1]}…"]
    lines += [f"  {name:<16}{score:6.3f}  {'█' * round(score * 30)}" for name, score in zip(names, scores, strict=True)]
    if not names:
        lines.append("  (no emotion reaches its threshold)")
    return "\n".join(lines) + "\n"


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn what a user can mend into one sentence on standard error and a non-zero exit status.

    Bugs keep their traceback: only `InputError`, a full disk, a file that may not be touched, a closed pipe and
    Ctrl-C end here. Exit status 2 is wrong input, 1 the machine's refusal, 130 an interruption.
    """
    try:
        yield
    except InputError as error:
        _exit(str(error), 2)
    except BrokenPipeError:  # `run_inference.py … | head` is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        _exit("Interrupted; checkpoints and finished files are kept.", 130)
    except Exception as error:
        # torch and safetensors report a full disk in exceptions of their own, caused by or quoting the system's.
        refused = error if isinstance(error, OSError) else error.__context__
        if isinstance(refused, OSError) and refused.errno in _REFUSALS:
            _exit(f"{refused.strerror}: {refused.filename or 'while writing'}; what was finished before is kept.", 1)
        if os.strerror(errno.ENOSPC) in str(error):
            _exit(f"{os.strerror(errno.ENOSPC)}; what was finished before is kept.", 1)
        raise


def _exit(sentence: str, status: int) -> NoReturn:
    if is_main_process() or status == 1:  # wrong input is the same for all processes; a full disk need not be
        print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(status)
