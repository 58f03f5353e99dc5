"""A search by run_search.py: its trials, its recipe, and that it goes on where it was stopped."""

import builtins
import csv
import importlib.util
import shutil

import pytest
import yaml
from conftest import ROOT

import run_finetune
import run_search
from utils.arguments import (
    DataArguments,
    FinetuneArguments,
    ModelArguments,
    OutputArguments,
    ThresholdArguments,
    as_recipe,
    parse_arguments,
)
from utils.console import InputError
from utils.model import loading
from utils.run_folder import read_json

SEARCHED = ["learning_rate", "head_learning_rate", "num_train_epochs", "per_device_train_batch_size", "weight_decay"]
ONE_STEP = ["--max_steps", "1", "--precision", "fp32", "--seed", "7"]


@pytest.fixture(scope="module")
def arguments(finetune_arguments):
    return [*finetune_arguments, *ONE_STEP]


@pytest.fixture(scope="module")
def searched(arguments, tmp_path_factory):
    """The folder of a search of two trials of one step each."""
    folder = tmp_path_factory.mktemp("searches") / "searched"
    run_search.main([*arguments, "--search_trials", "2", "--output_dir", str(folder)])
    return folder


def trials(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_trials_make_a_table_and_a_recipe(searched):
    assert {path.name for path in searched.iterdir()} == {"search.db", "trials.csv", "recipe.yaml"}
    rows = trials(searched)
    assert list(rows[0]) == ["trial", "state", "average_precision_macro", *SEARCHED, "seconds"]
    assert [row["state"] for row in rows] == ["complete", "complete"]
    first = {name: float(rows[0][name]) for name in SEARCHED}  # the recipe itself
    assert first == {"learning_rate": 1e-3, "head_learning_rate": 2e-3, "num_train_epochs": 2.0,
                     "per_device_train_batch_size": 16.0, "weight_decay": 0.01}  # fmt: skip
    second = {name: float(rows[1][name]) for name in SEARCHED}
    assert second != first
    for name in ("learning_rate", "head_learning_rate"):
        assert first[name] / 4 <= second[name] <= first[name] * 4
    assert second["per_device_train_batch_size"] in (8, 16, 32)
    best = max(rows, key=lambda row: float(row["average_precision_macro"]))
    recipe = yaml.safe_load((searched / "recipe.yaml").read_text())
    assert {name: float(recipe[name]) for name in SEARCHED} == {name: float(best[name]) for name in SEARCHED}
    assert recipe["metric_for_best_model"] == "average_precision_macro"
    assert recipe["output_dir"] == f"{searched}_best"
    assert (searched / "recipe.yaml").read_text().startswith(f"# trial {best['trial']} of 2: validation average_prec")


def test_run_finetune_takes_the_recipe_and_gets_the_score_of_the_trial(searched, tmp_path):
    """One step from the same start on the same rows; the epoch that is kept is the one that was judged."""
    recipe = yaml.safe_load((searched / "recipe.yaml").read_text())
    run_finetune.main(
        ["--config", str(searched / "recipe.yaml"), "--use_cpu", "true", "--output_dir", str(tmp_path / "r")]
    )
    results, arguments = (
        read_json(tmp_path / "r" / "all_results.json"),
        read_json(tmp_path / "r" / "run.json")["arguments"],
    )
    assert {name: arguments[name] for name in SEARCHED} == pytest.approx({name: recipe[name] for name in SEARCHED})
    assert (arguments["max_steps"], arguments["seed"], arguments["precision"]) == (1, 7, "fp32")
    best = max(float(row["average_precision_macro"]) for row in trials(searched))
    assert results["eval_average_precision_macro"] == pytest.approx(best, abs=2e-3)


def test_a_search_that_was_stopped_goes_on(arguments, searched, tmp_path, monkeypatch, capsys):
    """Stopped in its second trial, it tries that again, and what was finished is kept."""
    folder, begun = tmp_path / "stopped", []
    load = loading.load_for_training

    def stop(*options):
        begun.append(options)
        if len(begun) == 3:  # one for the Trainer itself, one for each trial
            raise KeyboardInterrupt
        return load(*options)

    monkeypatch.setattr(loading, "load_for_training", stop)
    with pytest.raises(KeyboardInterrupt):
        run_search.main([*arguments, "--search_trials", "2", "--output_dir", str(folder)])
    assert not (folder / "recipe.yaml").exists()
    monkeypatch.setattr(loading, "load_for_training", load)
    capsys.readouterr()
    run_search.main([*arguments, "--search_trials", "2", "--output_dir", str(folder)])
    assert "holds 1 trial(s) already; 1 to go" in capsys.readouterr().out
    done = [row for row in trials(folder) if row["state"] == "complete"]
    assert len(done) == 2
    assert done[0]["average_precision_macro"] == trials(searched)[0]["average_precision_macro"]

    run_search.main([*arguments, "--search_trials", "3", "--output_dir", str(folder)])
    done = [row for row in trials(folder) if row["state"] == "complete"]
    assert len({tuple(row[name] for name in SEARCHED) for row in done}) == 3
    before = (folder / "trials.csv").read_bytes()
    run_search.main([*arguments, "--search_trials", "3", "--output_dir", str(folder)])
    assert (folder / "trials.csv").read_bytes() == before


def test_a_search_that_asks_something_else_is_refused_or_begun_again(arguments, searched, small_data, tmp_path):
    other = ["--search_trials", "3", "--output_dir", str(searched)]
    with pytest.raises(InputError, match=r"begun with other arguments \(max_seq_length: 64 then, 32 now\)"):
        run_search.main([*arguments, *other, "--max_seq_length", "32"])
    with pytest.raises(InputError, match="search_metric: average_precision_macro then, loss now"):
        run_search.main([*arguments, *other, "--search_metric", "loss"])
    folder = tmp_path / "again"
    run_search.main([*arguments, "--search_trials", "1", "--output_dir", str(folder)])
    options = ["--search_trials", "1", "--search_metric", "loss", "--overwrite_output_dir", "--output_dir", str(folder)]
    run_search.main([*arguments, *options])
    assert list(trials(folder)[0])[2] == "loss"
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["metric_for_best_model"] == "loss"


@pytest.mark.parametrize("names", [["recipe.yaml"], ["trials.csv"], ["search.db", "recipe.yaml"]])
def test_files_of_others_are_not_replaced_by_a_search(arguments, tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("mine")
    for options in ([], ["--overwrite_output_dir"]):
        with pytest.raises(InputError, match=r"holds .*, and search\.db is missing or no search of this project"):
            run_search.main([*arguments, *options, "--output_dir", str(tmp_path)])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "mine")


def test_a_search_is_replaced_only_when_another_can_begin(arguments, searched, tmp_path):
    folder = shutil.copytree(searched, tmp_path / "search")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    options = ["--overwrite_output_dir", "--output_dir", str(folder), "--model_name_or_path", str(tmp_path)]
    with pytest.raises(InputError, match="could not be loaded"):
        run_search.main([*arguments, *options])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_test_labels_decide_nothing(arguments, searched, small_data, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.csv", "validation.csv", "emotions.txt"):
        (data / name).write_bytes((small_data / name).read_bytes())
    lines = (small_data / "test.csv").read_text().splitlines(keepends=True)
    (data / "test.csv").write_text("".join(lines[:20]))
    folder = tmp_path / "search"
    run_search.main([*arguments, "--dataset_name", str(data), "--search_trials", "2", "--output_dir", str(folder)])
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in trials(each)] for each in (folder, searched)
    ]
    assert timeless[0] == timeless[1]


