"""Whole runs of the tiny model, known by the files they leave."""

import csv
import json
import shutil
import tomllib

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import ROOT, encoder_configs, run_python
from safetensors.torch import load_file
from skops import io as skops_io
from transformers import AutoModel, PreTrainedTokenizerFast, pipeline

import run_baseline
import run_compare
import run_finetune
from utils.arguments import DataArguments
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS
from utils.data.splits import load_splits
from utils.evaluation.report import results_table
from utils.model.classifiers import load_classifier
from utils.run_folder import RunFolder

METRICS = ["f1_micro", "f1_macro", "f1_weighted", "f1_samples", "f1_micro_at_0.5", "f1_macro_at_0.5",
           "f1_weighted_at_0.5", "f1_samples_at_0.5", "precision_micro", "recall_micro", "precision_macro",
           "recall_macro", "average_precision_macro", "roc_auc_macro", "hamming_loss", "subset_accuracy",
           "loss", "ekman_f1_macro", "sentiment_f1_macro", "f1_micro_ci_low", "f1_micro_ci_high", "f1_macro_ci_low",
           "f1_macro_ci_high", "average_precision_macro_ci_low", "average_precision_macro_ci_high"]  # fmt: skip
SHARED = {"run_begun.json", "README.md", "thresholds.json", "threshold_strategies.csv", "all_results.json",
          "per_label.csv", "run.json", "words.json",
          "predictions/validation.parquet", "predictions/test.parquet", "mistakes.csv", "confusions.csv",
          "calibration.csv", "plots/threshold_curves.png", "plots/per_label_f1.png", "plots/reliability.png",
          "plots/cooccurrence.png"}  # fmt: skip


def files(folder):
    paths = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {path for path in paths if not path.startswith("checkpoints/")}


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_a_run_leaves_exactly_these_files(finished_run, baseline_run):
    encoder = {
        "plots/training_curves.png",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "trainer_state.json",
    }
    assert files(finished_run) == SHARED | encoder
    assert files(baseline_run) == SHARED | {"baseline.skops", "config.json"}


def test_all_results_has_the_contracts_keys(finished_run, baseline_run):
    keys = {f"{split}_{metric}" for split in ("eval", "test") for metric in METRICS}
    assert keys | {"train_loss", "train_runtime", "train_samples_per_second", "epoch"} == set(
        read(finished_run, "all_results.json")
    )
    assert keys | {"train_runtime", "train_samples_per_second"} == set(read(baseline_run, "all_results.json"))


@pytest.mark.parametrize("kind", ["finished_run", "baseline_run"])
def test_every_figure_follows_from_the_predictions(kind, request):
    """F1 at the stored thresholds, recomputed from the stored probabilities, is the F1 that was reported."""
    folder = request.getfixturevalue(kind)
    stored = read(folder, "thresholds.json")["thresholds"]
    assert list(stored) == list(GO_EMOTIONS)
    results = read(folder, "all_results.json")
    for split, prefix in (("validation", "eval"), ("test", "test")):
        table = pyarrow.parquet.read_table(folder / "predictions" / f"{split}.parquet").to_pydict()
        assert len(table["text"]) == 60
        gold = np.array([[name in labels for name in GO_EMOTIONS] for labels in table["labels"]])
        probabilities = np.array([table[name] for name in GO_EMOTIONS], dtype=np.float64).T
        for suffix, thresholds in (("", np.array(list(stored.values()))), ("_at_0.5", 0.5)):
            decided = probabilities >= thresholds
            f1 = 2 * (decided & gold).sum() / (decided.sum() + gold.sum())
            assert results[f"{prefix}_f1_micro{suffix}"] == pytest.approx(f1, abs=1e-9)
    with (folder / "per_label.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(GO_EMOTIONS)
    assert list(rows[0])[1:] == ["support", "precision", "recall", "f1", "threshold", "average_precision"]
    assert np.mean([float(row["f1"]) for row in rows]) == pytest.approx(results["test_f1_macro"])
    with (folder / "threshold_strategies.csv").open(newline="") as file:
        strategies = {(row["strategy"], row["metric"]): row for row in csv.DictReader(file)}
    assert len(strategies) == 8
    assert float(strategies["expected_f1", "f1_micro"]["test_f1_micro"]) == pytest.approx(results["test_f1_micro"])


def test_the_saved_model_names_its_labels_in_a_plain_pipeline(finished_run):
    config = read(finished_run, "config.json")
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"]["0"] == "admiration"
    assert str(finished_run.parent) not in json.dumps(config)
    result = pipeline("text-classification", model=str(finished_run), top_k=None)(["fine"])[0]
    assert {item["label"] for item in result} == set(GO_EMOTIONS)
    assert sum(item["score"] for item in result) != pytest.approx(1.0)  # sigmoids, not a softmax


def test_run_json_says_how_to_run_it_again(finished_run):
    run = read(finished_run, "run.json")
    assert run["arguments"]["head_learning_rate"] == 2e-3
    assert run["seed"] == 42
    assert run["dataset"]["rows"] == {"train": 200, "validation": 60, "test": 60}
    assert len(run["dataset"]["sha256"]) == 64
    assert run["packages"]["transformers"]
    assert run["hardware"]["layout"].startswith("1 process on cpu")
    assert not [key for key in run["arguments"] if key.endswith("token")]


@pytest.fixture(scope="module")
def permuted_test_labels(small_data, tmp_path_factory):
    """The small dataset with the labels of its test rows given to other rows."""
    folder = tmp_path_factory.mktemp("permuted")
    for name in ("train.csv", "validation.csv", "emotions.txt"):
        (folder / name).write_bytes((small_data / name).read_bytes())
    with (small_data / "test.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with (folder / "test.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *([text, rows[i - 7][1]] for i, (text, _) in enumerate(rows))])
    return folder


