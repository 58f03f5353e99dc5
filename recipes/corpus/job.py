"""What a Hugging Face Job runs: `job.py CODE.zip EXECUTOR`, this project's code and the tasks that datatrove stored.

run_corpus.py sends this file along; it is not for the command line.
"""

import sys
import tempfile

import dill
from datatrove.io import open_file

code, executor = sys.argv[1:]
with open_file(code, "rb") as packed, tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as local:
    local.write(packed.read())
sys.path.insert(0, local.name)
with open_file(executor, "rb") as stored:
    dill.load(stored).run()
