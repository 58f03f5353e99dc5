"""The model card of a run, rendered from the run's own files and nothing else."""

import csv
import dataclasses
import json
import re
import textwrap
from pathlib import Path
from pprint import pformat
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined
from transformers import TrainingArguments

from utils.arguments import DataArguments, ModelArguments, ThresholdArguments
from utils.data import HUB_DATASET
from utils.example import EXAMPLE
from utils.results import RESULTS_FILE, STRATEGIES_FILE, THRESHOLDS_FILE, markdown_table, read_json, write_text

TEMPLATE = Path(__file__).resolve().parent.parent / "model_card.md"
PLOTS = {
    "per_label_f1": "F1 by label",
    "threshold_curves": "F1 by threshold",
    "reliability": "Reliability",
    "cooccurrence": "Labels that occur together, gold and predicted",
    "training_curves": "Training curves",
}
SCORES = {"f1_micro": "micro-F1", "f1_macro": "macro-F1", "average_precision_macro": "mAP"}
WIDGET = {
    "Joy and pride": EXAMPLE,
    "Gratitude and confusion": "Thanks for explaining, but I still don't see why it crashes on my machine.",
    "Surprise": "Wait, you two have known each other since school? I had no idea!",
}
# Licences of the encoders that the recipes name, as their cards state them; that of another model is not guessed.
LICENCES = {
    "bert-base-uncased": "apache-2.0",
    "roberta-base": "mit",
    "answerdotai/ModernBERT-base": "apache-2.0",
    "sentence-transformers/all-MiniLM-L6-v2": "apache-2.0",
    "sentence-transformers/all-mpnet-base-v2": "apache-2.0",
}
# Arguments that belong to a machine or to one start of the script, and those that follow from others.
_NOT_RECIPE = (
    "output_dir", "use_cpu", "bf16", "fp16", "report_to", "run_name", "resume_from_checkpoint", "save_total_limit",
    "disable_tqdm", "trackio_space_id", "n_jobs", "train_batch_size", "eval_batch_size", "activation_checkpointing",
    "gradient_checkpointing", "accelerator_config", "dataloader_pin_memory", "debug", "do_eval", "greater_is_better",
)  # fmt: skip


def card_metadata(dataset: str, hub_dataset: str | None, base_model: str | None, is_encoder: bool) -> ModelCardData:
    """What a card's YAML block says of a run, apart from its scores.

    Args:
        dataset: `--dataset_name`.
        hub_dataset: its id on the Hub, None if it has none.
        base_model: the encoder's id on the Hub, None for a baseline or a local folder.
    """
    data_is_free = dataset == "demo" or hub_dataset == HUB_DATASET
    licence = LICENCES.get(base_model or "") if is_encoder else "apache-2.0"
    return ModelCardData(
        language="en",
        license=licence if data_is_free else None,
        library_name="transformers" if is_encoder else "sklearn",
        pipeline_tag="text-classification",
        tags=["emotion", "multi-label-classification", *(["go_emotions"] if hub_dataset == HUB_DATASET else [])],
        datasets=[hub_dataset] if hub_dataset else None,
        base_model=base_model,
        metrics=["f1"],
        widget=[{"example_title": title, "text": text} for title, text in WIDGET.items()],
        inference={"parameters": {"top_k": 5}} if is_encoder else None,
    )


def run_metadata(run_dir: Path) -> ModelCardData:
    """`card_metadata` of a finished run, with its scores as a model-index."""
    run, results = read_json(run_dir / "run.json"), read_json(run_dir / RESULTS_FILE)
    strategy, dataset = read_json(run_dir / THRESHOLDS_FILE)["strategy"], run["dataset"]
    hub_dataset, split = dataset["hub_id"], _reported_split(results)
    names = {"demo": "demonstration corpus", HUB_DATASET: "GoEmotions"}
    metadata = card_metadata(dataset["name"], hub_dataset, run.get("base_model"), _is_encoder(run_dir))
    metadata.model_name = run_dir.resolve().name
    metadata.eval_results = [
        EvalResult(
            task_type="text-classification",
            task_name="Multi-label emotion classification",
            dataset_type=hub_dataset or "custom",
            dataset_name=names.get(hub_dataset or dataset["name"], hub_dataset or "custom"),
            dataset_config=run["arguments"].get("dataset_config_name") if hub_dataset else None,
            dataset_split="test" if split == "test" else "validation",
            metric_type="mean_average_precision" if key == "average_precision_macro" else "f1",
            metric_name=name,
            metric_value=round(results[f"{split}_{key}"], 4),
            metric_args={"average": key.split("_")[-1]}
            | ({"threshold_strategy": strategy} if key.startswith("f1") else {}),
        )
        for key, name in SCORES.items()
        if f"{split}_{key}" in results
    ]
    return metadata


