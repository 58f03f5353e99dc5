"""What a command costs before it answers: CPU seconds of whole processes, beside the libraries' own.

python -m benchmarks.startup outputs/quickstart
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from utils.command_line import plain_parser, run_folder
from utils.console import one_sentence_errors
from utils.run_folder import RunFolder

REPEATS = 5
PLAIN = """
import sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=False)
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=False).eval()
with torch.inference_mode():
    print(model(**tokenizer("so happy today", return_tensors="pt")).logits.sigmoid())
"""


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process and its children."""
    before = os.times()
    subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(run: RunFolder) -> None:
    python, model = sys.executable, str(run.path.resolve())
    commands = {
        "python -c 'import torch, transformers'": [python, "-c", "import torch, transformers"],
        "transformers alone, one answer": [python, "-c", PLAIN, model],
        "run_inference.py, one answer": [python, "run_inference.py", "--model", model, "so happy today"],
        "run_inference.py --help": [python, "run_inference.py", "--help"],
        "run_inference.py, no such file": [python, "run_inference.py", "--model", model, "--input_file", "nowhere.csv"],
        "run_push.py --help": [python, "run_push.py", "--help"],
        "run_evaluate.py --help": [python, "run_evaluate.py", "--help"],
        "run_baseline.py --help": [python, "run_baseline.py", "--help"],
        "run_finetune.py --help": [python, "run_finetune.py", "--help"],
        "run_finetune.py, unknown argument": [python, "run_finetune.py", "--learning_rte", "1"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(REPEATS + 1):  # alternating; the first round warms the disk
        for name, command in commands.items():
            measured = cpu_seconds(command)
            if repeat:
                seconds[name].append(measured)
    imports = np.median(seconds["python -c 'import torch, transformers'"])
    print("| command | CPU seconds | × importing torch and transformers |\n|---|---:|---:|")
    for name, measured_ones in seconds.items():
        print(f"| {name} | {np.median(measured_ones):.2f} | {np.median(measured_ones) / imports:.2f} |")


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=run_folder, metavar="OUTPUT_DIR")
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
