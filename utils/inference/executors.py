"""Where the tasks of many files run: the cores or GPUs of this machine, Slurm, Ray, or Hugging Face Jobs.

datatrove's executors do the work. Its local one waits for ever for a task whose process was killed, and ends all tasks
when one fails; the one here does neither.
"""

import copy
import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
import zipfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from datatrove.executor import JobsPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.executor.jobs import ARRAY_INDEX_ENV_VAR
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.io import DataFolder
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from utils.console import InputError
from utils.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
START = "forkserver"  # how a process begins: anew, since a fork of one with threads may wait for them for ever
QUEUED_FILE = "slurm_job"  # the number of the last job array
CODE_FILE = "code.zip"  # beside a job's logs: the code that Hugging Face Jobs run


class LocalExecutor(LocalPipelineExecutor):
    """The tasks of one machine, by worker processes of which each does one task at a time.

    A task that fails, or whose process is killed, fails alone. Worker i of n computes on GPU i, or on its share of the
    cores. Workers end with the process that started them, however that ends.
    """

    def __init__(self, *arguments: Any, progress: Progress | None = None, **named: Any):
        super().__init__(*arguments, start_method=START, **named)
        self.progress = progress

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"progress": None}

    def run(self) -> None:
        """Does all tasks that are not finished; those that are left are unfinished then."""
        ranks = deque(self.get_incomplete_ranks())
        context = multiprocessing.get_context(self.start_method)
        workers: dict[Connection, tuple[Any, int, int]] = {}  # process, its number, and the task it is at

        def begin(number: int) -> None:
            if not ranks:
                return
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, self, number), daemon=True)
            process.start()
            theirs.close()
            give(ours, process, number)

        def give(connection: Connection, process: Any, number: int) -> None:
            workers[connection] = (process, number, ranks.popleft())
            with suppress(OSError):  # it has died; that is seen where its answer is read
                connection.send(workers[connection][2])

        try:
            for number in range(min(self.workers, len(ranks))):
                begin(number)
            while workers:
                for connection in cast(list[Connection], wait(list(workers))):
                    process, number, rank = workers[connection]
                    try:
                        said = connection.recv()
                    except (EOFError, OSError):
                        process.join()
                        self._tell_of_death(rank, process.exitcode)
                        del workers[connection]
                        begin(number)
                        continue
                    if isinstance(said, int):
                        if self.progress:
                            self.progress.advance(said)
                    elif ranks:
                        give(connection, process, number)
                    else:
                        with suppress(OSError):
                            connection.send(None)
                        process.join()
                        del workers[connection]
        finally:
            for process, _, _ in workers.values():
                process.kill()

    def _tell_of_death(self, rank: int, status: int) -> None:
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        hint = " (often too little memory)" if status == -signal.SIGKILL else ""
        with self.logging_dir.open(f"failures/{rank:05d}.json", "w") as file:
            json.dump({"problem": f"its process ended with {how}{hint}"}, file)


def _work(connection: Connection, executor: LocalExecutor, number: int) -> None:
    """A worker process: does one task after the other, until it is told None."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - datatrove's log goes to its file
    _take_gpu(number)
    pipeline = executor.pipeline
    while (rank := connection.recv()) is not None:
        executor.pipeline = copy.deepcopy(pipeline)
        for step in executor.pipeline:
            if hasattr(step, "progress"):
                step.progress = connection.send
        with suppress(Exception):  # it stands in the task's log, and in what its last step leaves
            executor._run_for_rank(rank, local_rank=1)
        connection.send("ended")


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _take_gpu(number: int) -> None:
    """Let this process see one GPU, the next in turn, where there are any."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    if names:
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]


class SlurmExecutor(SlurmPipelineExecutor):
    """Slurm's job arrays, of which the last one's number is kept: while they are queued, they are not sent again."""

    def launch_job(self) -> None:
        super().launch_job()
        if self.job_id not in (None, -1):
            with self.logging_dir.open(QUEUED_FILE, "w") as file:
                file.write(str(self.job_id))


