"""What pays? One ingredient at a time against the plain recipe, trained on train and scored on validation alone.

    python -m benchmarks.quality_study --list
    python -m benchmarks.quality_study --variants plain rate_1e-4 --seeds 42 43 --rows 10000
    python -m benchmarks.quality_study --score plain outputs/minilm    # what a finished run is on the study's scale

Each run appends one line to the results file, and one more for each running average of its weights (`+ema_…`); runs
that stand there already are passed over, so that a study that was killed goes on with the same command. Validation
scores are those of unseen rows: thresholds are fitted on one half of it and scored on the other, 20 times; for a recipe
with max_eval_samples, they are fitted on so many rows, drawn 20 times. The test split is not even read. Minutes count
the work of all cores together. Probabilities of validation are kept in --folder.

    python -m benchmarks.quality_study --table            # the results file as tables, with differences
"""

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from datasets import Dataset, DatasetDict, concatenate_datasets
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import TrainerCallback, set_seed

from benchmarks.further_pretraining import pretrain
from utils.arguments import (
    HUB_DATASET,
    DataArguments,
    FinetuneArguments,
    ModelArguments,
    OutputArguments,
    ThresholdArguments,
    parse_arguments,
)
from utils.console import InputError, one_sentence_errors
from utils.data.descriptions import read_descriptions
from utils.data.encoding import encode
from utils.data.labels import TAXONOMIES, grouping_matrix, multi_hot
from utils.data.splits import label_names, load_splits, stratified_subset
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, fit_thresholds, micro_and_macro_f1
from utils.model.classifiers import load_encoder
from utils.model.descriptions import SPREAD, start_from_descriptions
from utils.model.folding import unfold_thresholds
from utils.model.head import init_head_bias, label_list, output_layer, start_pooler_as_identity
from utils.model.loading import load_model, load_tokenizer, resolve_model
from utils.model.pooling import pool_by_mean
from utils.run_folder import RESULTS_FILE, RUN_FILE, RunFolder
from utils.training.losses import multilabel_loss
from utils.training.progress import TrainingTable
from utils.training.trainer import EmotionTrainer

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "quality_study.jsonl"
BEFORE = {"minilm": {"num_train_epochs": 3, "learning_rate": 2e-4}}  # what recipes had before the study changed them
EMA_EVERY = 10  # steps between updates of the running averages


# --- ingredients ----------------------------------------------------------------------------------------------------


def normalised(total: torch.Tensor, labels: torch.Tensor, num_items: torch.Tensor | int | None) -> torch.Tensor:
    return total / (labels.numel() if num_items is None else num_items)


def focal_loss(outputs, labels, num_items_in_batch=None):
    """Lin et al. 2017, gamma 2, doubled so that its scale is nearer to cross-entropy's."""
    logits = outputs.logits.float()
    entropy = binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return normalised((2 * (labels - logits.sigmoid()).abs() ** 2 * entropy).sum(), labels, num_items_in_batch)


def asymmetric_loss(outputs, labels, num_items_in_batch=None):
    """Ridnik et al. 2021: gamma+ 0, gamma− 2, probabilities of negatives shifted by 0.05."""
    logits = outputs.logits.float()
    p = logits.sigmoid()
    shifted = (p - 0.05).clamp(min=0)
    loss = -labels * logsigmoid(logits) - (1 - labels) * shifted**2 * torch.log((1 - shifted).clamp(min=1e-8))
    return normalised(loss.sum(), labels, num_items_in_batch)


