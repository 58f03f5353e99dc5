import importlib
import runpy
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from benchmarks.quality_study import GroupTargets, combined, table
from benchmarks.speed_table import speed_table
from utils.data.labels import GO_EMOTIONS, multi_hot
from utils.model.head import init_head_bias, start_pooler_as_identity
from utils.model.loading import load_model

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
JUDGE_A_RUN = (
    "averages", "explanations", "first_token", "folded_pipeline", "int8", "onnx_parity", "precision", "roofline",
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


@pytest.fixture
def new_classifier(tiny_bert, demo):
    """A classifier on the tiny encoder, and the gold labels whose frequencies its bias starts at."""
    model, _ = load_model(str(tiny_bert), list(GO_EMOTIONS))
    gold = multi_hot(demo["train"]["labels"], len(GO_EMOTIONS))
    init_head_bias(model, gold)
    start_pooler_as_identity(model)
    return model, gold


def test_groups_are_told_from_what_the_classifier_reads(new_classifier):
    model, gold = new_classifier
    groups = GroupTargets(model, gold)
    assert groups.out_features == 7 + 4
    model(input_ids=torch.tensor([[2, 7, 3], [2, 9, 3]]))
    groups.loss(torch.from_numpy(gold[:2])).backward()
    assert any(weight.grad is not None for weight in model.base_model.parameters())
    expected = np.mean(gold[:, GO_EMOTIONS.index("neutral")])  # a group of its own in both taxonomies
    torch.testing.assert_close(groups.bias.sigmoid()[[6, 10]], torch.full((2,), float(expected)), atol=1e-5, rtol=0)


def test_the_study_tells_machines_apart():
    def line(variant, score, **more):
        return {"recipe": "r", "rows": 10, "variant": variant, "seed": 42, "minutes": 1.0, "map": 0.0, "bce": 0.0,
                "f1_micro": score, "f1_macro": score} | more  # fmt: skip

    here = {"machine": "another"}
    shown = table([line("plain", 0.5), line("plain", 0.6, **here), line("described", 0.7, **here)])
    assert "`r`, 10 rows:" in shown
    assert "+0.1000" in shown.partition("`r`, 10 rows, another:")[2]


def test_variants_are_joined():
    joined = combined("open+epochs_2+described+groups_0.3+demo_rows")
    assert (joined.described, joined.groups) == ("go_emotions", 0.3)
    assert joined.demo_rows
    assert joined.pooler_as_head
    assert joined.arguments == {"num_train_epochs": 2}
