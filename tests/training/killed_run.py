"""Run run_finetune.py and kill the process, as a power cut would: no handler runs, no file is closed.

    killed_run.py step 7 ARGUMENTS …         kill -9 after optimiser step 7
    killed_run.py checkpoint 2 ARGUMENTS …   kill -9 in the middle of writing the second checkpoint

The second leaves the model's file cut in half and no optimiser state: a checkpoint is written in that order.
"""

import os
import signal
import sys
from pathlib import Path

import run_finetune
from utils.training.progress import LogAtCheckpoints
from utils.training.trainer import EmotionTrainer

when, count, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if when == "step":
    unpatched = LogAtCheckpoints.on_step_end

    def on_step_end(self, args, state, control, **kwargs):
        unpatched(self, args, state, control, **kwargs)
        if state.global_step == count:
            die()

    LogAtCheckpoints.on_step_end = on_step_end
else:
    written = 0

    def save_optimizer(self, output_dir):
        global written
        written += 1
        if written == count:
            weights = Path(output_dir) / "model.safetensors"
            os.truncate(weights, weights.stat().st_size // 2)
            die()
        return unpatched(self, output_dir)

    unpatched = EmotionTrainer._save_optimizer_and_scheduler
    EmotionTrainer._save_optimizer_and_scheduler = save_optimizer

run_finetune.main(arguments)