@pytest.mark.parametrize("calibration", ["none", "platt"])
def test_test_labels_touch_neither_weights_nor_thresholds(
    small_data, permuted_test_labels, finetune_arguments, tmp_path, calibration
):
    """Training, choice of checkpoint, calibration, thresholds and folding: the same files, byte for byte."""
    for name, data in (("as it is", small_data), ("permuted", permuted_test_labels)):
        run_finetune.main(
            [*finetune_arguments, "--calibration", calibration, "--dataset_name", str(data), "--output_dir",
             str(tmp_path / name)]
        )  # fmt: skip
    for name in ("model.safetensors", "config.json", "thresholds.json", "predictions/validation.parquet"):
        assert (tmp_path / "as it is" / name).read_bytes() == (tmp_path / "permuted" / name).read_bytes()
    results, others = (read(tmp_path / name, "all_results.json") for name in ("as it is", "permuted"))
    assert results["eval_loss"] == others["eval_loss"]
    assert results["test_loss"] != others["test_loss"]


def test_test_labels_do_not_touch_the_baseline(baseline_run, permuted_test_labels, tmp_path):
    run_baseline.main(["--dataset_name", str(permuted_test_labels), "--output_dir", str(tmp_path / "run")])
    assert (tmp_path / "run" / "thresholds.json").read_bytes() == (baseline_run / "thresholds.json").read_bytes()
    plain, other = (skops_io.load(folder / "baseline.skops") for folder in (baseline_run, tmp_path / "run"))
    texts = pyarrow.parquet.read_table(baseline_run / "predictions" / "validation.parquet")["text"].to_pylist()
    assert (plain.predict_proba(texts) == other.predict_proba(texts)).all()


def test_the_cure(finetune_arguments, tmp_path, capsys):
    """The notebook's failure with a default head, and its end with ours: one epoch, the same rows, plain 0.5.

    The bias starts at the label frequencies, so the most frequent label is already near 0.5, while 26 steps from a
    head at zero only push every label down.
    """
    common = [*finetune_arguments, "--num_train_epochs", "1"]
    ours = run_finetune.main([*common, "--output_dir", str(tmp_path / "ours")])
    stock = run_finetune.main(
        [*common, "--init_head_bias", "false", "--head_learning_rate", "1e-3", "--output_dir", str(tmp_path / "stock")]
    )
    assert ours["eval_loss"] < 0.8 * stock["eval_loss"]
    assert ours["eval_f1_micro"] > 0
    output = capsys.readouterr().out
    assert "micro-F1 at 0.5" in output
    assert "micro-F1 at 0.5  at its best threshold" in output