def require_none_queued(logging_dir: DataFolder) -> None:
    """Raise `InputError` while Slurm's jobs of an earlier start are queued or running."""
    if not logging_dir.isfile(QUEUED_FILE):
        return
    with logging_dir.open(QUEUED_FILE, "r") as file:
        job = file.read().strip()
    try:
        found = subprocess.run(["squeue", "--noheader", "--jobs", job], capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(
            f"--executor slurm: squeue cannot be run ({error.strerror}); start this where it can."
        ) from error
    if found.returncode == 0 and found.stdout.strip():
        done = len(logging_dir.list_files("completions")) if logging_dir.isdir("completions") else 0
        raise InputError(f"Slurm's job {job} is at this: {done:,} tasks are finished; start again when it has ended.")


class JobsExecutor(JobsPipelineExecutor):
    """Hugging Face Jobs, which run this project's code from an archive beside the logs."""

    def launch_job(self) -> None:
        self._ensure_logging_dir_repo()
        with self.logging_dir.open(CODE_FILE, "wb") as file:
            file.write(packed_code())
        super().launch_job()

    def _submit_array_index(self, array_index: int, pik_path: str, token: str) -> str:
        from huggingface_hub import run_uv_job

        return run_uv_job(
            str(ROOT / "recipes" / "corpus" / "job.py"),
            script_args=[self.logging_dir.resolve_paths(CODE_FILE), pik_path],
            dependencies=self.dependencies,
            python=self.python,
            image=self.image,
            env={"PYTHONUNBUFFERED": "1", ARRAY_INDEX_ENV_VAR: str(array_index)},
            secrets={"HF_TOKEN": token},
            flavor=self.flavor,
            timeout=self.timeout,
            labels={"datatrove_job_name": self.job_name},
            namespace=self.namespace,
            token=token,
        ).id


def packed_code() -> bytes:
    """This project's `utils` as an archive from which Python imports."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((ROOT / "utils").rglob("*.py")):
            archive.write(path, path.relative_to(ROOT))
    return content.getvalue()


def make_executor(
    kind: str,
    pipeline: Sequence[PipelineStep],
    tasks: int,
    workers: int,
    logging_dir: DataFolder,
    options: dict[str, Any],
    progress: Progress | None = None,
) -> PipelineExecutor:
    """The executor of a kind, which runs `tasks` tasks, `workers` at a time.

    Raises:
        InputError: it cannot be had here.
    """
    logger.remove()  # what it has to say to a terminal is said by the script
    options = {name: value for name, value in options.items() if value is not None}
    common: dict[str, Any] = {"tasks": tasks, "workers": workers, "logging_dir": logging_dir}
    steps = list(pipeline)
    if kind == "local":
        return LocalExecutor(steps, **common, progress=progress)
    if kind == "slurm":
        activate = Path(sys.prefix) / "bin" / "activate"
        given = options.pop("env_command", f"source {shlex.quote(str(activate))}" if activate.exists() else "")
        environment = f"export PYTHONPATH={shlex.quote(str(ROOT))}\n{given}"
        return SlurmExecutor(steps, **common, env_command=environment, job_name="emotions", **options)
    if kind == "ray":
        address = options.pop("address", "auto")
        if "time" in options:
            options["time"] = int(options["time"])
        try:
            import ray
        except ImportError as error:
            raise InputError("--executor ray needs Ray: pip install ray.") from error
        if not ray.is_initialized():
            ray.init(
                address=address,
                runtime_env={"py_modules": [str(ROOT / "utils")]},
                log_to_driver=False,
            )
        return RayPipelineExecutor(steps, **common, **options)
    pinned = [line for name in ("requirements.txt", "requirements-onnx.txt", "requirements-corpus.txt")
              for line in (ROOT / name).read_text().splitlines() if "==" in line]  # fmt: skip
    return JobsExecutor(steps, **common, dependencies=pinned, job_name="emotions", **options)
