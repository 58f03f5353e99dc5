"""The files and tables of a run, written the same way for every kind of model.

Each file is written beside its place and renamed, so that a full disk or a kill leaves the old one or the new one.
"""

import csv
import importlib.metadata
import io
import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

from utils.calibration import calibration_rows
from utils.console import InputError
from utils.metrics import label_scores, split_scores
from utils.mistakes import confident_mistakes, confused_pairs
from utils.thresholds import METRICS, STRATEGIES, decide, fit_thresholds

RESULTS_FILE = "all_results.json"
THRESHOLDS_FILE = "thresholds.json"
STRATEGIES_FILE = "threshold_strategies.csv"
_PACKAGES = ("accelerate", "datasets", "evaluate", "huggingface-hub", "iterative-stratification", "numpy",
             "scikit-learn", "skops", "tokenizers", "torch", "transformers")  # fmt: skip
_SECRETS = ("token", "password", "secret")  # how names of arguments that hold one end


class Predictions(NamedTuple):
    """One judged split: its texts, gold labels as zeros and ones, and probabilities, both of shape (rows, labels)."""

    texts: Sequence[str]
    gold: np.ndarray
    probabilities: np.ndarray


def write_results(
    run_dir: Path,
    names: Sequence[str],
    predictions: dict[str, Predictions],
    strategy: str,
    metric: str,
    training: dict[str, float] | None = None,
) -> dict[str, float]:
    """Fit the thresholds on `predictions["eval"]`, score every split, write the files; returns all_results.json.

    Args:
        run_dir: the run's output folder.
        names: label names in the order of the columns.
        predictions: `eval`, on which thresholds are fitted, and optionally `test`, which is only reported.
        strategy, metric: see `utils.thresholds.fit_thresholds`.
        training: further numbers for all_results.json (loss, runtime, epochs).
    """
    for split, (texts, gold, probabilities) in predictions.items():
        columns = {"text": list(texts), "labels": [[names[i] for i in np.flatnonzero(row)] for row in gold]}
        columns |= {name: probabilities[:, index].astype(np.float32) for index, name in enumerate(names)}
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(columns), sink)
        write_bytes(run_dir / "predictions" / f"{split}.parquet", sink.getvalue().to_pybytes())

    _, gold, probabilities = predictions["eval"]
    thresholds = fit_thresholds(gold, probabilities, strategy, metric)
    results = dict(training or {})
    for split, judged in predictions.items():
        results |= split_scores(split, names, judged.gold, judged.probabilities, thresholds)

    write_json(
        run_dir / THRESHOLDS_FILE,
        {
            "strategy": strategy,
            "metric": metric,
            "split": "validation",
            "rows": len(gold),
            "f1_micro": results["eval_f1_micro"],
            "f1_macro": results["eval_f1_macro"],
            "folded": False,
            "positives": {name: int(count) for name, count in zip(names, gold.sum(axis=0), strict=True)},
            "thresholds": {name: float(cut) for name, cut in zip(names, thresholds, strict=True)},
        },
    )
    write_csv(run_dir / STRATEGIES_FILE, _strategies(predictions))
    _, gold, probabilities = predictions.get("test", predictions["eval"])
    columns = label_scores(gold, probabilities, thresholds)
    write_csv(
        run_dir / "per_label.csv",
        [{"label": name} | {key: column[index] for key, column in columns.items()} for index, name in enumerate(names)],
    )
    reported = predictions.get("test", predictions["eval"])
    write_csv(run_dir / "mistakes.csv", confident_mistakes(names, *reported, thresholds))
    write_csv(run_dir / "confusions.csv", confused_pairs(names, reported.gold, reported.probabilities, thresholds))
    write_csv(run_dir / "calibration.csv", calibration_rows(names, predictions))
    write_json(run_dir / RESULTS_FILE, results)
    return results


