import runpy
import sys

import pytest
from conftest import ROOT

from benchmarks.speed_table import speed_table

JUDGE_A_RUN = ("folded_pipeline", "onnx_parity", "threshold_speed", "threshold_strategies", "precision")


def test_the_readmes_speeds_are_what_the_benchmarks_wrote():
    assert f"\n{speed_table()}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", JUDGE_A_RUN)
def test_a_benchmark_of_a_folder_that_holds_no_run_says_so_in_one_sentence(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GOEMOTIONS_DIR", str(ROOT / "data" / "demo"))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert "nothing" in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
