"""How OpenMP's threads wait is settled before torch is imported, unless the user has settled it."""

import os
import re
import sys

import pytest
from conftest import ROOT, run_python

SCRIPTS = sorted(path.stem for path in ROOT.glob("run_*.py"))
UNSET = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}


def test_every_script_settles_it_before_torch_is_imported():
    lines = [
        "import os, sys",
        *(f"import {script}" for script in SCRIPTS),
        "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)",
    ]
    done = run_python("-c", "\n".join(lines), env=UNSET)
    assert done.stdout == "3000 False\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP comes with torch's wheels for Linux")
@pytest.mark.parametrize(
    ("own", "seen"), [({}, {"3000"}), ({"GOMP_SPINCOUNT": "7"}, {"7"}), ({"OMP_WAIT_POLICY": "PASSIVE"}, {"0"})]
)
def test_torch_sees_it_and_what_the_user_has_set_wins(own, seen):
    done = run_python("run_finetune.py", "--no_such", env=UNSET | own | {"OMP_DISPLAY_ENV": "VERBOSE"})
    assert done.returncode == 2
    assert set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)) == seen
