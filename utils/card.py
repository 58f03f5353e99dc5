"""The model card of a run, made from the run's own files and nothing else."""

import csv
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from utils.data import HUB_DATASET
from utils.results import RESULTS_FILE, STRATEGIES_FILE, THRESHOLDS_FILE, markdown_table, read_json, write_text

TEMPLATE = Path(__file__).resolve().parent.parent / "model_card.md"
RECIPE_KEYS = (
    "dataset_name", "dataset_config_name", "max_train_samples", "max_eval_samples", "model_name_or_path",
    "max_seq_length", "learning_rate", "head_learning_rate", "init_head_bias", "teacher", "teacher_weight",
    "num_train_epochs", "max_features",
    "per_device_train_batch_size", "gradient_accumulation_steps", "weight_decay", "warmup_steps", "lr_scheduler_type",
    "train_sampling_strategy", "bf16", "fp16", "threshold_strategy", "threshold_metric",
)  # fmt: skip
PLOTS = {
    "per_label_f1": "F1 by label",
    "threshold_curves": "F1 by threshold",
    "reliability": "Reliability",
    "cooccurrence": "Labels that occur together, gold and predicted",
    "training_curves": "Training curves",
}
NAMES = {"f1_micro": "micro-F1", "f1_macro": "macro-F1", "average_precision_macro": "mAP"}


def write_card(run_dir: Path, repo_id: str | None = None) -> None:
    """Render model_card.md into `run_dir`/README.md from run.json, all_results.json and the tables beside them.

    `repo_id` is where the card's examples find the model; a path of that kind stands there until it is published.
    """
    run, results = read_json(run_dir / "run.json"), read_json(run_dir / RESULTS_FILE)
    thresholds = read_json(run_dir / THRESHOLDS_FILE)
    arguments, base_model = run["arguments"], run.get("base_model")
    is_encoder = (run_dir / "config.json").is_file()
    dataset = run["dataset"]["name"]
    split = "test" if "test_f1_micro" in results else "eval"
    rows = {name: f"{count:,}" for name, count in run["dataset"]["rows"].items()}
    if is_encoder:
        sentence = f"{base_model} fine-tuned" if base_model else "An encoder fine-tuned"
    else:
        sentence = "TF-IDF features and one logistic regression per label, trained"
    model_name = (base_model or run_dir.name).split("/")[-1] if is_encoder else "TF-IDF baseline"
    on = {"demo": "a hand-written demonstration corpus", HUB_DATASET: "GoEmotions"}.get(dataset, "a local dataset")
    decision = f"strategy {thresholds['strategy']}, fitted for {NAMES[thresholds['metric']]} on validation"
    context = {
        "metadata": _metadata(results, split, thresholds, dataset, base_model, is_encoder).to_yaml(),
        "title": f"Emotions in comments: {model_name}",
        "is_demo": dataset == "demo",
        "is_goemotions": dataset == HUB_DATASET,
        "is_encoder": is_encoder,
        "is_folded": thresholds.get("folded", False),
        "plots": {name: title for name, title in PLOTS.items() if (run_dir / "plots" / f"{name}.png").is_file()},
        "place": repo_id or f"path/to/{run_dir.name}",
        "model_sentence": f"{sentence} on {rows['train']} comments of {on}.",
        "decision_sentence": decision,
        "labels": list(thresholds["thresholds"]),
        "split": "test" if split == "test" else "validation",
        "rows": rows,
        "results_table": _strategies_table(run_dir, split),
        "per_label_table": _per_label_table(run_dir),
        "arguments": yaml.safe_dump(_public(arguments), sort_keys=False).strip(),
        "seed": run["seed"],
        "environment": ", ".join(
            f"{package} {run['packages'][package]}" for package in ("transformers", "torch", "scikit-learn", "datasets")
        ),
    }
    template = Environment(undefined=StrictUndefined, trim_blocks=True, autoescape=False).from_string(
        TEMPLATE.read_text()
    )
    write_text(run_dir / "README.md", template.render(context) + "\n")


def _public(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that make up the recipe; a local folder is not named beyond its last part."""
    chosen = {key: arguments[key] for key in RECIPE_KEYS if arguments.get(key) is not None}
    for key in ("dataset_name", "model_name_or_path"):
        if key in chosen and Path(chosen[key]).is_dir():
            chosen[key] = Path(chosen[key]).name
    if "teacher" in chosen:
        chosen["teacher"] = [Path(name).name if Path(name).is_dir() else name for name in chosen["teacher"]]
    else:
        chosen.pop("teacher_weight", None)
    return chosen


def _metadata(results, split, thresholds, dataset, base_model, is_encoder) -> ModelCardData:
    evaluation = [
        EvalResult(
            task_type="text-classification",
            task_name="Multi-label emotion classification",
            dataset_type=dataset if dataset == HUB_DATASET else "text",
            dataset_name="GoEmotions"
            if dataset == HUB_DATASET
            else "demonstration corpus"
            if dataset == "demo"
            else "custom",
            dataset_split="test" if split == "test" else "validation",
            metric_type="mean_average_precision" if key == "average_precision_macro" else "f1",
            metric_name=name,
            metric_value=round(results[f"{split}_{key}"], 4),
            metric_args=None if key == "average_precision_macro" else {"threshold_strategy": thresholds["strategy"]},
        )
        for key, name in NAMES.items()
        if f"{split}_{key}" in results
    ]
    return ModelCardData(
        language="en",
        library_name="transformers" if is_encoder else "sklearn",
        pipeline_tag="text-classification",
        tags=["emotion", "multi-label-classification", *(["go_emotions"] if dataset == HUB_DATASET else [])],
        datasets=[dataset] if dataset == HUB_DATASET else None,
        base_model=base_model,
        metrics=["f1"],
        model_name="emotions",
        eval_results=evaluation,
    )


def _strategies_table(run_dir: Path, split: str) -> str:
    with (run_dir / STRATEGIES_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [f"{part}_{metric}" for part in dict.fromkeys(("eval", split)) for metric in ("f1_micro", "f1_macro")]
    names = {"eval": "validation", "test": "test"}
    header = ["thresholds", "fitted for", *(f"{NAMES[c.split('_', 1)[1]]}, {names[c.split('_')[0]]}" for c in columns)]
    shown = [row for row in rows if row["strategy"] != "fixed" or row["metric"] == "f1_micro"]
    lines = [
        ["0.5" if row["strategy"] == "fixed" else row["strategy"].replace("_", " "),
         "–" if row["strategy"] == "fixed" else NAMES[row["metric"]], *(f"{float(row[c]):.4f}" for c in columns)]
        for row in shown
    ]  # fmt: skip
    return markdown_table(header, lines)


def _per_label_table(run_dir: Path) -> str:
    with (run_dir / "per_label.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("precision", "recall", "f1", "threshold")
    lines = [[row["label"], row["support"], *(f"{float(row[column]):.3f}" for column in columns)] for row in rows]
    return markdown_table(["label", "support", "precision", "recall", "F1", "threshold"], lines)
