"""Training, ours against the stock Trainer: rows per second side by side, and whether the same is learned.

    python -m benchmarks.training_speed                # rows per second, alternating; what each lever is worth
    python -m benchmarks.training_speed --quality      # validation scores after 5,000 rows, three seeds
    python -m benchmarks.training_speed --side compiled --rows 640

On GoEmotions' comments (GOEMOTIONS_DIR, or the Hub's dataset) with the MiniLM encoder, batches of 32. All sides share
model, loss, rates and seed; they differ in how they compute:

  padded    the Trainer as transformers' text-classification example sets it: padded to 128 tokens, fp32, random order
  dynamic   the same, each batch padded to its own longest comment
  ours      batches of similar length, and bf16 where the hardware has it and is faster for it

Each measurement has a process of its own.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from utils.arguments import HUB_DATASET, DataArguments, FinetuneArguments
from utils.console import one_sentence_errors, say
from utils.data.encoding import encode
from utils.data.labels import multi_hot
from utils.data.splits import load_splits, stratified_subset
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, fit_thresholds, micro_and_macro_f1
from utils.machine import bf16_pays
from utils.model.classifiers import EncoderClassifier
from utils.model.head import init_head_bias, start_pooler_as_identity
from utils.model.loading import load_model, load_tokenizer, resolve_model
from utils.run_folder import write_json
from utils.training.attention import EagerWhileTraining
from utils.training.dropout import QuickenDropout
from utils.training.losses import multilabel_loss
from utils.training.progress import TrainingTable
from utils.training.trainer import EmotionTrainer

RESULTS = Path(__file__).resolve().parent / "results"
RECIPE = {"learning_rate": 1e-4, "head_learning_rate": 2e-3}  # of recipes/minilm.yaml
# name: the arguments it differs in, and what else is special about the side
SIDES = {
    "padded": ({}, {"padding": 128}),
    "dynamic": ({}, {}),
    "ours": ({}, {}),
    "ours, random order": ({"train_sampling_strategy": "random"}, {}),
    "ours, fp32": ({"precision": "fp32"}, {}),
    "ours, AdamW not fused": ({"optim": "adamw_torch"}, {}),
    "ours, SDPA": ({}, {"without": (EagerWhileTraining,)}),
    "ours, torch's dropout": ({}, {"without": (QuickenDropout,)}),
    "ours, frozen word embeddings": ({}, {"frozen": True}),
    "ours, compiled": ({}, {"compile": True}),
    "ours, recipe's rates": (RECIPE, {}),
    "ours, recipe's rates, frozen word embeddings": (RECIPE, {"frozen": True}),
}


class Clock(TrainerCallback):
    """Seconds from the first step to the last, and to the end of the first one (where compilation happens)."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self.started = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds = time.perf_counter() - self.started
        if state.global_step == 1:
            self.first = self.seconds


def train(
    side: str, count: int, seed: int, precision: str, epochs: float = 1.0
) -> tuple[float, float, EncoderClassifier]:
    """Train on `count` rows; seconds in all and of the first step, and what came out.

    `precision` is that of our sides, unless it is what one differs in.
    """
    options, special = SIDES[side]
    rows = stratified_subset(splits()["train"], count, seed=0)
    path, _ = resolve_model("minilm")
    tokenizer, names = load_tokenizer(path), rows.features["labels"].feature.names
    set_seed(seed)
    model, _ = load_model(path, names)
    start_pooler_as_identity(model)
    init_head_bias(model, multi_hot(rows["labels"], len(names)))
    if special.get("frozen"):
        model.get_input_embeddings().requires_grad_(False)
    if special.get("compile"):
        model.compile(dynamic=True)
    padding = {"padding": "max_length", "max_length": special["padding"]} if "padding" in special else {}
    with tempfile.TemporaryDirectory() as folder:
        shared = dict(
            output_dir=folder, seed=seed, num_train_epochs=epochs, per_device_train_batch_size=32, learning_rate=2e-4,
            weight_decay=0.01, warmup_steps=0.1, save_strategy="no", logging_strategy="no", report_to=[],
            disable_tqdm=True, use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=torch.cuda.is_available(),
        ) | options  # fmt: skip
        if side.startswith("ours"):
            without_evaluation = {"eval_strategy": "no", "load_best_model_at_end": False}
            kind, args = (
                EmotionTrainer,
                FinetuneArguments(**{"precision": precision} | shared | without_evaluation),
            )
        else:
            kind, args = Trainer, TrainingArguments(**shared)
        trainer = kind(
            model=model,
            args=args,
            train_dataset=encode(rows, tokenizer, 128),
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer, **padding),
            compute_loss_func=multilabel_loss,
            callbacks=[clock := Clock()],
        )
        for unwanted in (PrinterCallback, TrainingTable, *special.get("without", ())):
            trainer.remove_callback(unwanted)
        trainer.train()
    return clock.seconds, clock.first, EncoderClassifier(model, tokenizer)