def _strategies(predictions: dict[str, Predictions]) -> list[dict[str, Any]]:
    """Every strategy and metric, fitted on eval: micro- and macro-F1 on each split."""
    rows = []
    for strategy in STRATEGIES:
        for metric in METRICS:
            thresholds = fit_thresholds(predictions["eval"].gold, predictions["eval"].probabilities, strategy, metric)
            row = {"strategy": strategy, "metric": metric}
            for split, (_, gold, probabilities) in predictions.items():
                hits = (decide(probabilities, thresholds) & (gold > 0)).sum(axis=0)
                total = decide(probabilities, thresholds).sum(axis=0) + gold.sum(axis=0)
                row[f"{split}_f1_micro"] = 2 * hits.sum() / max(total.sum(), 1)
                row[f"{split}_f1_macro"] = np.mean(2 * hits / np.maximum(total, 1))
            rows.append(row)
    return rows


def write_run_json(
    run_dir: Path,
    arguments: dict[str, Any],
    dataset: dict[str, Any],
    hardware: dict[str, Any] | None = None,
    base_model: str | None = None,
) -> None:
    """What it takes to run this again: arguments (never a token), versions, data, commit, seed, machine."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        versions[package] = importlib.metadata.version(package)
    public = {key: value for key, value in arguments.items() if not key.endswith(_SECRETS)}
    write_json(
        run_dir / "run.json",
        {
            "arguments": public,
            "dataset": dataset,
            "seed": arguments["seed"],
            "packages": versions,
            "git_commit": _git_commit(),
            "hardware": {"machine": platform.machine(), "logical_cpus": os.cpu_count(), **(hardware or {})},
        }
        | ({"base_model": base_model} if base_model else {}),
    )


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; `InputError` where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; a finished run has one.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}).") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as readable JSON; nan and infinity, which JSON lacks, are left out."""
    finite = {
        key: value for key, value in content.items() if not (isinstance(value, float) and not math.isfinite(value))
    }
    write_bytes(path, (json.dumps(finite, indent=2, ensure_ascii=False, default=str) + "\n").encode())


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows with equal keys; nan becomes an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        )
    write_bytes(path, text.getvalue().encode())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one stroke: nobody ever finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_predictions(run_dir: Path, split: str) -> tuple[list[str], Predictions]:
    """Label names and predictions of a split, as `write_results` stored them."""
    path = run_dir / "predictions" / f"{split}.parquet"
    if not path.is_file():
        raise InputError(f"{run_dir} has no predictions of the {split} split ({path.name} is missing).")
    table = pyarrow.parquet.read_table(path).to_pydict()
    texts, labels = table.pop("text"), table.pop("labels")
    names = list(table)
    gold = np.array([[name in row for name in names] for row in labels], dtype=np.float32)
    return names, Predictions(texts, gold, np.array([table[name] for name in names], dtype=np.float32).T)


def results_table(run_dirs: Sequence[Path], seeds: bool = False) -> str:
    """A Markdown table with one row a run: F1 at 0.5, and at thresholds fitted on validation for the same score.

    Figures are those of the test split; of validation where a run has no test split, which its row says. With
    `seeds`, the runs count as one recipe and a last row holds mean ± standard deviation.
    """
    columns = [
        ("micro-F1 at 0.5", "fixed", "f1_micro"),
        ("one cut", "global", "f1_micro"),
        ("calibrated cuts", "calibrated", "f1_micro"),
        ("macro-F1 at 0.5", "fixed", "f1_macro"),
        ("cut per label", "per_label", "f1_macro"),
        ("calibrated cuts", "calibrated", "f1_macro"),
    ]
    labels, table = [], []
    for run_dir in run_dirs:
        path = run_dir / STRATEGIES_FILE
        if not path.is_file():
            raise InputError(f"{run_dir} is not a finished run: it has no {STRATEGIES_FILE}.")
        with path.open(encoding="utf-8", newline="") as file:
            rows = {(row["strategy"], row["metric"]): row for row in csv.DictReader(file)}
        split = "test" if "test_f1_micro" in rows["fixed", "f1_micro"] else "eval"
        labels.append(str(run_dir) + ("" if split == "test" else " (validation)"))
        table.append([float(rows[strategy, metric][f"{split}_{metric}"]) for _, strategy, metric in columns])
    lines = [[label, *(f"{value:.4f}" for value in values)] for label, values in zip(labels, table, strict=True)]
    if seeds and len(table) > 1:
        by_column = zip(*table, strict=True)
        spread = [f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in by_column]
        lines.append([f"mean ± sd of {len(table)} runs", *spread])
    return markdown_table(["run", *(title for title, _, _ in columns)], lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it also reads well in a terminal; numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])