def set_dropout(p: float) -> Callable[[nn.Module], None]:
    def prepare(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = p

    return prepare


def head_dropout(p: float) -> Callable[[nn.Module], None]:
    def prepare(model: nn.Module) -> None:
        model.dropout.p = p

    return prepare


def zero_classifier(model: nn.Module) -> None:
    nn.init.zeros_(output_layer(model).weight)


def zero_bias(model: nn.Module) -> None:
    nn.init.zeros_(output_layer(model).bias)


def identity_dense(model: nn.Module) -> None:
    """RoBERTa, MPNet: the classifier's own dense layer starts as the identity, as an opened pooler does."""
    nn.init.eye_(model.classifier.dense.weight)


def freeze_embeddings(model: nn.Module) -> None:
    model.base_model.embeddings.requires_grad_(False)


@dataclass(frozen=True)
class Variant:
    """What differs from the plain recipe.

    `arguments` are run_finetune.py's; `smoothing` moves each target that far towards its label's frequency;
    `layer_decay` multiplies the rate once a layer from the top down; `pooler_as_head` gives an untrained pooler the
    head's rate; `pos_weight` is an exponent of the inverse label frequency; `mlm_epochs` of masked-language training on
    all training comments come first; `described` says what the classifier starts from, `go_emotions`, `names` or
    `other names` (each label has the next one's), and `spread` how far its logits then differ; `groups` weighs the loss
    of a second output layer, thrown away afterwards, that tells the emotions' groups; `demo_rows` adds the demo corpus'
    training rows to train.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    loss: Callable = multilabel_loss
    prepare: tuple[Callable[[nn.Module], None], ...] = ()
    smoothing: float = 0.0
    layer_decay: float | None = None
    pooler_as_head: bool = False
    pos_weight: float = 0.0
    rdrop: float = 0.0
    mlm_epochs: int = 0
    described: str = ""
    spread: float = SPREAD
    groups: float = 0.0
    demo_rows: bool = False


VARIANTS = {
    "plain": Variant(),
    "open": Variant(prepare=(start_pooler_as_identity,), pooler_as_head=True),
    "pooler_head_rate": Variant(pooler_as_head=True),
    "rate_5e-5": Variant({"learning_rate": 5e-5}),
    "rate_7e-5": Variant({"learning_rate": 7e-5}),
    "rate_1e-4": Variant({"learning_rate": 1e-4}),
    "rate_1.5e-4": Variant({"learning_rate": 1.5e-4}),
    "rate_2e-4": Variant({"learning_rate": 2e-4}),
    "rate_3e-4": Variant({"learning_rate": 3e-4}),
    "head_1e-3": Variant({"head_learning_rate": 1e-3}),
    "head_2e-3": Variant({"head_learning_rate": 2e-3}),
    "head_5e-3": Variant({"head_learning_rate": 5e-3}),
    "head_1e-2": Variant({"head_learning_rate": 1e-2}),
    "batch_16": Variant({"per_device_train_batch_size": 16}),
    "batch_64": Variant({"per_device_train_batch_size": 64}),
    "epochs_2": Variant({"num_train_epochs": 2}),
    "epochs_4": Variant({"num_train_epochs": 4}),
    "epochs_8": Variant({"num_train_epochs": 8}),
    "epochs_16": Variant({"num_train_epochs": 16}),
    "decay_0.1": Variant({"weight_decay": 0.1}),
    "cosine": Variant({"lr_scheduler_type": "cosine"}),
    "constant": Variant({"lr_scheduler_type": "constant_with_warmup"}),
    "no_warmup": Variant({"warmup_steps": 0}),
    "warmup_0.3": Variant({"warmup_steps": 0.3}),
    "layer_decay_0.9": Variant(layer_decay=0.9),
    "layer_decay_0.8": Variant(layer_decay=0.8),
    "dropout_0": Variant(prepare=(set_dropout(0.0),)),
    "dropout_0.2": Variant(prepare=(set_dropout(0.2),)),
    "head_dropout_0.3": Variant(prepare=(head_dropout(0.3),)),
    "identity_dense": Variant(prepare=(identity_dense,)),
    "mean_1": Variant(prepare=(partial(pool_by_mean, share=1.0),)),
    "mean_4": Variant(prepare=(partial(pool_by_mean, share=4.0),)),
    "mean_16": Variant(prepare=(partial(pool_by_mean, share=16.0),)),
    "zero_bias": Variant(prepare=(zero_bias,)),
    "zero_classifier": Variant(prepare=(zero_classifier,)),
    "frozen_embeddings": Variant(prepare=(freeze_embeddings,)),
    "smoothing_0.1": Variant(smoothing=0.1),
    "focal": Variant(loss=focal_loss),
    "asymmetric": Variant(loss=asymmetric_loss),
    "pos_weight_sqrt": Variant(pos_weight=0.5),
    "pos_weight_quarter": Variant(pos_weight=0.25),
    "rdrop_1": Variant(rdrop=1.0),
    "mlm_2": Variant(mlm_epochs=2),
    "groups_0.3": Variant(groups=0.3),
    "described": Variant(described="go_emotions"),
    "described_1": Variant(described="go_emotions", spread=1.0),
    "named": Variant(described="names"),
    "misnamed": Variant(described="other names"),
    "named_0.25": Variant(described="names", spread=0.25),
    "named_1": Variant(described="names", spread=1.0),
    "demo_rows": Variant(demo_rows=True),
}


def combined(name: str) -> Variant:
    """The variant of a name such as `open+focal`: all that its parts differ in.

    Raises:
        InputError: there is no variant of one of these names.
    """
    result = Variant()
    for part in name.split("+"):
        if part not in VARIANTS:
            raise InputError(f"There is no variant {part!r}; accepted, alone or joined by +: {', '.join(VARIANTS)}.")
        variant = VARIANTS[part]
        changed = {
            item.name: getattr(variant, item.name)
            for item in fields(Variant)
            if getattr(variant, item.name) != getattr(Variant(), item.name)
        }
        changed |= {"arguments": result.arguments | variant.arguments, "prepare": result.prepare + variant.prepare}
        result = replace(result, **changed)
    return result


class GroupTargets(nn.Linear):
    """A second output layer beside the classifier's, for the groups of `TAXONOMIES`; it reads what that one reads.

    It starts as the classifier does, its bias at the log-odds of the groups' frequencies.
    """

    def __init__(self, model: nn.Module, gold: np.ndarray):
        names, classifier = label_list(model.config), output_layer(model)
        members = np.concatenate([grouping_matrix(names, taxonomy) for taxonomy in TAXONOMIES], axis=1)
        super().__init__(classifier.in_features, members.shape[1])
        frequency = (gold @ members > 0.5).mean(axis=0).clip(0.5 / len(gold), 1 - 0.5 / len(gold))
        nn.init.normal_(self.weight, std=model.config.initializer_range)
        self.bias.data = torch.from_numpy(frequency).logit().float()
        self.members = torch.from_numpy(members).float()
        self.hook = classifier.register_forward_pre_hook(self.keep)

    def keep(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.seen = inputs[0]

    def loss(self, labels: torch.Tensor) -> torch.Tensor:
        """Mean over comments and groups for the batch that the model has just read."""
        groups = (labels @ self.members).clamp(max=1)
        return binary_cross_entropy_with_logits(self(self.seen.float()), groups)


class StudyTrainer(EmotionTrainer):
    """The project's Trainer with the ingredients that need one."""

    def __init__(self, variant: Variant, **kwargs: Any):
        if variant.groups:  # within the model, so that it is trained as the head is
            model = kwargs["model"]
            model.groups = GroupTargets(model, np.array(kwargs["train_dataset"]["labels"]))
        super().__init__(**kwargs)
        self.remove_callback(TrainingTable)  # of a run without evaluations it would be empty
        self.variant = variant
        if not variant.pooler_as_head:
            self.head = {name for name in self.head if ".pooler." not in name}

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        if self.variant.layer_decay is None:
            return optimizer
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        layers, groups = self.model.config.num_hidden_layers, []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                rate, parts = group["lr"], names[parameter].split(".")
                if names[parameter] not in self.head and "pooler" not in parts:
                    layer = int(parts[parts.index("layer") + 1]) + 1 if "layer" in parts else 0
                    rate *= self.variant.layer_decay ** (layers - layer)
                groups.append({**group, "params": [parameter], "lr": rate})
        optimizer.param_groups[:] = groups
        return optimizer

    def train(self, *args: Any, **kwargs: Any):
        result = super().train(*args, **kwargs)
        if self.variant.groups:
            self.model.groups.hook.remove()
            del self.model.groups
        return result

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs["labels"]
        loss, outputs = self.labels_loss(model, inputs, num_items_in_batch)
        if self.variant.groups and model.training:
            loss = loss + self.variant.groups * model.groups.loss(labels)
        return (loss, outputs) if return_outputs else loss

    def labels_loss(self, model, inputs, num_items_in_batch):
        if not self.variant.rdrop or not model.training:
            return super().compute_loss(model, inputs, True, num_items_in_batch)
        labels = inputs.pop("labels")
        first, second = model(**inputs), model(**inputs)
        one, two = first.logits.float(), second.logits.float()
        loss = (
            self.variant.loss(first, labels, num_items_in_batch) + self.variant.loss(second, labels, num_items_in_batch)
        ) / 2
        # Symmetric Kullback-Leibler divergence of the labels' two Bernoulli distributions (Wu et al. 2021).
        gap = ((one.sigmoid() - two.sigmoid()) * (one - two)).sum() / 2
        return loss + self.variant.rdrop * normalised(gap, labels, num_items_in_batch), first


class RunningAverages(TrainerCallback):
    """Exponential moving averages of the weights, updated every EMA_EVERY steps."""

    def __init__(self, model: nn.Module, decays: Sequence[float]):
        self.averages = {decay: copy.deepcopy(model.state_dict()) for decay in decays}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % EMA_EVERY == 0 or state.global_step == state.max_steps:
            weights = model.state_dict()
            for decay, average in self.averages.items():
                # Early on the average follows the weights, or the start would weigh too much.
                keep = min(decay, (1 + state.global_step) / (10 + state.global_step)) ** EMA_EVERY
                for name, tensor in average.items():
                    if tensor.is_floating_point():
                        tensor.lerp_(weights[name], 1 - keep)


# --- data, runs, scores ---------------------------------------------------------------------------------------------


def go_emotions() -> DatasetDict:
    """Its splits, without test: GOEMOTIONS_DIR's, or the Hub's."""
    data = load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))
    data.pop("test", None)
    return data


