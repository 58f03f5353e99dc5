"""The model card of a run, rendered from the run's own files and nothing else."""

import dataclasses
import json
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

import numpy as np
import yaml
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined
from transformers import TrainingArguments

from utils.arguments import (
    DECISIVE,
    HUB_DATASET,
    CardArguments,
    DataArguments,
    FinetuneArguments,
    ModelArguments,
    ThresholdArguments,
)
from utils.console import left_out
from utils.data.corrections import changes_in
from utils.data.labels import GO_EMOTIONS, find_neutral, on_one_line
from utils.evaluation.decision import current_arguments, how_it_decides, is_moved_by_folding
from utils.evaluation.thresholds import beside_others
from utils.lines import markdown_table
from utils.publishing.example import examples, is_known
from utils.run_folder import (
    BASELINE_FILE,
    CARD_FILE,
    CONFIG_FILE,
    EXPORT_FILE,
    FINGERPRINT,
    PER_LABEL_FILE,
    RESULTS_FILE,
    RUN_FILE,
    STRATEGIES_FILE,
    THRESHOLDS_FILE,
    WORDS_FILE,
    RunFolder,
    read_csv,
    write_json,
    write_text,
)

TEMPLATE = Path(__file__).resolve().parents[2] / "model_card.md"
PLOTS = {
    "per_label_f1": "F1 by label, with 95 % intervals",
    "threshold_curves": "F1 by threshold on validation",
    "reliability": "Reliability: share of positives by probability, with counts",
    "cooccurrence": "Labels that occur together, gold and predicted",
    "training_curves": "Training curves",
}
SCORES = {"f1_micro": "micro-F1", "f1_macro": "macro-F1", "average_precision_macro": "mAP"}
SHOWN = 40  # labels in the table of labels
EXTREMES, ENOUGH = 3, 3  # labels that are called best and worst known, and rows below which none is
CONFUSIONS_FILE = "confusions.csv"
# Licences of the encoders that the recipes name, as their cards state them; that of another model is not guessed.
LICENCES = {
    "bert-base-uncased": "apache-2.0",
    "roberta-base": "mit",
    "answerdotai/ModernBERT-base": "apache-2.0",
    "sentence-transformers/all-MiniLM-L6-v2": "apache-2.0",
    "sentence-transformers/all-mpnet-base-v2": "apache-2.0",
}
# Of TrainingArguments and the baseline's, those that a card's recipe holds: what is learned, and for how long.
_OF_RECIPE = (
    *DECISIVE, "num_train_epochs", "max_steps", "per_device_train_batch_size", "per_device_eval_batch_size",
    "gradient_accumulation_steps", "eval_strategy", "eval_steps", "eval_delay", "save_strategy", "save_steps",
    "logging_strategy", "logging_steps", "load_best_model_at_end", "max_features",
)  # fmt: skip
_FOLLOWS = ("greater_is_better",)  # from other arguments


