from conftest import ROOT

from benchmarks.speed_table import speed_table


def test_the_readmes_speeds_are_what_the_benchmarks_wrote():
    assert f"\n{speed_table()}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