def probabilities(model: nn.Module, tokenizer, data: Dataset, bf16: bool, batch_size: int = 64) -> np.ndarray:
    """Float32 of shape (rows, labels), in the order of the rows."""
    model.eval()
    result = np.empty((len(data), model.config.num_labels), dtype=np.float32)
    order, rows = np.argsort(data["length"], kind="stable"), data.select_columns(["input_ids", "attention_mask"])[:]
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = tokenizer.pad({name: [values[i] for i in chosen] for name, values in rows.items()}, return_tensors="pt")
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            result[chosen] = model(**batch).logits.float().sigmoid().numpy()
    return result


def unseen_scores(gold: np.ndarray, answers: np.ndarray, fitted_rows: int | None = None, splits: int = 20) -> dict:
    """Micro- and macro-F1 of `expected_f1` thresholds on rows they were not fitted on; BCE and mAP."""
    rng, scores = np.random.default_rng(0), {"f1_micro": [], "f1_macro": []}
    for _ in range(splits):
        order = rng.permutation(len(gold))
        fitted, other = np.split(order, [fitted_rows or len(gold) // 2])
        for metric, values in scores.items():
            thresholds = fit_thresholds(gold[fitted], answers[fitted], "expected_f1", metric)
            values.append(micro_and_macro_f1(gold[other], decide(answers[other], thresholds))[metric])
    clipped = np.clip(answers.astype(np.float64), 1e-7, 1 - 1e-7)
    return {name: round(statistics.mean(values), 5) for name, values in scores.items()} | {
        "bce": round(float(-(gold * np.log(clipped) + (1 - gold) * np.log1p(-clipped)).mean()), 5),
        "map": round(float(average_precision_score(gold, answers, average="macro")), 5),
    }


def train_one(
    name: str, variant: Variant, seed: int, options: argparse.Namespace, splits, model_name: str
) -> list[dict[str, Any]]:
    """Train one variant; one result for its last weights and one for each running average."""
    chosen = {"seed": seed, **BEFORE.get(options.recipe.stem, {}), **variant.arguments} | (
        {"model_name_or_path": model_name} if model_name else {}
    )
    argv = ["--config", str(options.recipe)] + [
        part for key, value in chosen.items() for part in (f"--{key}", str(value))
    ]
    argv += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    argv += ["--logging_strategy", "no", "--disable_tqdm", "true", "--output_dir", str(options.folder / "trainer")]
    kinds = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, FinetuneArguments)
    data_args, model_args, _, _, args = parse_arguments(kinds, argv, "")
    if args.teacher:
        raise InputError(f"{options.recipe} has teachers, and the study knows gold labels alone; give another recipe.")
    names = label_names(splits)
    train = stratified_subset(splits["train"], options.rows or data_args.max_train_samples, seed)
    rows, train = len(train), train.select_columns(["text", "labels"])
    if variant.demo_rows:
        demo = load_splits(DataArguments("demo"))["train"].select_columns(["text", "labels"])
        train = concatenate_datasets([train, demo.cast(train.features)])
    path, _ = resolve_model(model_args.model_name_or_path)
    tokenizer = load_tokenizer(path)
    train_set, dev = (encode(split, tokenizer, args.max_seq_length) for split in (train, splits["validation"]))
    gold, dev_gold = multi_hot(train["labels"], len(names)), multi_hot(splits["validation"]["labels"], len(names))
    set_seed(seed)
    model, _ = load_model(path, names)
    started = time.process_time()
    if variant.mlm_epochs:
        pretrain(model, tokenizer, splits["train"]["text"], variant.mlm_epochs, args.bf16, seed)
    init_head_bias(model, gold)
    for prepare in variant.prepare:
        prepare(model)
    if variant.described:
        told = [*names[1:], names[0]] if variant.described == "other names" else names
        descriptions = read_descriptions(variant.described.split()[-1], told)
        start_from_descriptions(model, tokenizer, descriptions, train["text"], variant.spread)
    if variant.smoothing:
        soft = (1 - variant.smoothing) * gold + variant.smoothing * gold.mean(axis=0)
        feature = train_set.features["labels"]
        train_set = train_set.remove_columns("labels").add_column("labels", list(soft), feature=feature)
    loss = variant.loss
    if variant.pos_weight:
        weight = torch.from_numpy((gold.mean(axis=0) ** -variant.pos_weight).astype(np.float32))
        weight = weight / weight.min()

        def loss(outputs, labels, num_items_in_batch=None):
            total = binary_cross_entropy_with_logits(outputs.logits.float(), labels, pos_weight=weight, reduction="sum")
            return normalised(total, labels, num_items_in_batch)

    averages = RunningAverages(model, options.ema)
    trainer = StudyTrainer(
        model=model, args=args, variant=variant, train_dataset=train_set, processing_class=tokenizer,
        compute_loss_func=loss, callbacks=[averages],
    )  # fmt: skip
    final_loss = trainer.train().training_loss
    minutes = (time.process_time() - started) / 60
    states = {"": copy.deepcopy(model.state_dict())} | {f"+ema_{d}": a for d, a in averages.averages.items()}
    results = []
    for suffix, state in states.items():
        model.load_state_dict(state)
        answers = probabilities(model, tokenizer, dev, args.bf16)
        run = f"{options.recipe.stem}_{name}{suffix}_{seed}_{rows}"
        np.save(options.folder / f"{run}_dev.npy", answers)
        setting = {"recipe": options.recipe.stem, "variant": name + suffix, "seed": seed, "rows": rows}
        setting |= {"epochs": args.num_train_epochs, "minutes": round(minutes, 1), "train_loss": round(final_loss, 5)}
        setting |= {"machine": options.machine} if options.machine else {}
        results.append(setting | unseen_scores(dev_gold, answers, data_args.max_eval_samples))
        print(json.dumps(results[-1]), flush=True)
    return results


def score_run(recipe: str, name: str, run: RunFolder, path: Path, machine: str) -> None:
    """Append what a finished run of run_finetune.py is on the study's scale.

    A run with max_eval_samples is asked about all of validation, and its thresholds are fitted on so many rows.
    """
    record, results = run.read(RUN_FILE), run.read(RESULTS_FILE)
    _, (_, gold, answers) = run.read_predictions("validation")
    if fitted_rows := record["arguments"]["max_eval_samples"]:
        classifier, validation = load_encoder(run), go_emotions()["validation"]
        unfold_thresholds(classifier.model)
        gold = multi_hot(validation["labels"], len(classifier.labels))
        answers = classifier.predict(list(validation["text"]))
    setting = {"recipe": recipe, "variant": name, "seed": record["seed"], "rows": record["dataset"]["rows"]["train"]}
    setting |= {"epochs": record["arguments"]["num_train_epochs"], "minutes": None}
    setting |= {"train_loss": round(results["train_loss"], 5)} | ({"machine": machine} if machine else {})
    with path.open("a") as file:
        file.write(json.dumps(setting | unseen_scores(gold, answers, fitted_rows)) + "\n")


# --- the table ------------------------------------------------------------------------------------------------------


def read_results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(results: list[dict[str, Any]]) -> str:
    """One table a machine, recipe and number of rows; means over seeds.

    `a+b` is held against `a` where that was run, any other against plain, over the seeds that both have; ± is the
    standard deviation of these differences.
    """
    header = ["variant", "seeds", "micro-F1", "against", "macro-F1", "against", "mAP", "BCE", "minutes"]
    sections = []
    places = [(result.get("machine", ""), result["recipe"], result["rows"]) for result in results]
    for place in sorted(set(places)):
        runs, lines = {}, []
        for result, its in zip(results, places, strict=True):
            if its == place:
                runs.setdefault(result["variant"], {})[result["seed"]] = result
        for name, by_seed in runs.items():
            cells = [name, str(len(by_seed))]
            without = runs.get(name.rpartition("+")[0]) or runs.get("plain", {})
            shared = sorted(set(by_seed) & set(without))
            for metric in ("f1_micro", "f1_macro", "map", "bce"):
                cells.append(f"{statistics.mean(run[metric] for run in by_seed.values()):.4f}")
                if metric.startswith("f1"):
                    gaps = [by_seed[seed][metric] - without[seed][metric] for seed in shared]
                    spread = f" ± {statistics.stdev(gaps):.4f}" if len(gaps) > 1 else ""
                    cells.append("–" if name == "plain" or not gaps else f"{statistics.mean(gaps):+.4f}{spread}")
            minutes = [run["minutes"] for run in by_seed.values() if run["minutes"]]
            lines.append([*cells, f"{statistics.mean(minutes):.1f}" if minutes else "–"])
        machine, recipe, rows = place
        title = f"`{recipe}`, {rows:,} rows{', ' if machine else ''}{machine}"
        sections.append(f"{title}:\n\n{markdown_table(header, lines)}")
    return "\n\n".join(sections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=[], metavar="NAME", help="see --list; joined by +: both")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--rows", type=int, help="train on a stratified subset (unset: all rows)")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "minilm.yaml", help="what plain is")
    parser.add_argument("--model_name_or_path", help="instead of the recipe's")
    parser.add_argument("--ema", nargs="*", type=float, default=[0.99, 0.998])
    parser.add_argument("--score", nargs="+", metavar=("NAME", "OUTPUT_DIR"), help="score finished runs as a variant")
    parser.add_argument("--folder", type=Path, default=Path("outputs/quality_study"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--machine", default="", help="what to call this one in the results: each has its own tables")
    parser.add_argument("--list", action="store_true", help="name the variants and stop")
    parser.add_argument("--table", action="store_true", help="print the results file as a table and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:28}{variant}" for name, variant in VARIANTS.items()))
    elif options.score:
        for run in map(RunFolder, options.score[1:]):
            score_run(options.recipe.stem, options.score[0], run, options.results, options.machine)
    elif options.table:
        print(table(read_results(options.results)))
    else:
        variants = {name: combined(name) for name in options.variants}
        options.folder.mkdir(parents=True, exist_ok=True)
        options.results.parent.mkdir(parents=True, exist_ok=True)
        data = go_emotions()
        done = {
            (result.get("machine", ""), result["recipe"], result["variant"], result["seed"], result["rows"])
            for result in read_results(options.results)
        }
        rows = options.rows or yaml.safe_load(options.recipe.read_text()).get("max_train_samples", len(data["train"]))
        for seed in options.seeds:
            for name, variant in variants.items():
                if (options.machine, options.recipe.stem, name, seed, rows) in done:
                    continue
                for result in train_one(name, variant, seed, options, data, options.model_name_or_path):
                    with options.results.open("a") as file:
                        file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    with one_sentence_errors():
        main()
