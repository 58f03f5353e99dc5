"""What is imported is required, and what is required is pinned, with all that it brings along."""

import ast
import importlib.metadata
import re
import sys

import pytest
from conftest import ROOT

OPTIONAL = {"ray", "wandb"}  # of those who have such a cluster, or report there; looked for before
SCRIPTS, TESTS = (
    ("run_*.py", "recipes/**/*.py", "utils/**/*.py", "metrics/**/*.py"),
    ("tests/**/*.py", "benchmarks/**/*.py"),
)


def pins(name):
    """Pinned distributions of a requirements file and of those it names, with their versions."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= pins(line[3:].strip())
        elif match := re.match(r"([\w.-]+)==(\S+)", line):
            found.setdefault(normal(match[1]), set()).add(match[2])
    return found


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(patterns):
    own = {path.stem for pattern in (*SCRIPTS, *TESTS) for path in ROOT.glob(pattern)}
    own |= {"utils", "metrics", "tests", "benchmarks"}
    names = set()
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - own - set(sys.stdlib_module_names) - OPTIONAL


@pytest.mark.parametrize(
    ("patterns", "files"),
    [
        (SCRIPTS, ("requirements.txt", "requirements-onnx.txt", "requirements-search.txt", "requirements-corpus.txt")),
        (TESTS, ("requirements-dev.txt",)),
    ],
)
def test_every_package_that_is_imported_is_required(patterns, files):
    distributions = importlib.metadata.packages_distributions()
    required = set().union(*(pins(file) for file in files))
    missing = {name for name in imported(patterns) if not {normal(kind) for kind in distributions[name]} & required}
    assert not missing


def test_constraints_pin_all_of_it():
    """Every package of the environment in which the tests run, in the version of constraints.txt."""
    pinned = pins("constraints.txt")
    for name, versions in pins("requirements-dev.txt").items():
        assert versions <= pinned[name]
    todo, seen = list(pins("requirements-dev.txt")), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        assert name in pinned, f"{name} is not in constraints.txt; run `make lock`"
        for line in importlib.metadata.requires(name) or []:
            required = re.match(r"[\w.-]+", line)[0]
            if "extra ==" not in line and ";" not in line:
                todo.append(normal(required))