def test_an_existing_run_is_never_overwritten_unasked(finished_run, finetune_arguments, baseline_run, small_data):
    before = (finished_run / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        run_finetune.main([*finetune_arguments, "--output_dir", str(finished_run)])
    with pytest.raises(InputError, match="already holds a run"):
        run_baseline.main(["--dataset_name", str(small_data), "--output_dir", str(baseline_run)])
    assert (finished_run / "model.safetensors").read_bytes() == before


def test_broken_data_stops_a_run_before_it_touches_the_old_one(baseline_run, tmp_path):
    (tmp_path / "train.csv").write_text("text,labels\n,joy\n")
    (tmp_path / "dev.csv").write_text("text,labels\nok,joy\n")
    before = files(baseline_run)
    with pytest.raises(InputError, match="the text is empty"):
        run_baseline.main(
            ["--dataset_name", str(tmp_path), "--output_dir", str(baseline_run), "--overwrite_output_dir"]
        )
    assert files(baseline_run) == before


def test_the_baseline_is_the_same_for_any_number_of_jobs(baseline_run, small_data, tmp_path):
    run_baseline.main(["--dataset_name", str(small_data), "--output_dir", str(tmp_path / "one"), "--n_jobs", "1"])
    for name in ("thresholds.json", "per_label.csv", "predictions/test.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (baseline_run / name).read_bytes()


def test_run_compare_sets_runs_side_by_side(finished_run, baseline_run):
    tables = run_compare.main([str(baseline_run), str(finished_run), "--seeds"]).split("\n\n")
    for table, score in zip(tables, ("f1_micro", "f1_macro"), strict=True):
        header, _, *lines = table.splitlines()
        assert header.split()[1] == {"f1_micro": "micro-F1", "f1_macro": "macro-F1"}[score]
        for run, line in zip((baseline_run, finished_run), lines, strict=False):
            assert line.startswith(f"| {run} ")
            assert f"{read(run, 'all_results.json')[f'test_{score}']:.4f}" in line
        assert len(lines) == 3
        assert lines[2].startswith("| mean ± sd of 2 runs")
    with pytest.raises(InputError, match="not a finished run"):
        run_compare.main([str(ROOT / "data")])


def test_run_compare_tests_two_runs_in_pairs(finished_run, baseline_run, tmp_path):
    report = run_compare.main([str(baseline_run), str(finished_run)])
    assert "95 %" in report
    assert "paired bootstrap over 60 rows" in report
    same = run_compare.main([str(finished_run), str(finished_run)])
    assert "+0.0000" in same
    assert same.count("a tie") == 3
    other = shutil.copytree(finished_run, tmp_path / "other", ignore=shutil.ignore_patterns("checkpoints"))
    (other / "predictions" / "test.parquet").write_bytes((other / "predictions" / "validation.parquet").read_bytes())
    with pytest.raises(InputError, match="predicted different rows"):
        run_compare.main([str(finished_run), str(other)])


def changed_copy(run, folder, change=lambda table: table, seed=None):
    """A copy of a run without its checkpoints, with other predictions of test or another seed."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    path = folder / "predictions" / "test.parquet"
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(path)), path)
    if seed is not None:
        (folder / "run.json").write_text(json.dumps(read(folder, "run.json") | {"seed": seed}))
    return folder


def test_run_compare_refuses_any_run_on_other_rows_or_labels(finished_run, baseline_run, tmp_path):
    names = pyarrow.parquet.read_schema(baseline_run / "predictions" / "test.parquet").names
    changes = {
        "different rows": lambda table: table.slice(1),
        "different gold labels": lambda table: table.set_column(1, "labels", table["labels"].combine_chunks()[::-1]),
        "'surprise' is only in the first": lambda table: table.rename_columns(
            ["surprising" if name == "surprise" else name for name in names]
        ).set_column(1, "labels", pyarrow.array([[]] * len(table), pyarrow.list_(pyarrow.string()))),
        "in another order": lambda table: table.select(names[:2] + names[:1:-1]),
    }
    for number, (words, change) in enumerate(changes.items()):
        other = changed_copy(baseline_run, tmp_path / str(number), change)
        for options in ([], ["--seeds"]):
            with pytest.raises(InputError, match=words) as caught:
                run_compare.main([str(finished_run), str(baseline_run), str(other), *options])
            assert "\n" not in str(caught.value)
    without_test = changed_copy(baseline_run, tmp_path / "without")
    (without_test / "predictions" / "test.parquet").unlink()
    with pytest.raises(InputError, match=r"scored on test and .* on validation"):
        run_compare.main([str(baseline_run), str(without_test)])


def test_seeds_are_counted_once(baseline_run, tmp_path):
    same_seed = changed_copy(baseline_run, tmp_path / "same seed")
    other_seed = changed_copy(baseline_run, tmp_path / "other seed", seed=43)
    with pytest.raises(InputError, match="are the same run"):
        run_compare.main([str(baseline_run), f"{baseline_run}/../{baseline_run.name}", "--seeds"])
    with pytest.raises(InputError, match="two runs with the same seed"):
        run_compare.main([str(other_seed), str(baseline_run), str(same_seed), "--seeds"])
    assert "mean ± sd of 2 runs" in run_compare.main([str(baseline_run), str(other_seed), "--seeds"])


def test_the_table_at_the_end_of_a_run(finished_run, monkeypatch):
    """The saved model's own scores beside each strategy's, in 80 columns."""
    run = RunFolder(finished_run)
    monkeypatch.setattr(RunFolder, "__str__", lambda run: "outputs/demo_subset_minilm_1")
    first, _, header, _, *rows = results_table([run]).splitlines()
    assert max(map(len, (first, header, *rows))) <= 80
    assert first == "outputs/demo_subset_minilm_1, test: F1 at thresholds fitted on validation"
    titles = [cell.strip() for cell in header.strip("|").split("|")]
    assert titles == ["score", "saved model", "at 0.5", "one threshold", "per label", "expected F1"]
    results, strategies = read(finished_run, "all_results.json"), {}
    with (finished_run / "threshold_strategies.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            strategies[row["strategy"], row["metric"]] = float(row[f"test_{row['metric']}"])
    for row, metric in zip(rows, ("f1_micro", "f1_macro"), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        expected = [results[f"test_{metric}"]]
        expected += [strategies[name, metric] for name in ("fixed", "global", "per_label", "expected_f1")]
        assert cells == [f"{value:.4f}" for value in expected]


def test_training_on_the_papers_groups(small_data, finetune_arguments, tmp_path):
    results = run_finetune.main(
        [*finetune_arguments, "--taxonomy", "sentiment", "--num_train_epochs", "1", "--output_dir", str(tmp_path / "s")]
    )
    assert list(read(tmp_path / "s", "config.json")["id2label"].values()) == [
        "positive", "negative", "ambiguous", "neutral"
    ]  # fmt: skip
    assert "test_ekman_f1_macro" not in results
    with pytest.raises(InputError, match="groups GoEmotions' 28 labels"):
        load_splits(DataArguments(str(other_labels(tmp_path)), taxonomy="ekman"))


def other_labels(folder):
    for split in ("train", "validation"):
        (folder / f"{split}.csv").write_text("text,labels\ngood,up\nbad,down\n")
    return folder


def test_a_full_disk_is_one_sentence():
    code = (
        "import errno; from utils.console import one_sentence_errors\n"
        "with one_sentence_errors(): raise OSError(errno.ENOSPC, 'No space left on device', 'outputs/x')"
    )
    done = run_python("-c", code)
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device: outputs/x; what was finished before is kept.\n"


@pytest.mark.parametrize("kind", [kind for kind in encoder_configs() if kind != "bert"])
def test_other_encoders_train_save_and_serve_alike(kind, tiny_bert, finetune_arguments, tmp_path):
    """From an encoder without a head to a plain pipeline: the head starts at the frequencies and both agree."""
    config, output = encoder_configs()[kind]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_bert)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path / "encoder")
    AutoModel.from_config(config).save_pretrained(tmp_path / "encoder")
    folder = tmp_path / "run"
    results = run_finetune.main(
        [*finetune_arguments, "--model_name_or_path", str(tmp_path / "encoder"), "--num_train_epochs", "1",
         "--output_dir", str(folder)]
    )  # fmt: skip
    assert results["train_loss"] < 0.25  # a head that starts cold begins at log 2 = 0.69
    assert f"{output}.bias" in load_file(folder / "model.safetensors")
    texts = ["so happy today", "no"]
    classifier, _ = load_classifier(str(folder))
    plain = pipeline("text-classification", model=str(folder), top_k=None)
    for row, result in zip(classifier.predict(texts), plain(texts), strict=True):
        scores = {item["label"]: item["score"] for item in result}
        assert [scores[label] for label in GO_EMOTIONS] == pytest.approx(row.tolist(), abs=1e-5)


def test_a_published_model_is_trained_further_with_its_classifier(finished_run, finetune_arguments, tmp_path):
    further = run_finetune.main(
        [*finetune_arguments, "--model_name_or_path", str(finished_run), "--num_train_epochs", "1", "--max_steps", "1",
         "--learning_rate", "0", "--head_learning_rate", "0", "--output_dir", str(tmp_path / "run")]
    )  # fmt: skip
    assert further["eval_loss"] == pytest.approx(read(finished_run, "all_results.json")["eval_loss"], abs=1e-6)


def test_saved_weights_are_fp32(finished_run):
    assert {str(tensor.dtype) for tensor in load_file(finished_run / "model.safetensors").values()} == {"torch.float32"}


def test_requirements_are_pinned():
    for name in ("requirements.txt", "requirements-onnx.txt", "requirements-search.txt", "requirements-dev.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] not in "#-"]
        assert all("==" in line for line in lines)
    assert "torch==2.13.0" in (ROOT / "requirements.txt").read_text().splitlines()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"] == 120
