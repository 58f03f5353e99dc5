"""The model card of a run, rendered from the run's own files and nothing else."""

import dataclasses
import json
import os
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from utils.arguments import (
    HUB_DATASET,
    CardArguments,
    DataArguments,
    FinetuneArguments,
    ModelArguments,
    ThresholdArguments,
)
from utils.data.labels import GO_EMOTIONS, on_one_line
from utils.evaluation.decision import current_arguments
from utils.evaluation.report import markdown_table
from utils.publishing.example import examples, is_known
from utils.run_folder import (
    BASELINE_FILE,
    CARD_FILE,
    EXPORT_FILE,
    PER_LABEL_FILE,
    RESULTS_FILE,
    RUN_FILE,
    STRATEGIES_FILE,
    THRESHOLDS_FILE,
    RunFolder,
    read_csv,
    write_text,
)

TEMPLATE = Path(__file__).resolve().parents[2] / "model_card.md"
PLOTS = {
    "per_label_f1": "F1 by label",
    "threshold_curves": "F1 by threshold",
    "reliability": "Reliability",
    "cooccurrence": "Labels that occur together, gold and predicted",
    "training_curves": "Training curves",
}
SCORES = {"f1_micro": "micro-F1", "f1_macro": "macro-F1", "average_precision_macro": "mAP"}
SHOWN = 40  # labels in the table of labels
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
    "set_threshold",
)  # fmt: skip


def card_metadata(
    dataset: Mapping[str, Any],
    base_model: str | None,
    is_encoder: bool,
    card: CardArguments,
    of_emotions: bool = False,
    widget: Sequence[Mapping[str, str]] = (),
) -> ModelCardData:
    """What a card's YAML block says of a run, apart from its scores.

    Language and licence are those of GoEmotions and the demo corpus, which are free; of other data they are what `card`
    says, or left open.

    Args:
        dataset: `name` and `hub_id`, as run.json has them.
        base_model: the encoder's id on the Hub, None for a baseline or a local folder.
        card: what its user says of the model.
        of_emotions: whether the labels are known to be emotions.
        widget: sentences to try the model with, and their titles.
    """
    hub_dataset, known = dataset["hub_id"], is_known(dataset)
    licence = LICENCES.get(base_model or "") if is_encoder else "apache-2.0"
    languages = card.language or (["en"] if known else None)
    tags = (["emotion"] if of_emotions else []) + ["multi-label-classification"]
    return ModelCardData(
        language=languages[0] if languages and len(languages) == 1 else languages,
        license=card.license or (licence if known else None),
        library_name="transformers" if is_encoder else "sklearn",
        pipeline_tag="text-classification",
        tags=[*tags, *(["go_emotions"] if hub_dataset == HUB_DATASET else [])],
        datasets=[hub_dataset] if hub_dataset else None,
        base_model=base_model,
        metrics=["f1"],
        widget=[dict(example) for example in widget] or None,
        inference={"parameters": {"top_k": 5}} if is_encoder else None,
    )


