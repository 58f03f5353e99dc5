"""The report of a run: its scores, and the files and tables that hold them, alike for every kind of model."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from utils.console import InputError, say
from utils.data.labels import on_one_line
from utils.evaluation.calibration import calibration_rows
from utils.evaluation.choices import METRICS, STRATEGIES
from utils.evaluation.mistakes import confident_mistakes, confused_pairs
from utils.evaluation.scores import label_scores, split_scores
from utils.evaluation.thresholds import decide, fit_thresholds, micro_and_macro_f1
from utils.lines import markdown_table, terminal_width
from utils.run_folder import (
    METRIC_PREFIX,
    PER_LABEL_FILE,
    RESULTS_FILE,
    STRATEGIES_FILE,
    THRESHOLDS_FILE,
    Predictions,
    RunFolder,
    read_csv,
    write_csv,
    write_json,
)

NAMED = 10  # labels in one line
_F1 = {"f1_micro": "micro-F1", "f1_macro": "macro-F1"}


def score(names: Sequence[str], predictions: Mapping[str, Predictions], thresholds: np.ndarray) -> dict[str, float]:
    """All scores of every split, flat, as all_results.json holds them; nothing is written.

    Args:
        names: label names in the order of the columns.
        predictions: those of `validation` and, optionally, `test`.
        thresholds: one per label.
    """
    results: dict[str, float] = {}
    for split, predicted in predictions.items():
        results |= split_scores(split, names, predicted.gold, predicted.probabilities, thresholds)
    return results


def write_report(
    run: RunFolder,
    names: Sequence[str],
    predictions: Mapping[str, Predictions],
    thresholds: np.ndarray,
    results: Mapping[str, float],
    strategy: str,
    metric: str,
    set_by_hand: Mapping[str, float] | None = None,
) -> None:
    """Write predictions, thresholds and tables, and all_results.json.

    Labels without a positive to fit a threshold on are named first.

    Args:
        run: where to.
        names, predictions, thresholds: see `score`. Tables of labels and mistakes are those of test where there is one.
        results: what all_results.json is to hold.
        strategy, metric: how `thresholds` were fitted, on `validation`; see `utils.evaluation.thresholds`.
        set_by_hand: those of `thresholds` that were not, by label.
    """
    for split, predicted in predictions.items():
        run.write_predictions(split, names, predicted)
    fitted_on = predictions["validation"].gold
    if unseen := [on_one_line(name) for name, seen in zip(names, fitted_on.sum(axis=0), strict=True) if not seen]:
        shown = ", ".join(unseen[:NAMED]) + (f" and {len(unseen) - NAMED:,} more" if len(unseen) > NAMED else "")
        fallback = "the threshold of all labels together" if fitted_on.any() else "0.5: there was nothing to fit on"
        say(f"no positive in the validation rows of {shown}; decided at {'0.5' if strategy == 'fixed' else fallback}")
    write_json(
        run.path / THRESHOLDS_FILE,
        {
            "strategy": strategy,
            "metric": metric,
            "split": "validation",
            "rows": len(fitted_on),
            "f1_micro": results["eval_f1_micro"],
            "f1_macro": results["eval_f1_macro"],
            "folded": False,
            **({"set_by_hand": dict(set_by_hand)} if set_by_hand else {}),
            "positives": {name: int(count) for name, count in zip(names, fitted_on.sum(axis=0), strict=True)},
            "thresholds": {name: float(value) for name, value in zip(names, thresholds, strict=True)},
        },
    )
    fitted = {} if set_by_hand else {(strategy, metric): thresholds}
    write_csv(run.path / STRATEGIES_FILE, _strategies(predictions, fitted))
    reported = predictions["test"] if "test" in predictions else predictions["validation"]
    texts, gold, probabilities = reported
    columns = label_scores(gold, probabilities, thresholds)
    write_csv(
        run.path / PER_LABEL_FILE,
        [{"label": name} | {key: column[index] for key, column in columns.items()} for index, name in enumerate(names)],
    )
    write_csv(run.path / "mistakes.csv", confident_mistakes(names, texts, gold, probabilities, thresholds))
    write_csv(run.path / "confusions.csv", confused_pairs(names, gold, probabilities, thresholds))
    write_csv(run.path / "calibration.csv", calibration_rows(names, predictions))
    write_json(run.path / RESULTS_FILE, results)


def _strategies(
    predictions: Mapping[str, Predictions], known: Mapping[tuple[str, str], np.ndarray]
) -> list[dict[str, Any]]:
    """Every strategy and metric, fitted on validation: micro- and macro-F1 on each split.

    The thresholds in `known`, by strategy and metric, are not fitted again.
    """
    rows = []
    _, gold, probabilities = predictions["validation"]
    for kind in STRATEGIES:
        for goal in METRICS:
            fitted = known[kind, goal] if (kind, goal) in known else fit_thresholds(gold, probabilities, kind, goal)
            row: dict[str, Any] = {"strategy": kind, "metric": goal}
            for split, predicted in predictions.items():
                f1 = micro_and_macro_f1(predicted.gold, decide(predicted.probabilities, fitted))
                row |= {f"{METRIC_PREFIX[split]}_{name}": value for name, value in f1.items()}
            rows.append(row)
    return rows


def results_table(runs: Sequence[RunFolder], seeds: bool = False) -> str:
    """Markdown tables of micro- and macro-F1 with one row a run: as saved, at 0.5, and at thresholds fitted for it.

    Figures are those of the test split; of validation where a run has no test split, which its row says. With
    `seeds`, the runs count as one recipe and a last row holds mean ± standard deviation. A single run has one table of
    its own. Where standard output is a terminal, they are no wider than that.
    """
    if len(runs) == 1:
        return _table_of_one(runs[0])
    columns = {
        "f1_micro": {"as saved": None, "at 0.5": "fixed", "one threshold": "global", "expected F1": "expected_f1"},
        "f1_macro": {"as saved": None, "at 0.5": "fixed", "per label": "per_label", "expected F1": "expected_f1"},
    }
    scored, tables = [_f1_of(run) for run in runs], []
    labels = [
        f"{run}{'' if split == 'test' else ' (validation)'}" for run, (split, _) in zip(runs, scored, strict=True)
    ]
    for metric, strategies in columns.items():
        figures = [[scores[strategy, metric] for strategy in strategies.values()] for _, scores in scored]
        lines = [[label, *(f"{value:.4f}" for value in values)] for label, values in zip(labels, figures, strict=True)]
        if seeds and len(runs) > 1:
            by_column = zip(*figures, strict=True)
            spread = [f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in by_column]
            lines.append([f"mean ± sd of {len(runs)} runs", *spread])
        tables.append(markdown_table([_F1[metric], *strategies], lines, terminal_width(sys.stdout)))
    return "\n\n".join(tables)


def _table_of_one(run: RunFolder) -> str:
    """Micro- and macro-F1 of the saved model, at its own thresholds, and of every strategy, fitted for the score."""
    split, scores = _f1_of(run)
    titles = {None: "saved model", "fixed": "at 0.5", "global": "one threshold", "per_label": "per label",
              "expected_f1": "expected F1"}  # fmt: skip
    lines = [[title, *(f"{scores[strategy, metric]:.4f}" for strategy in titles)] for metric, title in _F1.items()]
    table = markdown_table(["score", *titles.values()], lines, terminal_width(sys.stdout))
    return f"{run}, {split}: F1 at thresholds fitted on validation\n\n{table}"


def _f1_of(run: RunFolder) -> tuple[str, dict[tuple[str | None, str], float]]:
    """Which split a run reports, and micro- and macro-F1 there by strategy and score; strategy None: as saved."""
    run.require_finished()
    rows, results = read_csv(run.path / STRATEGIES_FILE), run.read(RESULTS_FILE)
    split, prefix = ("test", "test") if "test_f1_micro" in results else ("validation", "eval")
    scores: dict[tuple[str | None, str], float] = {
        (row["strategy"], row["metric"]): float(row[f"{prefix}_{row['metric']}"]) for row in rows
    }
    if missing := [strategy for strategy in STRATEGIES if (strategy, METRICS[0]) not in scores]:
        raise InputError(
            f"{run}/{STRATEGIES_FILE} has no thresholds of the strategy {missing[0]}; the run was made by another "
            "version of these scripts."
        )
    return split, scores | {(None, metric): results[f"{prefix}_{metric}"] for metric in METRICS}
