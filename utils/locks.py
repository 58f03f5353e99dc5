"""One job at a time on an output: a lock of the operating system's, which ends with its process, however that ends.

The lock is a file beside the output, or in a run's folder, which says who holds it. A kill leaves the file, never the
lock. File systems without locks, some network drives among them, let everybody pass.
"""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from utils.console import InputError

if TYPE_CHECKING:
    from filelock import FileLock

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NOTE_WITHIN = 0.5  # seconds: who has just taken a lock has not yet said so

_held: set[Path] = set()  # by this process
_jobs: list[ExitStack] = [ExitStack()]  # the first is the process itself


@contextmanager
def one_job() -> Iterator[None]:
    """As a decorator of a script's `main`: what it has come to `hold` is let go of when it ends, however it ends."""
    with ExitStack() as job:
        _jobs.append(job)
        try:
            yield
        finally:
            _jobs.remove(job)


def hold(lock: Path, output: object) -> None:
    """Hold `output` by the file `lock` until the job ends, in a folder that is made if need be.

    What was made and is empty then, as after a refusal, is taken away. Several processes of one launch are one job: the
    main one holds what all of them write; see `refused_together`.

    Raises:
        InputError: another process holds it; the sentence says which, and on which machine.
        OSError: the lock's file cannot be made.
    """
    _jobs[-1].enter_context(held(lock, output))


@contextmanager
def held(lock: Path, output: object) -> Iterator[None]:
    """Hold `output` for a while; where this process holds it already, nothing happens. Errors as of `hold`."""
    lock = lock.absolute()
    key = lock.parent.resolve() / lock.name
    if key in _held:
        yield
        return
    made = [folder for folder in lock.parents if not folder.exists()]
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(key, output):
            _held.add(key)
            try:
                yield
            finally:
                _held.remove(key)
    finally:
        with suppress(OSError):  # one of them holds something: what the job has written
            for folder in made:
                folder.rmdir()


@contextmanager
def _locked(path: Path, output: object) -> Iterator[None]:
    from filelock import FileLock, Timeout  # takes as long to import as all else that is needed to refuse an argument

    def sign(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())

    _holder(path, output)  # a file of this name that is no lock is nobody's to write to
    file = FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False, on_acquired=sign)
    try:
        _acquire(file, path)
    except Timeout as error:
        raise InputError(
            f"{output} is being written by {_named(path, output)}; wait until that has ended, or give another place."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        with suppress(OSError):
            path.unlink()
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: who waits for it finds that it is gone, and makes another
        file.release()


def _acquire(file: "FileLock", path: Path) -> None:
    """Take the lock, or raise Timeout where somebody has it, or OSError where its file cannot be made."""
    from filelock import Timeout

    for _ in range(3):
        try:
            file.acquire()
            return
        except Timeout:
            if path.exists():
                raise
        # Somebody has let go of it and removed the file at this moment, or there can be no file here, as in /proc.
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _named(path: Path, output: object) -> str:
    """Who holds a lock, in words."""
    waited_until = time.monotonic() + _NOTE_WITHIN
    while not (holder := _holder(path, output)) and time.monotonic() < waited_until:
        time.sleep(0.02)
    return f"process {holder['pid']} on {holder['host']}" if holder else "another process"


def _holder(path: Path, output: object) -> dict[str, object]:
    """What a lock's file says about who holds it, or held it last; nothing where it says nothing (yet)."""
    try:
        content = path.read_bytes()[:1000]
        holder = json.loads(content) if content else {}
        if holder and not {"pid", "host"} == holder.keys():
            raise ValueError
    except OSError:  # not there; or, on Windows, locked
        return {}
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is in the way: {output} is locked by a file of this name, and it is none.") from error
    return holder
