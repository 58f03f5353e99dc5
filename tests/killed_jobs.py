"""Whole jobs, each killed at one of the moments in which it touches its output, and then started again.

    python tests/killed_jobs.py JOBS.json

JOBS.json holds a list of jobs:

    name        of a folder beside JOBS.json. In it, a folder for every moment: 1, 2 … with what the kill left beside
                it, 1.killed …, and one for a job that was not killed, `whole`
    script      run_baseline, run_finetune, run_inference or run_push
    arguments   its arguments; {} stands for the moment's folder, {moment} for its name
    begin       what the folder is a copy of (default: an empty one)
    options     of the first start alone (default: none)
    again       a list of options; those of the first start that is not refused are what the job is finished with
    every       the distance of moments that are tried (default 1)

Moments are those of interrupted_change.py: before a file is opened for writing, renamed or removed, or a folder made or
removed. The kill is a kill -9 and also cuts what was written last in half. What the second start said, if it was
refused, stands in MOMENT.said.
"""

import functools
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import filelock
import torch
from interrupted_change import stop_at

from utils.console import InputError
from utils.evaluation import plots
from utils.inference import jobs, label_rows
from utils.model import classifiers
from utils.publishing import finish


def in_a_fork(action: Callable[[], int]) -> int:
    """The exit status of a function in a process of its own; minus the signal where one ended it."""
    child = os.fork()
    if not child:
        try:
            os._exit(action())
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(job: dict, folder: Path, options: list[str], said: Path | None = None) -> int:
    main = importlib.import_module(job["script"]).main
    arguments = [value.format(folder, moment=folder.name) for value in job["arguments"]]
    try:
        main([*arguments, *options])
    except InputError as error:
        if said:
            said.write_text(str(error))
        return 2
    return 0


def kill_everywhere(job: dict, scratch: Path) -> None:
    scratch.mkdir()

    def begun(name: str) -> Path:
        folder = scratch / name
        if job.get("begin"):
            return shutil.copytree(job["begin"], folder)
        folder.mkdir()
        return folder

    first, every = job.get("options", []), job.get("every", 1)
    if status := in_a_fork(lambda: run(job, begun("whole"), first)):
        sys.exit(f"{job['name']} ended with {status}")
    for moment in range(1, 1000, every):
        folder = begun(str(moment))

        def killed(folder: Path = folder, moment: int = moment) -> int:
            stopped = stop_at(moment, "kill", folder)
            status = run(job, folder, first)
            return status if stopped() else 77

        status = in_a_fork(killed)
        if status not in (77, -signal.SIGKILL):
            sys.exit(f"moment {moment} of {job['name']} ended with {status}")
        if status == 77:
            shutil.rmtree(folder)
            return
        shutil.copytree(folder, folder.with_name(f"{moment}.killed"))
        for options in job["again"]:
            status = in_a_fork(lambda f=folder, o=options: run(job, f, o, said=scratch / f"{f.name}.said"))
            if status == 0:
                (scratch / f"{folder.name}.said").unlink(missing_ok=True)
            elif status != 2:
                sys.exit(f"moment {moment} of {job['name']}, again: {status}")
            if status == 0:
                break


def main() -> None:
    filelock.FileLock  # noqa: B018 - imported once, not in each fork
    gc.freeze()
    torch.set_num_threads(1)  # a fork of a process with more threads may wait for them for ever
    label_rows.WINDOW = jobs.WINDOW = 16
    classifiers.load_classifier = functools.cache(classifiers.load_classifier)
    for module in (plots, finish):  # pictures take longer than all the rest
        module.plot_run = lambda *arguments: None
    path = Path(sys.argv[1])
    for job in json.loads(path.read_text()):
        kill_everywhere(job, path.parent / job["name"])


if __name__ == "__main__":
    main()