def rate(side: str, count: int, seed: int, precision: str) -> float:
    """Rows per second; a compiled model's first step, in which it is compiled, does not count."""
    seconds, first, _ = train(side, count, seed, precision)
    if "compiled" in side:
        say(f"{side}: {first:.0f} s for the first step")
        return (count - 32) / (seconds - first)
    return count / seconds


def score_side(side: str, count: int, seed: int, precision: str, epochs: float) -> tuple[float, np.ndarray]:
    """Minutes of training, and the probabilities of the validation comments."""
    seconds, _, classifier = train(side, count, seed, precision, epochs)
    return seconds / 60, classifier.predict(list(splits()["validation"]["text"]))


@cache
def splits() -> DatasetDict:
    return load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))


def apart(function: Callable, *arguments: object) -> Any:
    """The function's result, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def speed(count: int, sides: list[str], repeats: int, precision: str) -> dict:
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side in sides:
            rates[side].append(apart(rate, side, count, repeat, precision))
            say(f"{repeat + 1}/{repeats}  {side}: {rates[side][-1]:.1f} rows/s")
    medians = {side: statistics.median(values) for side, values in rates.items()}
    lines = [
        [side, f"{median:.1f}", f"{min(rates[side]):.1f} to {max(rates[side]):.1f}",
         *(f"{median / medians[other]:.2f}" if other in medians else "–" for other in ("padded", "dynamic", "ours"))]
        for side, median in medians.items()
    ]  # fmt: skip
    say("\n" + markdown_table(["side", "rows/s", "range", "× padded", "× dynamic", "× ours"], lines))
    return {
        "rows": count, "repeats": repeats, "bf16": precision == "bf16", "rows_per_second": medians, "all": rates,
    }  # fmt: skip


def quality(count: int, sides: list[str], seeds: list[int], precision: str, epochs: float) -> dict:
    """Dev F1 of each side: thresholds fitted on one half, scored on the other, both ways."""
    validation = splits()["validation"]
    gold = multi_hot(validation["labels"], len(validation.features["labels"].feature.names))
    halves = np.random.default_rng(0).permutation(len(gold)) % 2
    scores: dict[str, list[dict]] = {side: [] for side in sides}
    for seed in seeds:
        for side in scores:
            minutes, probabilities = apart(score_side, side, count, seed, precision, epochs)
            result = {"minutes": minutes}
            for metric in ("f1_micro", "f1_macro"):
                f1s = []
                for half in (0, 1):
                    fitted = fit_thresholds(gold[halves != half], probabilities[halves != half], "expected_f1", metric)
                    decided = decide(probabilities[halves == half], fitted)
                    f1s.append(micro_and_macro_f1(gold[halves == half], decided)[metric])
                result[metric] = float(np.mean(f1s))
            scores[side].append(result)
            say(f"seed {seed}  {side}: " + ", ".join(f"{key} {value:.4f}" for key, value in result.items()))
    lines = [
        [side, *(f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" for metric in ("f1_micro", "f1_macro")
                 for values in [[result[metric] for result in results]])]
        for side, results in scores.items()
    ]  # fmt: skip
    say("\n" + markdown_table(["side", "dev micro-F1", "dev macro-F1"], lines))
    return {"rows": count, "epochs": epochs, "seeds": seeds, "scores": scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", action="store_true", help="validation scores instead of speed")
    parser.add_argument("--rows", type=int, help="training rows (default: 960, or 5,000 with --quality)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--side", nargs="+", choices=SIDES, help="(default: all but the compiled, or with --quality two)"
    )
    parser.add_argument("--seed", nargs="+", type=int, default=[42, 43, 44], help="with --quality")
    args = parser.parse_args()
    precision = "bf16" if bf16_pays(use_cpu=not torch.cuda.is_available()) else "fp32"
    say(f"{torch.get_num_threads()} CPU threads, ours in {precision}")
    if args.quality:
        found = quality(args.rows or 5000, args.side or ["dynamic", "ours"], args.seed, precision, epochs=2)
        write_json(RESULTS / "training_quality.json", found)
    else:
        sides = args.side or [side for side in SIDES if "compiled" not in side and "recipe" not in side]
        write_json(RESULTS / "training_speed.json", speed(args.rows or 960, sides, args.repeats, precision))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
