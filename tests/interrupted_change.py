"""Change a run's model again and again, each time stopped at a later one of the moments in which files are touched.

    python tests/interrupted_change.py FOLDED_RUN UNFOLDED_RUN SCRATCH

Each of ACTIONS is tried, and stopped in two ways: kill (kill -9: no handler runs, no file is closed) and full (the disk
is full at that moment and has room again afterwards). SCRATCH/ACTION/kill/1, …/2 and so on are copies of the run that
were stopped at the first, second … moment: before a file is opened for writing, renamed or removed, or a folder made.
A kill also cuts what was written last in half. The last copy was not stopped at all.
"""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import run_evaluate
from utils.evaluation import plots, report
from utils.model import classifiers
from utils.model.classifiers import EncoderClassifier, load_encoder
from utils.model.folding import save_calibrated
from utils.publishing import card, finish, onnx_export
from utils.run_folder import RunFolder

ACTIONS = ("fold", "unfold", "calibrate", "export", "evaluate")
STRIDE = {"evaluate": 5}  # of the moments that are tried, for an action with very many
TOUCHING = {"kill": ("os.rename", "os.remove", "os.rmdir", "os.mkdir"), "full": ("os.rename", "os.mkdir")}


def change(action: str, run: RunFolder, classifier: EncoderClassifier) -> None:
    if action == "calibrate":
        save_calibrated(run, classifier.model, np.full(28, 0.5), np.full(28, -0.25))
    elif action == "export":
        with run.change() as folder:
            onnx_export.write_onnx(run, classifier, folder)
    elif action == "evaluate":
        classifiers.load_encoder = lambda run: classifier
        run_evaluate.main([str(run), "--calibration", "temperature", "--threshold_strategy", "global"])
    else:
        finish.finish_run(run, classifier, fold_thresholds=action == "fold")


def stop_at(moment: int, how: str, folder: Path) -> Callable[[], bool]:
    """From now on, count the moments in which something below `folder` is touched, and stop at the given one.

    Returns what tells whether that moment has come.
    """
    passed = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal passed
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else "w" in (mode or "")
            if not writes:
                return
        elif event in TOUCHING[how]:
            path = arguments[0]
        else:
            return
        if not isinstance(path, str | os.PathLike) or not str(path).startswith(str(folder)):
            return
        passed += 1
        if passed != moment:
            return
        if how == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        files = [(found.stat().st_mtime_ns, found) for found in folder.rglob("*") if found.is_file()]
        if files and ".unfinished" in str(newest := max(files)[1]):  # a file in its place was written to its end
            os.truncate(newest, newest.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: passed >= moment


def quick_export(model, tokenizer, path: Path) -> None:
    path.write_bytes(b"new fp32")


def stop_everywhere(action: str, how: str, source: Path, scratch: Path) -> None:
    classifier = load_encoder(RunFolder(source))
    for moment in range(1, 400, STRIDE.get(action, 1)):
        folder = shutil.copytree(source, scratch / str(moment))
        child = os.fork()
        if not child:
            stopped = stop_at(moment, how, folder)
            try:
                change(action, RunFolder(folder), classifier)
            except OSError as error:
                os._exit(0 if error.errno == errno.ENOSPC else 3)
            except Exception as error:  # safetensors has its own for a full disk
                os._exit(0 if os.strerror(errno.ENOSPC) in str(error) else 3)
            os._exit(0 if stopped() else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 1:  # it came to its end
            return
        if status not in (0, -signal.SIGKILL):
            sys.exit(f"moment {moment} of {action} ({how}) ended with {status}")


def main() -> None:
    folded, unfolded, scratch = map(Path, sys.argv[1:])
    torch.set_num_threads(1)  # a fork of a process with more threads may wait for them for ever
    for later in ("record_example", "record_words", "plot_run", "write_card"):  # which write single files
        setattr(finish, later, lambda *arguments: None)
    finish.summary = str
    report.calibration_rows = lambda *arguments: []
    plots.plot_run = lambda *arguments: None
    report.score = lambda *arguments: {"eval_f1_micro": 0.5, "eval_f1_macro": 0.5}
    card.write_card = lambda *arguments: None
    onnx_export._write_fp32 = quick_export
    onnx_export._write_int8 = lambda fp32, int8: int8.write_bytes(b"new int8")
    onnx_export._compare = lambda *arguments: {"f1_micro": 0.5}
    for action in ACTIONS:
        for how in TOUCHING:
            stop_everywhere(action, how, unfolded if action == "fold" else folded, scratch / action / how)


if __name__ == "__main__":
    main()