def write_card(run_dir: Path, repo_id: str | None = None) -> None:
    """Render model_card.md into `run_dir`/README.md, from run.json, all_results.json and the tables beside them.

    A baseline that lies beside `run_dir` and was trained and judged on the same rows is shown for comparison.

    Args:
        repo_id: where the card's examples find the model; until it is published, the name of its folder.
    """
    run, results = read_json(run_dir / "run.json"), read_json(run_dir / RESULTS_FILE)
    thresholds = read_json(run_dir / THRESHOLDS_FILE)
    dataset, split = run["dataset"], _reported_split(results)
    base_model, is_encoder = run.get("base_model"), _is_encoder(run_dir)
    places = {"demo": "a hand-written demonstration corpus", HUB_DATASET: "GoEmotions"}
    onnx = run_dir / "onnx" / "export.json"
    context = {
        "metadata": run_metadata(run_dir).to_yaml(),
        "title": f"Emotions in comments: {_short_name(run_dir, base_model) if is_encoder else 'TF-IDF baseline'}",
        "dataset": places.get(dataset["hub_id"] or dataset["name"], dataset["hub_id"] or "a dataset of its own"),
        "is_demo": dataset["name"] == "demo",
        "is_goemotions": dataset["hub_id"] == HUB_DATASET,
        "is_encoder": is_encoder,
        "is_folded": thresholds["folded"],
        "base_model": base_model,
        "place": repo_id or run_dir.resolve().name,
        "example": EXAMPLE,
        "example_output": pformat(run["example"], sort_dicts=False, width=100)
        if is_encoder
        else json.dumps(run["example"]),
        "decision": f"strategy {thresholds['strategy']}, fitted for {SCORES[thresholds['metric']]} on validation",
        "labels": list(thresholds["thresholds"]),
        "split": "test" if split == "test" else "validation",
        "rows": {name: f"{count:,}" for name, count in dataset["rows"].items()},
        "scores_table": _scores_table(run_dir, results, split),
        "strategies_table": _strategies_table(run_dir, split),
        "per_label_table": _per_label_table(run_dir),
        "plots": {name: title for name, title in PLOTS.items() if (run_dir / "plots" / f"{name}.png").is_file()},
        "onnx": read_json(onnx) if onnx.is_file() else None,
        "script": "run_finetune.py" if is_encoder else "run_baseline.py",
        "recipe": yaml.safe_dump(_recipe(run), sort_keys=False, width=200).strip(),
        "minutes": f"{results['train_runtime'] / 60:.1f}" if is_encoder else None,
        "layout": run["hardware"].get("layout", "").rstrip("."),
        "seed": run["seed"],
        "packages": ", ".join(f"{name} {run['packages'][name]}" for name in ("transformers", "torch", "scikit-learn")),
    }
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(context)
    write_text(run_dir / "README.md", _refill(text))


