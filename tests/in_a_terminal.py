"""Runs scripts in this process, which has a terminal, as they come: JSON lists, one a line, from a file descriptor."""

import importlib
import json
import os
import sys

from utils.console import one_sentence_errors

if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1])) as commands:
        for command in commands:
            script, *arguments = json.loads(command)
            sys.argv = [f"{script}.py", *arguments]
            try:
                with one_sentence_errors():
                    result = importlib.import_module(script).main()
                    status = result if isinstance(result, int) else 0
            except SystemExit as end:
                status = end.code or 0
            print(f"\n=== {script} ended {status}", flush=True)
