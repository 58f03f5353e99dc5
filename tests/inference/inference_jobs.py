"""Run run_inference.py again and again without starting Python anew, each run in forked processes that may be killed.

Other scripts as well, two at once.

Each line of standard input is a job in JSON:

    arguments   of run_inference.py
    script      another script's name (default run_inference)
    processes   how many there are, as torchrun starts them (default 1)
    rivals      how many there are that know nothing of each other, in place of `processes`
    kill        "after 2": kill -9 once that process has written its second part; "within 2": with half of it written;
                "joining": with half of the output file written; "joined": before the parts are removed (default: never)
                of run_corpus.py: "worker writing", who and when: a worker, the launcher, or all; see CORPUS_MOMENTS
    window      rows of a window (default 16, so that small files have many parts)

Each line of standard output tells how one ended: the exit statuses of its processes, minus the signal where one was
killed, what they said on standard error, and their largest resident size in kilobytes.
"""

import functools
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from accelerate import PartialState

from utils.console import one_sentence_errors
from utils.inference import jobs, label_rows, output, parts
from utils.model import classifiers


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# Moments of a task of run_corpus.py: what is called then, and what is done first.
CORPUS_MOMENTS = {
    "reading": ("corpus.RowReader.read_file", None),  # a file
    "writing": ("output.OutputFile.join", "half"),  # half of it is written
    "written": ("corpus.RowWriter._tell", None),  # its files are there, and nothing says so
    "reported": ("executors.LocalExecutor.mark_rank_as_completed", None),
    "marked": ("executors.LocalExecutor.mark_rank_as_completed", "whole"),  # the launcher has not heard of it
}


def arrange_corpus(who: str, when: str) -> None:
    """A kill in the second task that a worker does."""
    from utils.inference import corpus, executors

    launcher, called = os.getpid(), []
    place, first = CORPUS_MOMENTS[when]
    module, kind, name = place.split(".")
    owner = getattr({"corpus": corpus, "executors": executors, "output": output}[module], kind)
    original = getattr(owner, name)

    def killing(*arguments):
        called.append(arguments)
        if len(called) != 2:
            return original(*arguments)
        if first:
            original(*arguments)
        if first == "half":
            arguments[2].flush()
            os.ftruncate(arguments[2].fileno(), os.fstat(arguments[2].fileno()).st_size // 2)
        if who in ("launcher", "all"):
            os.kill(launcher, signal.SIGKILL)
        if who in ("worker", "all"):
            die()
        time.sleep(60)  # the worker ends by itself

    setattr(owner, name, killing)


def arrange(kill: str) -> None:
    when, _, count = kill.partition(" ")
    if when in ("worker", "launcher", "all"):
        arrange_corpus(when, count)
    elif when == "joining":
        joined = output.OutputFile.join

        def join(self, pieces, file):
            joined(self, pieces, file)
            file.flush()
            os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size // 2)
            die()

        output.OutputFile.join = join
    elif when == "joined":
        parts.PartFolder.remove = lambda folder: folder.output.path.exists() and die()
    else:
        write, written = parts.PartFolder.write, []

        def write_and_die(self, number, content, rows, unclassified):
            written.append(number)
            if len(written) == int(count) and when == "within":
                parts.Path.replace = die
                content = content[: len(content) // 2]
            write(self, number, content, rows, unclassified)
            if len(written) == int(count):
                die()

        parts.PartFolder.write = write_and_die


def run(job: dict, rank: int, port: int) -> None:
    label_rows.WINDOW = jobs.WINDOW = job.get("window", 16)
    if job.get("kill"):
        arrange(job["kill"])
    if job.get("processes", 1) > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(job["processes"]), "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    PartialState._reset_state()  # the process that this one was forked from has none but itself
    try:
        with one_sentence_errors():
            status = importlib.import_module(job.get("script", "run_inference")).main(job["arguments"])
    except SystemExit as left:
        status = left.code
    except BaseException:
        traceback.print_exc()
        status = 99
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0)


def main() -> None:
    torch.set_num_threads(1)  # a fork of a process with more threads may wait for them for ever
    classifiers.load_classifier = functools.cache(classifiers.load_classifier)
    for line in sys.stdin:
        job = json.loads(line)
        if "--model" in job["arguments"]:
            model = Path(job["arguments"][job["arguments"].index("--model") + 1])
            classifiers.load_classifier(model, "cpu", "torch", "fp32")  # as the scripts call it, which find it loaded
        if job.get("script") == "run_corpus":
            from utils.inference import executors

            executors.START = "fork"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with tempfile.TemporaryFile() as said:
            children = []
            last, held = os.pipe()  # ends once every process that a job has started is gone, orphans as well
            for rank in range(job.get("rivals") or job.get("processes", 1)):
                children.append(os.fork())
                if not children[-1]:
                    os.dup2(said.fileno(), sys.stderr.fileno())
                    os.dup2(said.fileno(), sys.stdout.fileno())
                    run(job, rank, port)
            os.close(held)
            waited = [os.wait4(child, 0) for child in children]
            os.read(last, 1)
            os.close(last)
            said.seek(0)
            ended = {
                "pids": children,
                "statuses": [os.waitstatus_to_exitcode(status) for _, status, _ in waited],
                "errors": said.read().decode(),
                "kilobytes": max(usage.ru_maxrss for _, _, usage in waited),
            }
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main()
