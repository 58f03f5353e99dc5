from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from conftest import ROOT

import run_baseline
import run_finetune
from run_baseline import BaselineArguments
from utils.arguments import (
    DataArguments,
    FinetuneArguments,
    ModelArguments,
    OutputArguments,
    ThresholdArguments,
    parse_arguments,
)

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
FINETUNE = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, FinetuneArguments)
BASELINE = (DataArguments, BaselineArguments, ThresholdArguments, OutputArguments)


def parse(path: Path):
    return parse_arguments(BASELINE if path.stem == "baseline" else FINETUNE, ["--config", str(path)], "")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses_and_writes_where_its_name_says(path):
    assert f"outputs/{path.stem}" in [getattr(part, "output_dir", None) for part in parse(path)]


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem != "baseline"], ids=lambda path: path.stem)
def test_every_finetuning_recipe_cures_the_cold_start(path):
    _, _, thresholds, _, training = parse(path)
    assert training.init_head_bias
    assert training.head_learning_rate >= 10 * training.learning_rate
    assert (thresholds.threshold_strategy, thresholds.threshold_metric) == ("expected_f1", "f1_micro")
    assert training.load_best_model_at_end
    assert "0.5" not in training.metric_for_best_model


@pytest.mark.parametrize("name", ["demo_subset_bert", "demo_subset_minilm", "demo_subset_mpnet"])
def test_the_notebooks_recipe_is_the_notebooks(name):
    data, model, _, _, training = parse(ROOT / "recipes" / f"{name}.yaml")
    assert (data.max_train_samples, data.max_eval_samples) == (2000, 200)
    assert (training.num_train_epochs, training.per_device_train_batch_size) == (2, 16)
    assert training.gradient_accumulation_steps == 1
    encoders = {
        "demo_subset_bert": "bert-base-uncased",
        "demo_subset_minilm": "minilm",
        "demo_subset_mpnet": "sentence-transformers/all-mpnet-base-v2",
    }
    assert model.model_name_or_path == encoders[name]
    assert model.pooling == ("first_token" if name == "demo_subset_bert" else "mean")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_accelerate_configuration_is_one(path):
    config = load_config_from_file(str(path))
    assert config.num_processes >= 2
    assert yaml.safe_load(path.read_text())["mixed_precision"] == "no"


def test_the_default_recipes_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_arguments(FINETUNE, [], "", run_finetune.RECIPE)[4].output_dir == "outputs/bert_base"
    assert parse_arguments(BASELINE, [], "", run_baseline.RECIPE)[1].output_dir == "outputs/baseline"