def test_a_folder_with_a_run_and_a_missing_package_are_said(arguments, finished_run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"holds a run; a search needs a folder of its own, such as .*_search"):
        run_search.main([*arguments, "--output_dir", str(finished_run)])
    find, load = importlib.util.find_spec, builtins.__import__
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else find(name, *rest)
    )

    def without_optuna(name, *rest):
        if name.split(".")[0] == "optuna":
            raise ModuleNotFoundError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_optuna)
    with pytest.raises(InputError, match=r"pip install -r requirements-search\.txt"):
        run_search.main([*arguments, "--output_dir", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists()


def test_a_recipe_of_arguments_says_the_same_again(tmp_path):
    kinds = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, FinetuneArguments)
    for path in (ROOT / "recipes").glob("*.yaml"):
        if path.stem == "baseline":
            continue
        options = ["--config", str(path), "--lr_scheduler_type", "cosine", "--report_to", "tensorboard"]
        data, model, thresholds, _, training = parse_arguments(kinds, options, "")
        recipe = as_recipe(data, model, thresholds, training)
        written = tmp_path / path.name
        written.write_text(yaml.safe_dump(recipe))
        again = parse_arguments(kinds, ["--config", str(written), "--output_dir", training.output_dir], "")
        assert again[0] == data
        assert again[1] == model
        assert again[2] == thresholds
        assert again[4].to_dict() == training.to_dict()
        assert "output_dir" not in recipe
