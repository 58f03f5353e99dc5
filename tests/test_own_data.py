"""Data of users' own, as their tools write it: baseline, fine-tuning, inference and card have the right labels."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

import run_baseline
import run_finetune
import run_inference
from utils.run_folder import RunFolder

NAMES = ["billing", "delivery", "refund"]
WORDS = {"billing": "invoice", "delivery": "parcel", "refund": "money"}


def comments(rows: int = 60) -> list[tuple[str, list[str]]]:
    """Texts that say what they are about, with one label or two."""
    found = []
    for n in range(rows):
        labels = [NAMES[n % 3]] + ([NAMES[(n + 1) % 3]] if n % 4 == 0 else [])
        found.append((f"number {n}: about the {' and the '.join(WORDS[label] for label in labels)}", sorted(labels)))
    return found


def datasets_parquet(folder: Path) -> list[str]:
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=NAMES))})
    texts, labels = zip(*comments(), strict=True)
    rows = Dataset.from_dict(
        {"text": texts, "labels": [[NAMES.index(name) for name in row] for row in labels]}, features=features
    )
    for split in ("train", "validation", "test"):
        rows.to_parquet(str(folder / f"{split}.parquet"))
    return [str(folder)]


def pandas_csv_of_lists(folder: Path) -> list[str]:
    for split in ("train", "validation"):
        pandas.DataFrame(comments(), columns=["text", "labels"]).to_csv(folder / f"{split}.csv")
    return [str(folder)]


def wide_csv(folder: Path) -> list[str]:
    rows = [{"id": f"a{n}", "comment_text": text} | {name: int(name in labels) for name in NAMES}
            for n, (text, labels) in enumerate(comments())]  # fmt: skip
    for split in ("train", "validation", "test"):
        pandas.DataFrame(rows).to_csv(folder / f"{split}.csv", index=False)
    return [str(folder)]


def semicolons_from_a_spreadsheet(folder: Path) -> list[str]:
    lines = [f"{n};{text};{'/'.join(labels)}" for n, (text, labels) in enumerate(comments(150))]
    (folder / "tickets.csv").write_bytes("\r\n".join(["Nr;Message;Tags", *lines]).encode("utf-8-sig"))
    return [str(folder / "tickets.csv"), "--label_separator", "/"]


@pytest.mark.parametrize("write", [datasets_parquet, pandas_csv_of_lists, wide_csv, semicolons_from_a_spreadsheet])
def test_own_data_goes_all_the_way(write: Callable[[Path], list[str]], tiny_bert, tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    options = ["--dataset_name", *write(data)]
    given = dict(comments(150))
    run_baseline.main([*options, "--output_dir", str(tmp_path / "baseline"), "--n_jobs", "1"])
    run_finetune.main(
        [*options, "--config", "recipes/quickstart.yaml", "--model_name_or_path", str(tiny_bert), "--use_cpu", "true",
         "--precision", "fp32", "--learning_rate", "1e-3", "--num_train_epochs", "2", "--export_onnx", "false",
         "--output_dir", str(tmp_path / "encoder")]
    )  # fmt: skip
    for run in map(RunFolder, (tmp_path / "baseline", tmp_path / "encoder")):
        names, (texts, gold, _) = run.read_predictions("validation")
        assert names == NAMES
        for text, row in zip(texts, gold, strict=True):
            assert [name for name, value in zip(names, row, strict=True) if value] == given[text]
        assert list(run.read("thresholds.json")["thresholds"]) == NAMES
        card = (run.path / "README.md").read_text(encoding="utf-8")
        for name in NAMES:
            assert f"| {name} " in card
        capsys.readouterr()
        assert run_inference.main(["--model", str(run), "--top_k", "1", "about the parcel"]) == 0
        assert json.loads(capsys.readouterr().out)["labels"][0] in NAMES
    results = RunFolder(tmp_path / "baseline").read("all_results.json")
    assert results["eval_f1_micro"] > 0.9  # the words give the labels away
    id2label = RunFolder(tmp_path / "encoder").read("config.json")["id2label"]
    assert list(id2label.values()) == NAMES