def _refill(text: str) -> str:
    """Wrap the paragraphs again, now that the figures stand in them; code, tables, lists and headings stay."""
    parts = re.split(r"(^---$.*?^---$|^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    for index in range(0, len(parts), 2):
        blocks = parts[index].split("\n\n")
        blocks = [textwrap.fill(b, 118, break_long_words=False) if re.match(r"\s*[\w*`\[]", b) else b for b in blocks]
        parts[index] = "\n\n".join(block.strip("\n") for block in blocks if block.strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_encoder(run_dir: Path) -> bool:
    return (run_dir / "config.json").is_file()


def _reported_split(results: dict[str, float]) -> str:
    return "test" if "test_f1_micro" in results else "eval"


def _short_name(run_dir: Path, base_model: str | None) -> str:
    return (base_model or run_dir.resolve().name).split("/")[-1]


def _recipe(run: dict[str, Any]) -> dict[str, Any]:
    """The arguments that differ from their defaults, as the flat YAML that `--config` takes; local folders by name."""
    defaults = {
        item.name: item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        for kind in (DataArguments, ModelArguments, ThresholdArguments, TrainingArguments)
        for item in dataclasses.fields(kind)
    }
    arguments = run["arguments"]
    recipe = {"dataset_name": run["dataset"]["hub_id"] or Path(arguments["dataset_name"]).name}
    for key, value in arguments.items():
        default = getattr(defaults.get(key), "value", defaults.get(key))  # of an enumeration, its value
        skipped = key in recipe or key in _NOT_RECIPE or key.startswith(("hub_", "push_"))
        if not (skipped or value is None or str(value) == str(default)):
            recipe[key] = [_public(item) for item in value] if isinstance(value, list) else _public(value)
    return recipe


def _public(value: Any) -> Any:
    """An argument's value; of a local folder, its name alone."""
    return Path(value).name if isinstance(value, str) and Path(value).is_dir() else value


def _scores_table(run_dir: Path, results: dict[str, float], split: str) -> str:
    """The published scores with their intervals; beside them those of a baseline on the same rows, if there is one."""
    baseline = _baseline_beside(run_dir)
    header = ["score", "this model", "95 % interval", *(["TF-IDF baseline", "95 % interval"] if baseline else [])]
    lines = []
    for key, name in SCORES.items():
        line = [name]
        for side in filter(None, (results, baseline)):
            if f"{split}_{key}" in side:
                low, high = side.get(f"{split}_{key}_ci_low"), side.get(f"{split}_{key}_ci_high")
                line += [f"{side[f'{split}_{key}']:.4f}", f"{low:.4f} to {high:.4f}" if low is not None else ""]
        lines += [line] if len(line) == len(header) else []
    return markdown_table(header, lines)


def _baseline_beside(run_dir: Path) -> dict[str, float] | None:
    """Results of a baseline in a neighbouring folder that was trained and judged on exactly the same rows."""
    own = read_json(run_dir / "run.json")
    for path in sorted(run_dir.resolve().parent.glob("*/baseline.skops")):
        if path.parent == run_dir.resolve() or not (path.parent / "run.json").is_file():
            continue
        other = read_json(path.parent / "run.json")
        same_subset = own["seed"] == other["seed"] or not any(
            own["arguments"].get(key) for key in ("max_train_samples", "max_eval_samples")
        )
        if own["dataset"] | {"name": ""} == other["dataset"] | {"name": ""} and same_subset:
            return read_json(path.parent / RESULTS_FILE)
    return None


def _strategies_table(run_dir: Path, split: str) -> str:
    rows = _read_table(run_dir / STRATEGIES_FILE)
    columns = [f"{part}_{metric}" for part in dict.fromkeys(("eval", split)) for metric in ("f1_micro", "f1_macro")]
    names = {"eval": "validation", "test": "test"}
    header = [
        "thresholds",
        "fitted for",
        *(f"{SCORES[column.split('_', 1)[1]]}, {names[column.split('_')[0]]}" for column in columns),
    ]
    lines = []
    for row in rows:
        fixed = row["strategy"] == "fixed"
        if not fixed or row["metric"] == "f1_micro":  # 0.5 is fitted for nothing: one row is enough
            kind = ["0.5", "–"] if fixed else [row["strategy"].replace("_", " "), SCORES[row["metric"]]]
            lines.append([*kind, *(f"{float(row[column]):.4f}" for column in columns)])
    return markdown_table(header, lines)


def _per_label_table(run_dir: Path) -> str:
    columns = ("precision", "recall", "f1", "threshold", "average_precision")
    lines = [
        [row["label"], row["support"], *(f"{float(row[column]):.3f}" if row[column] else "–" for column in columns)]
        for row in _read_table(run_dir / "per_label.csv")
    ]
    return markdown_table(["label", "support", "precision", "recall", "F1", "threshold", "average precision"], lines)


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
