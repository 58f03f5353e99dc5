import importlib
import runpy
import sys

import pytest
from conftest import ROOT

from benchmarks.speed_table import speed_table

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
JUDGE_A_RUN = (
    "explanations", "first_token", "folded_pipeline", "int8", "onnx_parity", "precision", "roofline",
    "threshold_speed", "threshold_strategies",
)  # fmt: skip


@pytest.fixture
def afresh(monkeypatch):
    """Sets a benchmark's arguments, and forgets it where it was imported before, so that its code runs again."""

    def module(name, *arguments):
        monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        return f"benchmarks.{name}"

    return module


def test_the_readmes_speeds_are_what_the_benchmarks_wrote():
    assert f"\n{speed_table()}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_importing_a_benchmark_starts_nothing(name, afresh, capsys):
    importlib.import_module(afresh(name, "--no_such_argument"))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", JUDGE_A_RUN)
def test_a_benchmark_of_a_folder_that_holds_no_run_says_so_in_one_sentence(name, tmp_path, afresh, monkeypatch, capsys):
    monkeypatch.setenv("GOEMOTIONS_DIR", str(ROOT / "data" / "demo"))
    with pytest.raises(SystemExit) as left:
        runpy.run_module(afresh(name, str(tmp_path / "nothing")), run_name="__main__")
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert "nothing" in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
