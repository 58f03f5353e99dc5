"""Runs scripts one after the other in this process, which has a terminal: `in_a_terminal.py COMMANDS.json`."""

import importlib
import json
import sys
from pathlib import Path

from utils.console import one_sentence_errors

if __name__ == "__main__":
    for script, *arguments in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.argv[0] = f"{script}.py"
        print(f"=== {script} {len(arguments)}", flush=True)
        try:
            with one_sentence_errors():
                importlib.import_module(script).main(arguments)
        except SystemExit as end:
            print(f"=== ended {end.code}", flush=True)
