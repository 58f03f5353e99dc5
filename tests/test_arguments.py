import pytest
from conftest import ROOT, run_python

from utils.arguments import (
    DataArguments,
    FinetuneArguments,
    ModelArguments,
    OutputArguments,
    Parser,
    ThresholdArguments,
    parse_arguments,
)
from utils.console import InputError

KINDS = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, FinetuneArguments)


def parse(*argv, recipe=None):
    return parse_arguments(KINDS, list(argv), "test", recipe)


def test_the_command_line_overrides_the_recipe(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("dataset_name: demo\nlearning_rate: 2e-4\ninit_head_bias: false\nlr_scheduler_kwargs: {a: 1}\n")
    data, _, _, _, training = parse("--config", str(recipe), "--learning_rate", "3e-5", "--output_dir", "x")
    assert data.dataset_name == "demo"
    assert training.learning_rate == 3e-5
    assert training.init_head_bias is False
    assert training.lr_scheduler_kwargs == {"a": 1}


def test_the_default_recipe_is_the_base_of_every_command_line():
    _, model, _, _, training = parse("--seed", "7", recipe=str(ROOT / "recipes" / "bert_base.yaml"))
    assert model.model_name_or_path == "bert-base-uncased"
    assert training.head_learning_rate == 1e-3
    assert training.seed == 7
    assert training.output_dir == "outputs/bert_base"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("learning_rat: 1", "--learning_rat is not an argument; did you mean --learning_rate?"),
        ("- a list", "holds a list"),
        ("a: [", "not a readable YAML file"),
        ("threshold_strategy: best", "threshold_strategy"),
        ("max_train_samples: many", "max_train_samples"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_fault(tmp_path, line, words):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(line)
    with pytest.raises(InputError) as caught:
        parse("--config", str(recipe))
    assert words in str(caught.value)


def test_unknown_arguments_name_the_nearest_and_abbreviations_are_not_accepted():
    with pytest.raises(InputError, match="did you mean --dataset_name"):
        parse("--dataset", "demo")
    with pytest.raises(InputError, match="--max_train_sample is not an argument; did you mean --max_train_samples"):
        parse("--max_train_sample", "5")
    with pytest.raises(InputError, match="no such file"):
        parse("--config", "nowhere.yaml")


def test_all_values_out_of_range_are_reported_at_once():
    with pytest.raises(InputError) as caught:
        parse("--max_train_samples", "0", "--learning_rate", "-1", "--output_dir", "x")
    assert "--max_train_samples is 0; accepted: 1 to 2147483648." in str(caught.value)
    assert "--learning_rate is -1.0" in str(caught.value)


def test_a_token_on_the_command_line_is_refused_and_not_repeated():
    with pytest.raises(InputError, match="HF_TOKEN") as caught:
        parse("--hub_token", "hf_secret", "--output_dir", "x")
    assert "hf_secret" not in str(caught.value)


def test_precision_settles_the_trainers_switches():
    assert parse("--precision", "bf16", "--use_cpu", "true", "--output_dir", "x")[4].bf16
    plain = parse("--precision", "fp32", "--use_cpu", "true", "--output_dir", "x")[4]
    assert not plain.bf16
    assert not plain.fp16
    with pytest.raises(InputError, match="contradicts --bf16"):
        parse("--precision", "fp32", "--bf16", "true", "--output_dir", "x")


def test_resume_takes_a_path_or_none():
    assert parse("--resume_from_checkpoint", "--output_dir", "x")[4].resume_from_checkpoint == "true"
    assert parse("--resume_from_checkpoint", "a/b", "--output_dir", "x")[4].resume_from_checkpoint == "a/b"
    assert parse("--output_dir", "x")[4].resume_from_checkpoint is None


def test_help_is_short_and_an_error_is_one_line():
    text = Parser(KINDS, "what it does", "recipes/bert_base.yaml").format_help()
    assert len(text.splitlines()) < 100
    assert "--dataset_name" in text
    assert "--fsdp_config" not in text
    assert "TrainingArguments" in text
    done = run_python("run_finetune.py", "--learning_rte", "1")
    assert done.returncode == 2
    assert done.stderr == (
        "error: In the command line: --learning_rte is not an argument; did you mean --learning_rate?\n"
    )