def card_metadata(
    dataset: Mapping[str, Any],
    base_model: str | None,
    is_encoder: bool,
    card: CardArguments,
    of_emotions: bool = False,
    widget: Sequence[Mapping[str, str]] = (),
    fingerprint: str | None = None,
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
        fingerprint: of the run, see `RunFolder.write_run_json`.
    """
    hub_dataset, known = dataset["hub_id"], is_known(dataset)
    licence = LICENCES.get(base_model or "") if is_encoder else "apache-2.0"
    languages = card.language or (["en"] if known else None)
    tags = (["emotion"] if of_emotions else []) + ["multi-label-classification"]
    metadata = ModelCardData(
        language=languages[0] if languages and len(languages) == 1 else languages,
        license=card.license or (licence if known else None),
        library_name="transformers" if is_encoder else "sklearn",
        pipeline_tag="text-classification",
        tags=[*tags, *(["go_emotions"] if hub_dataset == HUB_DATASET else []), *([] if is_encoder else ["skops"])],
        datasets=[hub_dataset] if hub_dataset else None,
        base_model=base_model,
        metrics=["f1"],
        widget=[dict(example) for example in widget] or None,
        inference={"parameters": {"top_k": 5}} if is_encoder else None,
    )
    if fingerprint:
        metadata[FINGERPRINT] = fingerprint
    return metadata


def run_metadata(run: RunFolder) -> ModelCardData:
    """`card_metadata` of a finished run, with its scores as a model-index."""
    record, results, thresholds = run.read(RUN_FILE), run.read(RESULTS_FILE), run.read(THRESHOLDS_FILE)
    strategy, dataset = thresholds["strategy"], record["dataset"]
    hub_dataset, split = dataset["hub_id"], reported_split(results)
    names = {"demo": "demonstration corpus", HUB_DATASET: "GoEmotions"}
    of_emotions = is_of_emotions(record, list(thresholds["thresholds"]))
    base_model, said = record.get("base_model"), _card_arguments(record)
    scored_on = names.get(hub_dataset or dataset["name"], hub_dataset or "custom")
    if any(changes_in(entry, "test" if split == "test" else "validation") for entry in dataset.get("corrections", ())):
        scored_on += ", labels corrected"
    metadata = card_metadata(
        dataset, base_model, run.is_encoder, said, of_emotions, examples(record), record.get(FINGERPRINT)
    )
    metadata.model_name = on_one_line(run.path.resolve().name)
    metadata.eval_results = [
        EvalResult(
            task_type="text-classification",
            task_name=f"Multi-label {'emotion' if of_emotions else 'text'} classification",
            dataset_type=hub_dataset or "custom",
            dataset_name=scored_on,
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


def write_card(run: RunFolder, repo_id: str | None = None, space_id: str | None = None) -> None:
    """Render model_card.md into the run's README.md, from run.json, all_results.json and the tables beside them.

    With a baseline's card goes its config.json, which the Hub reads as well. A baseline that lies beside `run` and was
    trained and scored on the same rows is shown for comparison.

    Args:
        repo_id: where the card's examples find the model; until it is published, the name of its folder.
        space_id: where its demo is on the Hub; None: it has none.
    """
    record, results, thresholds = run.read(RUN_FILE), run.read(RESULTS_FILE), run.read(THRESHOLDS_FILE)
    dataset, split = record["dataset"], reported_split(results)
    base_model, is_encoder = record.get("base_model"), run.is_encoder
    by_hand = thresholds.get("set_by_hand", {})
    places = {"demo": "a hand-written demonstration corpus", HUB_DATASET: "GoEmotions"}
    labels, example = list(thresholds["thresholds"]), next((item["text"] for item in examples(record)), None)
    of_emotions = is_of_emotions(record, labels)
    comment = "comment" if of_emotions else "text"
    unfitted = [name for name, count in thresholds.get("positives", {}).items() if not count]
    place = repo_id or on_one_line(run.path.resolve().name)
    said = (
        "; by hand " + ", ".join(f"{_markdown(label)} {value}" for label, value in by_hand.items()) if by_hand else ""
    )
    context = {
        "metadata": run_metadata(run).to_yaml(),
        "title": _markdown(run_title(run)),
        "space_id": space_id,
        "answer": _answer(record, thresholds),
        "sure": _sureness(results, split),
        "extremes": _extremes(run),
        "confused": _most_confused(run),
        "neutral": _beside_neutral(run, "test" if split == "test" else "validation", thresholds["thresholds"]),
        "dataset": places.get(dataset["hub_id"] or dataset["name"], dataset["hub_id"] or "a dataset of its own"),
        "corrections": _corrections(dataset, comment),
        "is_demo": dataset["name"] == "demo",
        "is_goemotions": dataset["hub_id"] == HUB_DATASET,
        "is_known": is_known(dataset),
        "of_emotions": of_emotions,
        "comment": comment,
        "is_encoder": is_encoder,
        "is_folded": thresholds["folded"],
        "base_model": base_model,
        "place": _in_code(place),
        "place_in_shell": shlex.quote(place),
        "example": example and _in_code(example),
        "example_in_shell": example and _in_shell(example),
        "example_output": pformat(record["example"], sort_dicts=False, width=100)
        if is_encoder
        else _in_code(record["example"]),
        "decision": f"0.5: validation has no positive to fit one on{said}"
        if len(unfitted) == len(labels)
        else f"strategy {thresholds['strategy']}, fitted for {SCORES[thresholds['metric']]} on validation{said}",
        "by_hand": [_quoted(f"{label}={value}") for label, value in by_hand.items()],
        "labels": [_markdown(label) for label in labels],
        "label_count": f"{len(labels):,}",
        "shown": SHOWN,
        "unfitted": len(unfitted),
        "is_fixed": thresholds["strategy"] == "fixed",
        "pictured": how_it_decides(thresholds),
        "is_moved": is_moved_by_folding(thresholds),
        "raw_scores_request": example and _in_shell_json({"inputs": example, "truncate": True, "raw_scores": True}),
        "split": "test" if split == "test" else "validation",
        "rows": {name: f"{count:,}" for name, count in dataset["rows"].items()},
        "unlabelled": f"{dataset['unlabelled']:,}" if "unlabelled" in dataset else None,
        "scores_table": _scores_table(run, results, split),
        "strategies_table": _strategies_table(run, split),
        "per_label_table": _per_label_table(run),
        "plots": {name: title for name, title in PLOTS.items() if (run.path / "plots" / f"{name}.png").is_file()},
        "onnx": _onnx_figures(run),
        "words": _words(run),
        "script": "run_finetune.py" if is_encoder else "run_baseline.py",
        "recipe": yaml.dump(
            _recipe(record), Dumper=_LinesInQuotes, sort_keys=False, width=10**6, allow_unicode=True
        ).strip(),
        "minutes": f"{results['train_runtime'] / 60:.1f}" if is_encoder else None,
        "layout": record["hardware"].get("layout", "").rstrip(".").replace("comments", f"{comment}s"),
        "seed": record["seed"],
        "packages": ", ".join(
            f"{name} {record['packages'][name]}" for name in ("transformers", "torch", "scikit-learn")
        ),
    }
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(context)
    if not is_encoder:
        write_json(run.path / CONFIG_FILE, skops_config(record))
    write_text(run.path / CARD_FILE, _refill(text))


def _answer(record: Mapping[str, Any], thresholds: Mapping[str, Any]) -> dict[str, str] | None:
    """What the model decides about the first example, of the labels that run.json has for it; None without one."""
    stored, chosen = record.get("example"), examples(record)
    if not stored or not chosen:
        return None
    scores = (
        dict(zip(stored["labels"], stored["scores"], strict=True))
        if isinstance(stored, dict)
        else {item["label"]: item["score"] for item in stored}
    )
    if thresholds["folded"]:
        named = [f"{_markdown(label)} ({score:.2f})" for label, score in scores.items() if score >= 0.5]
    else:  # a probability says little without its threshold
        named = [_markdown(label) for label, score in scores.items() if score >= thresholds["thresholds"].get(label, 1)]
    return {"text": _markdown(chosen[0]["text"]), "labels": ", ".join(named) or "none of its labels"}


def _sureness(results: Mapping[str, float], split: str) -> dict[str, str]:
    """The scores that the card begins with, as a reader without the terms needs them."""
    said = {name: f"{100 * results[f'{split}_{name}_micro']:.0f} %" for name in ("precision", "recall")}
    for key in ("f1_micro", "f1_macro"):
        low, high = results.get(f"{split}_{key}_ci_low"), results.get(f"{split}_{key}_ci_high")
        interval = f" (95 % interval {low:.3f} to {high:.3f})" if low is not None and high is not None else ""
        said[key] = f"{results[f'{split}_{key}']:.3f}{interval}"
    return said


def _extremes(run: RunFolder) -> dict[str, str] | None:
    """The labels with the highest and lowest F1, of those in `ENOUGH` rows or more; None where these are too few."""
    rows = [row for row in read_csv(run.path / PER_LABEL_FILE) if int(row["support"]) >= ENOUGH and row["f1"]]
    rows.sort(key=lambda row: -float(row["f1"]))
    if len(rows) < 2 * EXTREMES:
        return None
    named = [f"{_markdown(row['label'])} ({float(row['f1']):.2f})" for row in rows]
    best, worst = named[:EXTREMES], named[: -EXTREMES - 1 : -1]
    return {name: f"{', '.join(part[:-1])} and {part[-1]}" for name, part in (("best", best), ("worst", worst))}


def _most_confused(run: RunFolder) -> dict[str, str] | None:
    """Which label is missed most often where another is given; None where that never happens."""
    path = run.path / CONFUSIONS_FILE
    pairs = read_csv(path) if path.is_file() else []
    if not pairs:
        return None
    return {name: _markdown(pairs[0][name]) for name in ("gold", "predicted")} | {"rows": f"{int(pairs[0]['rows']):,}"}


def _beside_neutral(run: RunFolder, split: str, thresholds: Mapping[str, float]) -> dict[str, str] | None:
    """In what share of a split's rows the label neutral stands beside another, as people have it and as the model does.

    None where no label is called so, or it never happens.
    """
    with left_out("what the card says of neutral beside other labels"):
        label = find_neutral(list(thresholds))
        if label is None or not run.has_predictions(split):
            return None
        names, (_, gold, probabilities) = run.read_predictions(split)
        label, cuts = names.index(list(thresholds)[label]), np.array([thresholds[name] for name in names])
        counts = [beside_others(label, *of).sum() for of in ((gold, np.full(len(names), 0.5)), (probabilities, cuts))]
        if any(counts):
            by_people, by_model = (f"{100 * count / len(gold):.1f} %" for count in counts)
            return {"label": _markdown(names[label]), "by_people": by_people, "by_model": by_model}
    return None


def skops_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the Hub reads of a model of the library sklearn with the tag skops, as skops' own hub_utils wrote it.

    "Use this model" names the file after it (model-libraries-snippets.ts in huggingface.js).

    Args:
        record: run.json.
    """
    versions = record["packages"]
    return {
        "sklearn": {
            "environment": [f"{package}={versions[package]}" for package in ("scikit-learn", "skops")],
            "example_input": {"data": [example["text"] for example in examples(record)]},
            "model": {"file": BASELINE_FILE},
            "model_format": "skops",
            "task": "text-classification",
        }
    }


def run_title(run: RunFolder) -> str:
    """What the user calls the model, or what it does and is made from."""
    record = run.read(RUN_FILE)
    of_emotions = is_of_emotions(record, list(run.read(THRESHOLDS_FILE)["thresholds"]))
    kind = _short_name(run, record.get("base_model")) if run.is_encoder else "TF-IDF baseline"
    what = "Emotions in comments" if of_emotions else "Labels for texts"
    return _card_arguments(record).card_title or f"{what}: {kind}"


def _refill(text: str) -> str:
    """Wrap the paragraphs again, now that the figures stand in them; code, tables, lists and headings stay."""
    parts = re.split(r"(^---$.*?^---$|^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    for index in range(0, len(parts), 2):
        blocks = parts[index].split("\n\n")
        blocks = [_filled(b.strip()) if re.match(r"\s*[\w*`\[]", b) else b for b in blocks]
        parts[index] = "\n\n".join(block.strip("\n") for block in blocks if block.strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, 118, break_long_words=False, break_on_hyphens=False)


def _onnx_figures(run: RunFolder) -> dict[str, float] | None:
    with left_out("what the card says of the ONNX files"):
        return run.read(EXPORT_FILE) if (run.path / EXPORT_FILE).is_file() else None
    return None


def _words(run: RunFolder) -> dict[str, Any] | None:
    """What moves the labels, for the card's template; None for a run without it."""
    if not (run.path / WORDS_FILE).is_file():
        return None
    with left_out("what the card says of words"):
        stored = run.read(WORDS_FILE)
        example = stored["example"]
        strongest = stored["labels"]
        table = ["| label | words that move it most |", "|---|---|"]
        table += [f"| {_markdown(label)} | {_list_of(words, ', ') or '–'} |" for label, words in strongest.items()]
        return {
            "texts": f"{stored['texts']:,}",
            "is_linear": stored["method"] == "coefficients",
            "example": example and _explained(example),
            "labels": len(strongest),
            "table": "\n".join(table),
        }
    return None


def _explained(example: Mapping[str, Any]) -> dict[str, str]:
    """One text's words, in its order, with what each contributed, and the sum."""
    words = example["words"]
    figures = [example["without_words"], sum(item["contribution"] for item in words)]
    figures += [example["together"]] if example["together"] else []  # a linear model's words do nothing together
    return {
        "label": _markdown(example["label"]),
        "words": _list_of(words[:SHOWN], " · ") + (" · …" if len(words) > SHOWN else ""),
        "sum": " ".join(map(_signed, figures)),
        "log_odds": _signed(example["log_odds"]),
    }


def _list_of(words: Sequence[Mapping[str, Any]], between: str) -> str:
    return between.join(f"{_markdown(item['word'])} {_signed(item['contribution'])}" for item in words)


def _signed(figure: float) -> str:
    return f"{figure:+.2f}".replace("-", "−")


def _corrections(dataset: Mapping[str, Any], comment: str) -> str:
    """Which labels of the dataset were corrected before training; nothing where none were."""
    files = []
    for entry in dataset.get("corrections", ()):
        parts = [
            f"{counts['corrected']:,} {name} {comment}{'' if counts['corrected'] == 1 else 's'} "
            f"({counts['removed']:,} removed, {counts['added']:,} added)"
            for split, name in (("train", "training"), ("validation", "validation"))
            if (counts := changes_in(entry, split))
        ]
        files += [f"of {' and '.join(parts)}, as {_markdown(entry['file'])} says"] if parts else []
    return "; then ".join(files)


def _card_arguments(record: Mapping[str, Any]) -> CardArguments:
    """What the user said of the model when it was trained."""
    return CardArguments(
        **{item.name: record["arguments"].get(item.name) for item in dataclasses.fields(CardArguments)}
    )


def is_of_emotions(record: Mapping[str, Any], labels: Sequence[str]) -> bool:
    """Whether the labels are GoEmotions' 28, or its groups."""
    taxonomy = record["arguments"].get("taxonomy")
    return is_known(record["dataset"]) or bool(taxonomy) or set(labels) == set(GO_EMOTIONS)


def _in_shell(text: str) -> str:
    """A text as an argument of a command: in double quotes where nothing in it means anything to the shell there."""
    return _quoted(text) if re.search(r'["$`\\]|!(?=\S)', text) or on_one_line(text) != text else f'"{text}"'


def _quoted(text: str) -> str:
    """`shlex.quote`, with what does not stand on one line written out, as bash reads it."""
    if on_one_line(text) == text:
        return shlex.quote(text)
    signs = (f"\\U{ord(sign):08x}" if on_one_line(sign) != sign or sign in "'\\" else sign for sign in text)
    return f"$'{''.join(signs)}'"


def _in_shell_json(value: Any) -> str:
    """An object as JSON, as an argument of a command."""
    return "'" + _in_code(value).replace("'", "\\u0027") + "'"


def _in_code(value: Any) -> str:
    """A text, or an object of texts, as Python, JavaScript and JSON all write it, without signs that cannot be seen."""
    written = json.dumps(value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in written)


# What Markdown, and the Hub's of it, acts upon: anywhere in a text; where a line may begin; in what it makes links of.
_SIGNS = re.compile(
    r"[\\`*\[\]<|$~@]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])"
    r"|(?<!\S)[#>+=-]|(?<=\d)[.)](?!\S)|:(?=//)|(?<=www)\.",
    re.IGNORECASE,
)


def _markdown(text: str) -> str:
    """A label or a title as Markdown shows it: none of its signs means anything there, or ends the cell of a table."""
    return _SIGNS.sub(r"\\\g<0>", on_one_line(text))


def reported_split(results: dict[str, float]) -> str:
    return "test" if "test_f1_micro" in results else "eval"


def _short_name(run: RunFolder, base_model: str | None) -> str:
    return (base_model or run.path.resolve().name).split("/")[-1]


def _recipe(record: dict[str, Any]) -> dict[str, Any]:
    """The arguments that differ from their defaults, as the flat YAML that `--config` takes; local folders by name.

    What is a folder was noted when the run started, see `utils.arguments.shown_names`. Of a run without that note the
    names are shortened, whatever they are.
    """
    trainers = {item.name for item in dataclasses.fields(TrainingArguments)}
    kinds = (DataArguments, ModelArguments, ThresholdArguments, CardArguments, FinetuneArguments)
    own = [(kind, item) for kind in kinds for item in dataclasses.fields(kind) if item.init]
    defaults = {
        item.name: item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        for _, item in own
    }
    mine = {item.name for kind, item in own if kind is not FinetuneArguments or item.name not in trainers}
    shown_always = {*_OF_RECIPE, *mine} - set(_FOLLOWS)
    arguments, dataset = current_arguments(record), record["dataset"]
    shown = record.get("shown", {})
    if "shown" not in record and FINGERPRINT not in record:  # made by an earlier version
        shown = {name: Path(str(arguments.get(name))).name for name in ("model_name_or_path", "label_names")
                 if arguments.get(name) not in (None, record.get("base_model"))}  # fmt: skip
        shown["teacher"] = [Path(name).name for name in arguments.get("teacher") or []] or None
    recipe = {"dataset_name": dataset["hub_id"] or Path(arguments["dataset_name"]).name}
    skipped_here = () if dataset["hub_id"] or is_known(dataset) else ("dataset_config_name",)  # a file has none
    for key, value in (arguments | shown).items():
        default = getattr(defaults.get(key), "value", defaults.get(key))  # of an enumeration, its value
        skipped = key in recipe or key in skipped_here or key not in shown_always
        if not (skipped or value is None or str(value) == str(default)):
            recipe[key] = value
    return recipe


class _LinesInQuotes(yaml.SafeDumper):
    """YAML that nothing in a value ends: text with line ends or backticks stands in double quotes, on one line."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = text.isprintable() and "`" not in text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_LinesInQuotes.add_representer(str, _represent_text)


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
    """Scores of a baseline in a neighbouring folder that was trained and scored on exactly the same rows."""
    own, folder = run.read(RUN_FILE), run.path.resolve()
    for path in sorted(folder.parent.glob(f"*/{BASELINE_FILE}")):
        if path.parent == folder:
            continue
        with left_out(f"the comparison with {on_one_line(path.parent.name)} in the card"):
            neighbour = RunFolder(path.parent)
            if not all((path.parent / name).is_file() for name in (RUN_FILE, RESULTS_FILE)):
                continue
            other = neighbour.read(RUN_FILE)
            same_subset = own["seed"] == other["seed"] or not any(
                own["arguments"].get(key) for key in ("max_train_samples", "max_eval_samples")
            )
            if own["dataset"] | {"name": ""} == other["dataset"] | {"name": ""} and same_subset:
                return {key: float(value) for key, value in neighbour.read(RESULTS_FILE).items()}
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
