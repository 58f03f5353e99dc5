"""Input that nobody means well, or that somebody got wrong: a sentence and an exit status, or the right answer.

Each case is a command, run in this process. Wherever it ends, there is no traceback, and nothing but its output was
touched.
"""
# ruff: noqa: E501  # a case a line

import gzip
import os
import re
import shutil
import signal
import warnings
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

import run_audit
import run_baseline
import run_compare
import run_corpus
import run_evaluate
import run_export
import run_finetune
import run_inference
import run_push
import run_search
from utils.console import one_sentence_errors

MAINS = {
    "audit": run_audit.main, "baseline": run_baseline.main, "compare": run_compare.main, "corpus": run_corpus.main,
    "evaluate": run_evaluate.main, "export": run_export.main, "finetune": run_finetune.main,
    "inference": run_inference.main, "push": run_push.main, "search": run_search.main,
}  # fmt: skip
LONG = "x" * 300


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below `folder` with its content, None for what is no file. What a command writes is called `out…`."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
        if not path.relative_to(folder).parts[0].startswith("out")
    }


def too_long(*_: object) -> None:
    raise AssertionError("this takes longer than a minute")


@pytest.fixture
def outcome(tmp_path, monkeypatch, capsys, baseline_run, finished_run, tiny_bert, small_data):
    """Runs a command in an empty folder; its status, what it said, and the folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    signal.signal(signal.SIGALRM, too_long)
    places = {"BASELINE": baseline_run, "RUN": finished_run, "TINY": tiny_bert, "DATA": small_data, "LONG": LONG}

    def run(command: str, **replaced: object) -> tuple[int, str]:
        script, *arguments = command.split()
        for name, place in (places | replaced).items():
            arguments = [re.sub(rf"\b{name}\b", str(place), item) for item in arguments]
        before = tree(tmp_path)
        capsys.readouterr()
        status = 0
        signal.alarm(60)
        try:
            with one_sentence_errors(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                returned = MAINS[script](arguments)
                status = returned if script in ("inference", "corpus") else 0
        except SystemExit as error:
            status = error.code
        finally:
            signal.alarm(0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert tree(tmp_path) == before
        if status == 2:
            sentences = [line for line in said.err.splitlines() if line.startswith("error: ")]
            assert len(sentences) == 1
            assert said.err.strip().splitlines()[-1] == sentences[0]
        return status, said.err if status == 2 else said.out + said.err

    return run


# --- arguments --------------------------------------------------------------------------------------------------------

FINETUNE = "finetune --model_name_or_path TINY --dataset_name DATA --output_dir out --export_onnx false"
AUDIT = "audit --baseline --dataset_name DATA --output_dir out"
BASE = "baseline --dataset_name DATA --output_dir out --n_jobs 1"
INFER = "inference --model BASELINE"
CORPUS = "corpus --use_cpu --precision fp32 --model BASELINE --input DATA --output out"
NUMBERS = ("nan", "inf", "-inf", "-1", "1e400", "many", "", "0x10", "1,5")
ARGUMENTS = [
    *(f"{FINETUNE} --{name}={value}" for value in NUMBERS
      for name in ("learning_rate", "head_learning_rate", "weight_decay", "warmup_steps", "teacher_weight",
                   "max_grad_norm", "adam_epsilon")),
    *(f"{FINETUNE} --num_train_epochs={value}" for value in ("nan", "inf", "-1", "0", "1e9")),
    *(f"{FINETUNE} --{name}={value}" for value in ("0", "-3", "1.5", "99999999999999999999")
      for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "max_train_samples")),
    *(f"{FINETUNE} --dataloader_num_workers={value}" for value in ("-1", "100000")),
    *(f"{FINETUNE} --{pair}" for pair in (
        "max_steps -5", "seed -1", "seed 4294967296", "max_seq_length 0", "metric_for_best_model best",
        "lr_scheduler_type zigzag", "optim sgdd", "precision int8", "pooling max", "calibration best", "adam_beta1 1",
        "adam_beta2 nan", "label_smoothing_factor 2", "save_total_limit -1", "logging_steps 0", "logging_steps nan",
        "eval_strategy sometimes", "report_to nobody", "class_weights 3", "early_stopping_patience 0",
        "threshold_metric accuracy", "threshold_strategy best", "deepspeed nowhere.json", "fsdp everywhere",
        "config nowhere.yaml", "config .", "unknown 1", "model_name_or_path LONG", "model_name_or_path ~no_such_user/x",
        "model_name_or_path ''", "dataset_name LONG", "dataset_name ~no_such_user/x", "dataset_name nowhere/at/all",
        "resume_from_checkpoint LONG", "resume_from_checkpoint nowhere", "teacher nowhere", "teacher LONG",
        "unlabelled_file nowhere", "unlabelled_file nowhere.txt --teacher RUN", "unlabelled_file LONG --teacher RUN",
        "output_dir LONG", "output_dir ~no_such_user/x", "hub_token hf_secret", "hub_model_id me/mine", "lr_scheduler_kwargs [",
        "warmup_steps 1e30", "accelerator_config nowhere.json", "gradient_checkpointing maybe", "language x_y",
        "license Mine!", "label_names LONG", "early_stopping_patience 1 --eval_strategy no",
    )),
    *(f"{BASE} --{pair}" for pair in (
        "max_features 0", "max_features 1e3", "seed nan", "n_jobs 0", "n_jobs many", "text_column nowhere",
        "label_column nowhere", "label_columns a,b", "label_columns ,", "validation_share nan", "validation_share 2",
        "test_share -1", "max_eval_samples 0", "taxonomy plutchik", "output_dir LONG", "output_dir ~no_such_user/x",
        "threshold_strategy none", "overwrite_output_dir maybe", "config LONG", "label_names ,", "label_names a,a",
        "corrections nowhere.csv", "corrections LONG", "corrections LONG.csv", "corrections ~no_such_user/x.csv", "corrections .",
        "corrections DATA/train.csv", "corrections", "correct_validation true", "correct_validation maybe",
    )),
    *(f"{AUDIT} --{pair}" for pair in (
        *(f"folds={value}" for value in (*NUMBERS, "0", "1", "101", "99999999999999999999")), "audit_splits",
        "audit_splits all", "audit_splits train,test", "judge", "judge ''", "judge nowhere", "judge LONG", "judge .",
        "judge DATA", "judge TINY", "judge nowhere/at/all/on/it", "judge ~no_such_user/x", "judge BASELINE nowhere",
        "taxonomy ekman", "teacher RUN", "push_to_hub", "resume_from_checkpoint", "resume_from_checkpoint nowhere",
        "output_dir LONG", "output_dir RUN", "output_dir BASELINE", "output_dir DATA", "output_dir ~no_such_user/x",
        "corrections nowhere.csv", "max_train_samples 1", "judges BASELINE", "baseline maybe",
    )),
    *(f"{INFER} hello --{pair}" for pair in (
        "threshold nan", "threshold inf", "threshold -0.1", "threshold x", "top_k 0", "top_k -1", "top_k 1.5",
        "precision fp64", "precision int8", "backend tf", "backend onnx", "input_format xml", "text_column",
        "output_file LONG", "output_file LONG.csv", "output_file nowhere.docx", "output_file .", "output_file ~no_such_user/x.csv",
        "input_file nowhere.csv", "resume", "unknown", "model LONG", "model ~no_such_user/x", "model nowhere/at/all/on/it",
        "model ''", "model ..", "model ../..", "model https://example.org/model", "model me/mine@main",
    )),
    *(f"inference --model BASELINE --input_file {name}" for name in (
        "LONG", "LONG.csv", "nowhere.csv", ".", "~no_such_user/x.csv", "x.xlsx", "nowhere.csv.gz",
    )),
    *(f"{CORPUS} --{pair}" for pair in (
        *(f"{name}={value}" for name in ("tasks", "workers", "cpus_per_task", "tasks_per_job")
          for value in ("0", "-1", "1.5", "many", "nan", "")),
        "tasks 99999999999999999999", "workers 99999999999999999999", "gpus_per_task 2", "mem_per_cpu_gb 0", "threshold nan",
        "top_k 0", "precision fp64", "precision int8", "backend tf", "backend onnx", "text_column", "output_format docx",
        "executor kubernetes", "executor ''", "executor slurm", "executor slurm --partition cpu --time ''",
        "executor ray --time soon", "executor jobs", "partition cpu", "flavor t4", "address auto", "namespace me", "time 1",
        "input ''", "input nowhere", "input LONG", "input ~no_such_user/x", "input nosuch://place", "input s3://", "input ://",
        "input hf://", "input hf://datasets/me", "input file:///nowhere/at/all", "input_pattern *.xlsx", "input_pattern LONG",
        "input_pattern /*", "input_pattern [", "input BASELINE/plots",
        "output ''", "output LONG", "output ~no_such_user/x", "output DATA", "output DATA/out", "output DATA/train.csv", "output nosuch://x",
        "output RUN", "output /proc/emotions", "output hf://datasets/me/mine", "output hf://datasets/me/mine --logging_dir out_logs",
        "logging_dir LONG", "logging_dir DATA/train.csv", "logging_dir ~no_such_user/x", "logging_dir nosuch://x", "logging_dir /proc/logs",
        "model ''", "model nowhere/at/all/on/it", "model LONG", "model ~no_such_user/x", "model DATA", "model TINY", "model me/mine@main",
        "config nowhere.yaml", "config .", "config LONG", "config DATA/train.csv", "unknown 1", "worker 2", "resume",
    )),
    "corpus", "corpus --model BASELINE", "corpus --input DATA --output out", "corpus DATA out",
    *(f"{script} {pair}" for script in ("push", "evaluate", "export", "compare") for pair in (
        "", "nowhere", "LONG", "~no_such_user/x", ".", "DATA", "TINY", "RUN --unknown", "RUN RUN2",
    )),
    "push BASELINE --hub_model_id a/b/c", "push BASELINE --hub_model_id LONG", "push BASELINE --hub_model_id ..",
    "push BASELINE --hub_model_id me/mine --fold_thresholds maybe", "push BASELINE --hub_model_id me/mine --fold_thresholds true",
    "evaluate RUN --set_threshold joy", "evaluate RUN --set_threshold joy=2", "evaluate RUN --set_threshold joy=nan",
    "evaluate RUN --set_threshold nobody=0.5", "evaluate RUN --calibration best", "evaluate BASELINE --calibration platt",
    *(f"audit --baseline --dataset_name DATA {pair}" for pair in (
        "--output_dir out --folds 0", "--output_dir out --folds 101", "--output_dir out --folds many",
        "--output_dir out --audit_splits dev", "--output_dir out --judge nowhere", "--output_dir out --judge LONG",
        "--output_dir out --teacher RUN", "--output_dir out --teacher RUN --unlabelled_file x.txt",
        "--output_dir out --taxonomy ekman", "--output_dir out --push_to_hub",
        "--output_dir out --resume_from_checkpoint", "--output_dir out --corrections nowhere.csv", "--output_dir RUN",
        "--output_dir out --baseline perhaps", "--output_dir /proc/audit")),
    "export BASELINE", "compare RUN RUN --seeds", "search --dataset_name DATA --output_dir out --search_trials 0",
    "search --dataset_name DATA --output_dir out --search_metric f1", "search --dataset_name DATA --output_dir out --search_trials nan",
]  # fmt: skip


@pytest.mark.parametrize("command", ARGUMENTS)
def test_arguments(command, outcome):
    status, said = outcome(command.replace("''", "EMPTY"), EMPTY="")
    assert status == 2, said
    assert "hf_secret" not in said
    assert "no_such_user" not in command or "there is no user 'no_such_user'" in said


def test_files_of_somebody_else_are_no_place_for_many_files(outcome, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    status, said = outcome(f"{CORPUS} --output theirs")
    assert status == 2
    assert "--output theirs is not empty (notes.txt)" in said


# --- recipes ----------------------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
RECIPES = {
    "a list for a value": "learning_rate: [1, 2]",
    "a mapping for a value": "learning_rate: {a: 1}",
    "a key twice": "seed: 1\nseed: 2",
    "a recipe in it": "config: other.yaml",
    "anchors that explode": BOMB,
    "anchors": "seed: &a 1\ndata_seed: *a",
    "nothing but text": "learning rate is 3",
    "a list": "- a\n- b",
    "two documents": "seed: 1\n---\nseed: 2",
    "no text": b"\xff\xfe\x00\xd8",
    "latin-1": "# gelöst\nseed: 1".encode("latin-1"),
    "zeros": b"seed: \x00",
    "an object of Python's": "!!python/object/apply:os.system ['true']",
    "tabs": "\tseed: 1",
    "deep": "a: " + "[" * 5000,
    "a number for a key": "1: 2",
    "a long key": f"{LONG}: 1",
    "a text for a number": "seed: one",
    "nan": "learning_rate: .nan",
    "infinity": "num_train_epochs: .inf",
    "a date": "seed: 2020-01-01",
    "a large file": "# " + "x" * 5_000_000,
    "true for a number": "max_train_samples: true",
    "an unknown key": "learning_rte: 1",
    "a token": "hub_token: hf_secret",
}


@pytest.mark.parametrize("script", ["finetune", "baseline"])
@pytest.mark.parametrize("kind", RECIPES)
def test_recipes(kind, script, outcome, tmp_path):
    content = RECIPES[kind]
    (tmp_path / "r.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    status, said = outcome(f"{script} --dataset_name DATA --output_dir out --config r.yaml")
    assert status == 2, said
    assert "hf_secret" not in said


def test_a_pipe_is_no_recipe(outcome, tmp_path):
    os.mkfifo(tmp_path / "r.yaml")
    for script in ("finetune", "baseline"):
        assert outcome(f"{script} --output_dir out --config r.yaml")[0] == 2


# --- data -------------------------------------------------------------------------------------------------------------

ROWS = "text,labels\n" + "a parcel late,delivery\nmoney back please,refund\n" * 12
DEEP = "[" * 900 + "]" * 900


def parquet(**columns) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue().to_pybytes()


def invalid_utf8() -> bytes:
    texts = pyarrow.array([b"fine \xff\xfe"] * 24, pyarrow.binary()).view(pyarrow.string())
    return parquet(text=texts, labels=pyarrow.array(["a", "b"] * 12))


DATA = {
    # content of train.* and validation.*, and the statuses that are right
    "fine": (".csv", ROWS.encode(), {0}),
    "empty": (".csv", b"", {2}),
    "a header alone": (".csv", b"text,labels\n", {2}),
    "zeros": (".csv", b"\0" * 1000, {2}),
    "noise": (".csv", bytes(range(256)) * 40, {2}),
    "noise as Parquet": (".parquet", b"PAR1" + bytes(range(256)) * 40 + b"PAR1", {2}),
    "noise as gzip": (".csv.gz", b"\x1f\x8b" + bytes(range(256)), {2}),
    "gzip cut short": (".csv.gz", gzip.compress(ROWS.encode())[:60], {2}),
    "no gzip": (".csv.gz", ROWS.encode(), {0, 2}),
    "zstd of noise": (".csv.zst", b"\x28\xb5\x2f\xfd" + bytes(200), {2}),
    "latin-1": (".csv", ROWS.replace("late", "spät").encode("latin-1"), {2}),
    "an open quote": (".csv", (ROWS + '"never closed,delivery\n' + "x,refund\n" * 2000).encode(), {2}),
    "a row too long": (".csv", (ROWS + "a,b,c,d\n").encode(), {2}),
    "a row too short": (".csv", (ROWS + "alone\n").encode(), {2}),
    "a column twice": (".csv", b"text,text,labels\na,b,c\n", {2}),
    "no text": (".csv", b"labels,n\na,1\n" * 2, {2}),
    "no labels": (".csv", b"text,n\nhello there,1\n", {2}),
    "empty labels": (".csv", (ROWS + "no label,\n").encode(), {2}),
    "empty texts": (".csv", (ROWS + ",refund\n").encode(), {0, 2}),
    "numbers for texts": (".csv", b"text,labels\n" + b"1,a\n2,b\n" * 20, {0, 2}),
    "a very long cell": (".csv", ROWS.encode() + b"word " * 300_000 + b",refund\n", {0, 2}),
    "controls": (".csv", (ROWS + "\x1b[31mred \x07\x00 text,refund\n").encode(), {0, 2}),
    "a label with escapes": (".csv", ROWS.replace("refund", "\x1b[31mref\x07").encode(), {0}),
    "JSON cut short": (".jsonl", b'{"text": "a", "labels": ["x"]}\n{"text": "b", "lab', {2}),
    "JSON, deep": (".jsonl", f'{{"text": "a", "labels": {DEEP}}}\n'.encode(), {2}),
    "JSON, deep text": (".jsonl", (f'{{"text": "a", "labels": "x", "more": {DEEP}}}\n' * 30).encode(), {0, 2}),
    "JSON, a list": (".jsonl", b"[1, 2]\n" * 20, {2}),
    "JSON, empty objects": (".jsonl", b"{}\n" * 20, {2}),
    "JSON, null": (".jsonl", b'{"text": null, "labels": null}\n' * 20, {2}),
    "JSON, numbers": (".jsonl", b'{"text": 5, "labels": ["a"]}\n' * 20, {2}),
    "JSON, nan ids": (".jsonl", b'{"text": "five", "labels": [NaN]}\n' * 20, {2}),
    "JSON, huge ids": (".jsonl", b'{"text": "five", "labels": [99999999999999999999]}\n' * 20, {2}),
    "JSON, negative ids": (".jsonl", b'{"text": "five", "labels": [-1]}\n' * 20, {2}),
    "JSON, mixed": (".jsonl", b'{"text": "five", "labels": [0]}\n{"text": "a", "labels": ["x"]}\n' * 20, {2}),
    "JSON, a surrogate": (".jsonl", b'{"text": "half \\ud800", "labels": ["a"]}\n' * 20, {2}),
    "JSON, an empty array": (".json", b"[]", {2}),
    "JSON, an empty object": (".json", b"{}", {2}),
    "JSON, no end": (".json", b'[{"text": "a", "labels": ["b"]},', {2}),
    "Parquet without rows": (".parquet", parquet(text=pyarrow.array([], "string"), labels=pyarrow.array([], "string")), {2}),
    "Parquet of invalid UTF-8": (".parquet", invalid_utf8(), {2}),
    "Parquet of a far year": (".parquet", parquet(text=["a b", "c d"] * 12, labels=["x", "y"] * 12,
        when=pyarrow.array([2_000_000_000_000_000_000] * 24, pyarrow.timestamp("ms"))), {2}),
    "Parquet of structs": (".parquet", parquet(text=[{"a": 1}] * 24, labels=["x", "y"] * 12), {2}),
    "Parquet of nested lists": (".parquet", parquet(text=["a b"] * 24, labels=[[["x"]]] * 24), {2}),
    "Parquet of bytes": (".parquet", parquet(text=[b"a b", b"c d"] * 12, labels=["x", "y"] * 12), {0, 2}),
    "Parquet of nulls": (".parquet", parquet(text=["a b", None] * 12, labels=["x", "y"] * 12), {2}),
}  # fmt: skip


@pytest.mark.parametrize("kind", DATA)
def test_data(kind, outcome, tmp_path):
    suffix, content, right = DATA[kind]
    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "data" / f"{split}{suffix}").write_bytes(content)
    status, said = outcome("baseline --dataset_name data --output_dir out --n_jobs 1")
    assert status in right, said
    assert "\x1b" not in said


def test_names_that_files_cannot_have(outcome, tmp_path):
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "train.csv")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("data", "loop", "data/train.csv"):
        assert outcome(f"baseline --dataset_name {name} --output_dir out --n_jobs 1")[0] == 2
    assert outcome("inference --model BASELINE --input_file loop")[0] == 2


# --- texts to classify ------------------------------------------------------------------------------------------------

INPUTS = {
    "fine": (".csv", b"text\nso happy\n", {0}),
    "empty": (".csv", b"", {2}),
    "a header alone": (".csv", b"text\n", {0, 2}),
    "zeros": (".csv", b"\0" * 100, {2, 3}),
    "noise": (".jsonl", bytes(range(256)) * 4, {2, 3}),
    "noise as text": (".txt", bytes(range(256)) * 4, {0, 2, 3}),
    "noise as Parquet": (".parquet", b"PAR1" + bytes(100) + b"PAR1", {2}),
    "Parquet of invalid UTF-8": (".parquet", invalid_utf8(), {3}),
    "Parquet of a far year": (".parquet", parquet(text=["a b"], t=pyarrow.array([2 * 10**18], pyarrow.timestamp("ms"))), {3}),
    "gzip cut short": (".csv.gz", gzip.compress(b"text\n" + b"so happy\n" * 999)[:40], {2, 3}),
    "JSON, deep": (".jsonl", f'{{"text": "fine", "more": {DEEP}}}\n'.encode(), {0, 3}),
    "JSON, no object": (".jsonl", b'5\n"text"\n[1]\nnull\n', {2, 3}),
    "JSON, empty objects": (".jsonl", b"{}\n{}\n", {2}),
    "JSON, other types": (".jsonl", b'{"text": 5}\n{"text": null}\n{"text": ["a"]}\n{"text": "fine"}\n', {3}),
    "JSON, a surrogate": (".jsonl", b'{"text": "half \\ud800"}\n', {3}),
    "JSON, a huge number": (".jsonl", b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n", {0, 3}),
    "controls": (".jsonl", b'{"text": "\\u001b[31mred\\u0007\\u0000"}\n', {0, 3}),
    "blanks": (".txt", b" \n\t\n\n", {2, 3}),
    "a long line": (".txt", b"word " * 400_000, {3}),
    "right to left": (".txt", "\u202eabc\u202c שלום\n".encode(), {0}),
    "emoji alone": (".txt", "😀" * 2000 + "\n", {0}),
    "labels and scores of its own": (".csv", b"text,labels,scores\na b,c,d\n", {0}),
}  # fmt: skip


@pytest.mark.parametrize("model", ["BASELINE", "RUN"])
@pytest.mark.parametrize("kind", INPUTS)
def test_inputs(kind, model, outcome, tmp_path):
    suffix, content, right = INPUTS[kind]
    (tmp_path / f"in{suffix}").write_bytes(content if isinstance(content, bytes) else content.encode())
    for number, output in enumerate(("jsonl", "csv", "tsv", "parquet")):
        command = f"inference --model {model} --input_file in{suffix} --output_file out{number}.{output} --use_cpu"
        status, said = outcome(command)
        assert status in right, (output, said)
        assert "\x1b" not in said
        assert status == 2 or (tmp_path / f"out{number}.{output}").is_file()


# --- what a run's folder says -----------------------------------------------------------------------------------------

CONTENTS = (b"", b"{}", b"[]", b"null", b"{", b"\xff\xfe", b'{"a": NaN}', b"5", DEEP.encode())
COMMANDS = {
    "run.json": ("evaluate out_run --threshold_strategy global", "compare out_run"),
    "thresholds.json": ("inference --model out_run hello", "evaluate out_run --threshold_strategy global"),
    "all_results.json": ("compare out_run",),
    "predictions/validation.parquet": ("evaluate out_run --threshold_strategy global",),
    "baseline.skops": ("inference --model out_run hello",),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("content", CONTENTS, ids=[repr(content[:6]) for content in CONTENTS])
def test_files_of_a_run(name, content, outcome, baseline_run, tmp_path):
    for command in COMMANDS[name]:
        folder = shutil.copytree(baseline_run, tmp_path / "out_run", dirs_exist_ok=True)
        (folder / name).write_bytes(content)
        status, said = outcome(command)
        assert status == 2, said


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "thresholds.json"]
)
@pytest.mark.parametrize("content", CONTENTS, ids=[repr(content[:6]) for content in CONTENTS])
def test_files_of_a_model(name, content, outcome, finished_run, tmp_path):
    folder = shutil.copytree(finished_run, tmp_path / "out_run", ignore=shutil.ignore_patterns("checkpoints"))
    (folder / name).write_bytes(content)
    status, said = outcome("inference --model out_run hello")
    harmless = name == "tokenizer_config.json" and content in (b"{}", b'{"a": NaN}')
    assert status == (0 if harmless else 2), said