def run_metadata(run: RunFolder) -> ModelCardData:
    """`card_metadata` of a finished run, with its scores as a model-index."""
    record, results, thresholds = run.read(RUN_FILE), run.read(RESULTS_FILE), run.read(THRESHOLDS_FILE)
    strategy, dataset = thresholds["strategy"], record["dataset"]
    hub_dataset, split = dataset["hub_id"], _reported_split(results)
    names = {"demo": "demonstration corpus", HUB_DATASET: "GoEmotions"}
    of_emotions = _of_emotions(record, list(thresholds["thresholds"]))
    base_model, said = record.get("base_model"), _card_arguments(record)
    metadata = card_metadata(dataset, base_model, run.is_encoder, said, of_emotions, examples(record))
    metadata.model_name = run.path.resolve().name
    metadata.eval_results = [
        EvalResult(
            task_type="text-classification",
            task_name=f"Multi-label {'emotion' if of_emotions else 'text'} classification",
            dataset_type=hub_dataset or "custom",
            dataset_name=names.get(hub_dataset or dataset["name"], hub_dataset or "custom"),
            dataset_config=record["arguments"].get("dataset_config_name") if hub_dataset else None,
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


def write_card(run: RunFolder, repo_id: str | None = None) -> None:
    """Render model_card.md into the run's README.md, from run.json, all_results.json and the tables beside them.

    A baseline that lies beside `run` and was trained and scored on the same rows is shown for comparison.

    Args:
        repo_id: where the card's examples find the model; until it is published, the name of its folder.
    """
    record, results, thresholds = run.read(RUN_FILE), run.read(RESULTS_FILE), run.read(THRESHOLDS_FILE)
    dataset, split = record["dataset"], _reported_split(results)
    base_model, is_encoder = record.get("base_model"), run.is_encoder
    by_hand = thresholds.get("set_by_hand", {})
    places = {"demo": "a hand-written demonstration corpus", HUB_DATASET: "GoEmotions"}
    labels, example = list(thresholds["thresholds"]), examples(record)[0]["text"]
    of_emotions = _of_emotions(record, labels)
    comment = "comment" if of_emotions else "text"
    kind = _short_name(run, base_model) if is_encoder else "TF-IDF baseline"
    unfitted = [name for name, count in thresholds.get("positives", {}).items() if not count]
    said = (
        "; by hand " + ", ".join(f"{_markdown(label)} {value}" for label, value in by_hand.items()) if by_hand else ""
    )
    context = {
        "metadata": run_metadata(run).to_yaml(),
        "title": _card_arguments(record).card_title
        or f"{'Emotions in comments' if of_emotions else 'Labels for texts'}: {kind}",
        "dataset": places.get(dataset["hub_id"] or dataset["name"], dataset["hub_id"] or "a dataset of its own"),
        "is_demo": dataset["name"] == "demo",
        "is_goemotions": dataset["hub_id"] == HUB_DATASET,
        "is_known": is_known(dataset),
        "of_emotions": of_emotions,
        "comment": comment,
        "is_encoder": is_encoder,
        "is_folded": thresholds["folded"],
        "base_model": base_model,
        "place": repo_id or run.path.resolve().name,
        "example": json.dumps(example, ensure_ascii=False),  # as Python and JavaScript write it, too
        "example_in_shell": _in_shell(example),
        "example_output": pformat(record["example"], sort_dicts=False, width=100)
        if is_encoder
        else json.dumps(record["example"], ensure_ascii=False),
        "decision": f"0.5: validation has no positive to fit one on{said}"
        if len(unfitted) == len(labels)
        else f"strategy {thresholds['strategy']}, fitted for {SCORES[thresholds['metric']]} on validation{said}",
        "by_hand": [shlex.quote(f"{label}={value}") for label, value in by_hand.items()],
        "labels": [_markdown(label) for label in labels],
        "label_count": f"{len(labels):,}",
        "shown": SHOWN,
        "unfitted": len(unfitted),
        "is_fixed": thresholds["strategy"] == "fixed",
        "split": "test" if split == "test" else "validation",
        "rows": {name: f"{count:,}" for name, count in dataset["rows"].items()},
        "scores_table": _scores_table(run, results, split),
        "strategies_table": _strategies_table(run, split),
        "per_label_table": _per_label_table(run),
        "plots": {name: title for name, title in PLOTS.items() if (run.path / "plots" / f"{name}.png").is_file()},
        "onnx": run.read(EXPORT_FILE) if (run.path / EXPORT_FILE).is_file() else None,
        "script": "run_finetune.py" if is_encoder else "run_baseline.py",
        "recipe": yaml.safe_dump(_recipe(record), sort_keys=False, width=200, allow_unicode=True).strip(),
        "minutes": f"{results['train_runtime'] / 60:.1f}" if is_encoder else None,
        "layout": record["hardware"].get("layout", "").rstrip(".").replace("comments", f"{comment}s"),
        "seed": record["seed"],
        "packages": ", ".join(
            f"{name} {record['packages'][name]}" for name in ("transformers", "torch", "scikit-learn")
        ),
    }
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(context)
    write_text(run.path / CARD_FILE, _refill(text))


def _refill(text: str) -> str:
    """Wrap the paragraphs again, now that the figures stand in them; code, tables, lists and headings stay."""
    parts = re.split(r"(^---$.*?^---$|^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    for index in range(0, len(parts), 2):
        blocks = parts[index].split("\n\n")
        blocks = [textwrap.fill(b, 118, break_long_words=False) if re.match(r"\s*[\w*`\[]", b) else b for b in blocks]
        parts[index] = "\n\n".join(block.strip("\n") for block in blocks if block.strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def _card_arguments(record: Mapping[str, Any]) -> CardArguments:
    """What the user said of the model when it was trained."""
    return CardArguments(
        **{item.name: record["arguments"].get(item.name) for item in dataclasses.fields(CardArguments)}
    )


def _of_emotions(record: Mapping[str, Any], labels: Sequence[str]) -> bool:
    """Whether the labels are GoEmotions' 28, or its groups."""
    taxonomy = record["arguments"].get("taxonomy")
    return is_known(record["dataset"]) or bool(taxonomy) or set(labels) == set(GO_EMOTIONS)


def _in_shell(text: str) -> str:
    """A text as an argument of a command: in double quotes where nothing in it means anything to the shell there."""
    return shlex.quote(text) if re.search(r'["$`\\]|!(?=\S)', text) else f'"{text}"'


def _markdown(label: str) -> str:
    """A label as Markdown shows it: none of its signs means anything there, and none ends the cell of a table."""
    escaped = re.sub(r"[\\`*\[\]<|$~]|&(?=#?\w+;)", r"\\\g<0>", on_one_line(label))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)


def _reported_split(results: dict[str, float]) -> str:
    return "test" if "test_f1_micro" in results else "eval"


def _short_name(run: RunFolder, base_model: str | None) -> str:
    return (base_model or run.path.resolve().name).split("/")[-1]


def _recipe(record: dict[str, Any]) -> dict[str, Any]:
    """The arguments that differ from their defaults, as the flat YAML that `--config` takes; local folders by name."""
    defaults = {
        item.name: item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        for kind in (DataArguments, ModelArguments, ThresholdArguments, CardArguments, FinetuneArguments)
        for item in dataclasses.fields(kind)
    }
    arguments, dataset = current_arguments(record), record["dataset"]
    recipe = {"dataset_name": dataset["hub_id"] or Path(arguments["dataset_name"]).name}
    skipped_here = () if dataset["hub_id"] or is_known(dataset) else ("dataset_config_name",)  # a file has none
    for key, value in arguments.items():
        default = getattr(defaults.get(key), "value", defaults.get(key))  # of an enumeration, its value
        skipped = key in recipe or key in (*_NOT_RECIPE, *skipped_here) or key.startswith(("hub_", "push_"))
        if not (skipped or value is None or str(value) == str(default)):
            recipe[key] = [_public(item) for item in value] if isinstance(value, list) else _public(value)
    return recipe


def _public(value: Any) -> Any:
    """An argument's value; of a local folder or file, its name alone."""
    return Path(value).name if isinstance(value, str) and os.path.exists(value) else value


def _scores_table(run: RunFolder, results: dict[str, float], split: str) -> str:
    """The published scores with their intervals; beside them those of a baseline on the same rows, if there is one."""
    baseline = _baseline_beside(run)
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


def _baseline_beside(run: RunFolder) -> dict[str, float] | None:
    """Results of a baseline in a neighbouring folder that was trained and scored on exactly the same rows."""
    own, folder = run.read(RUN_FILE), run.path.resolve()
    for path in sorted(folder.parent.glob(f"*/{BASELINE_FILE}")):
        neighbour = RunFolder(path.parent)
        if path.parent == folder or not all((path.parent / name).is_file() for name in (RUN_FILE, RESULTS_FILE)):
            continue
        other = neighbour.read(RUN_FILE)
        same_subset = own["seed"] == other["seed"] or not any(
            own["arguments"].get(key) for key in ("max_train_samples", "max_eval_samples")
        )
        if own["dataset"] | {"name": ""} == other["dataset"] | {"name": ""} and same_subset:
            return neighbour.read(RESULTS_FILE)
    return None


def _strategies_table(run: RunFolder, split: str) -> str:
    rows = read_csv(run.path / STRATEGIES_FILE)
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


def _per_label_table(run: RunFolder) -> str:
    """Scores of the labels; of the `SHOWN` that most rows carry, where there are more."""
    columns = ("precision", "recall", "f1", "threshold", "average_precision")
    rows = read_csv(run.path / PER_LABEL_FILE)
    frequent = sorted(range(len(rows)), key=lambda index: -int(rows[index]["support"]))[:SHOWN]
    lines = [
        [
            _markdown(row["label"]),
            row["support"],
            *(f"{float(row[column]):.3f}" if row[column] else "–" for column in columns),
        ]
        for row in (rows[index] for index in sorted(frequent))
    ]
    return markdown_table(["label", "support", "precision", "recall", "F1", "threshold", "average precision"], lines)
