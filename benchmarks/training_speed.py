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
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from utils.arguments import HUB_DATASET
from utils.console import one_sentence_errors, say
from utils.data.encoding import encode
from utils.data.labels import multi_hot
from utils.data.splits import load_splits, stratified_subset
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, fit_thresholds
from utils.machine import bf16_pays
from utils.model.classifiers import EncoderClassifier
from utils.model.head import init_head_bias, start_pooler_as_identity
from utils.model.loading import load_model, load_tokenizer, resolve_model
from utils.run_folder import write_json
from utils.training.losses import multilabel_loss
from utils.training.trainer import EmotionTrainer

RESULTS = Path(__file__).resolve().parent / "results"
BF16 = bf16_pays(use_cpu=not torch.cuda.is_available())
GROUPED = {"train_sampling_strategy": "group_by_length"}
# name: what TrainingArguments get, and what is special about the side
SIDES = {
    "padded": ({}, {"padding": 128}),
    "dynamic": ({}, {}),
    "ours": ({**GROUPED, "bf16": BF16}, {}),
    "ours, random order": ({"bf16": BF16}, {}),
    "ours, fp32": (GROUPED, {}),
    "ours, AdamW not fused": ({**GROUPED, "bf16": BF16, "optim": "adamw_torch"}, {}),
    "ours, eager attention": ({**GROUPED, "bf16": BF16}, {"attention": "eager"}),
    "ours, compiled": ({**GROUPED, "bf16": BF16}, {"compile": True}),
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


def train(side: str, count: int, seed: int, epochs: float = 1.0) -> tuple[float, float, EncoderClassifier]:
    """Train on `count` rows; seconds in all and of the first step, and what came out."""
    options, special = SIDES[side]
    rows = stratified_subset(splits()["train"], count, seed=0)
    path, _ = resolve_model("minilm")
    tokenizer, names = load_tokenizer(path), rows.features["labels"].feature.names
    set_seed(seed)
    model, _ = load_model(path, names)
    if "attention" in special:
        model.set_attn_implementation(special["attention"])
    start_pooler_as_identity(model)
    init_head_bias(model, multi_hot(rows["labels"], len(names)))
    if special.get("compile"):
        model.compile(dynamic=True)
    padding = {"padding": "max_length", "max_length": special["padding"]} if "padding" in special else {}
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, seed=seed, num_train_epochs=epochs, per_device_train_batch_size=32, learning_rate=2e-4,
            weight_decay=0.01, warmup_steps=0.1, save_strategy="no", logging_strategy="no", report_to=[],
            disable_tqdm=True, use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=torch.cuda.is_available(),
            **options,
        )  # fmt: skip
        trainer = (EmotionTrainer if side.startswith("ours") else Trainer)(
            model,
            args,
            train_dataset=encode(rows, tokenizer, 128),
            data_collator=DataCollatorWithPadding(tokenizer, **padding),
            compute_loss_func=multilabel_loss,
            callbacks=[clock := Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds, clock.first, EncoderClassifier(model, tokenizer)


def rate(side: str, count: int, seed: int) -> float:
    """Rows per second; a compiled model's first step, in which it is compiled, does not count."""
    seconds, first, _ = train(side, count, seed)
    if "compiled" in side:
        say(f"{side}: {first:.0f} s for the first step")
        return (count - 32) / (seconds - first)
    return count / seconds


def judge(side: str, count: int, seed: int, epochs: float) -> tuple[float, np.ndarray]:
    """Minutes of training, and the probabilities of the validation comments."""
    seconds, _, classifier = train(side, count, seed, epochs)
    return seconds / 60, classifier.predict(list(splits()["validation"]["text"]))


def splits() -> DatasetDict:
    return load_splits(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET)


def apart(function: Callable, *arguments: object) -> Any:
    """The function's result, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def speed(count: int, sides: list[str], repeats: int) -> dict:
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side in sides:
            rates[side].append(apart(rate, side, count, repeat))
            say(f"{repeat + 1}/{repeats}  {side}: {rates[side][-1]:.1f} rows/s")
    medians = {side: statistics.median(values) for side, values in rates.items()}
    lines = [
        [side, f"{median:.1f}", f"{min(rates[side]):.1f} to {max(rates[side]):.1f}",
         *(f"{median / medians[other]:.2f}" if other in medians else "–" for other in ("padded", "dynamic", "ours"))]
        for side, median in medians.items()
    ]  # fmt: skip
    say("\n" + markdown_table(["side", "rows/s", "range", "× padded", "× dynamic", "× ours"], lines))
    return {"rows": count, "repeats": repeats, "bf16": BF16, "rows_per_second": medians, "all": rates}


def quality(count: int, seeds: list[int], epochs: float) -> dict:
    """Dev F1 of both sides: thresholds fitted on one half, scored on the other, both ways."""
    validation = splits()["validation"]
    gold = multi_hot(validation["labels"], len(validation.features["labels"].feature.names))
    halves = np.random.default_rng(0).permutation(len(gold)) % 2
    scores: dict[str, list[dict]] = {"dynamic": [], "ours": []}
    for seed in seeds:
        for side in scores:
            minutes, probabilities = apart(judge, side, count, seed, epochs)
            result = {"minutes": minutes}
            for metric in ("f1_micro", "f1_macro"):
                f1s = []
                for half in (0, 1):
                    fitted = fit_thresholds(gold[halves != half], probabilities[halves != half], "calibrated", metric)
                    f1s.append(f1(gold[halves == half], decide(probabilities[halves == half], fitted), metric))
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


def f1(gold: np.ndarray, decided: np.ndarray, metric: str) -> float:
    hits, total = (decided & (gold > 0)).sum(axis=0), decided.sum(axis=0) + gold.sum(axis=0)
    return 2 * hits.sum() / total.sum() if metric == "f1_micro" else float(np.mean(2 * hits / np.maximum(total, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", action="store_true", help="validation scores instead of speed")
    parser.add_argument("--rows", type=int, help="training rows (default: 960, or 5,000 with --quality)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", nargs="+", choices=SIDES, default=[s for s in SIDES if "compiled" not in s])
    args = parser.parse_args()
    say(f"{torch.get_num_threads()} CPU threads, bf16 {'on' if BF16 else 'off'}")
    if args.quality:
        write_json(RESULTS / "training_quality.json", quality(args.rows or 5000, [42, 43, 44], epochs=2))
    else:
        write_json(RESULTS / "training_speed.json", speed(args.rows or 960, args.side, args.repeats))


if __name__ == "__main__":
    with one_sentence_errors():
        main()
