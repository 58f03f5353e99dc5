"""Positives that weigh as much as negatives: the weights, the loss they make, and that every layout learns the same."""

import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value

import run_finetune
from utils.arguments import FinetuneArguments
from utils.model.loading import load_model, load_tokenizer
from utils.run_folder import RunFolder
from utils.training.losses import balanced_weights, multilabel_loss
from utils.training.trainer import EmotionTrainer

LABELS = [[0], [0, 1], [1], [0], [], [0], [0, 1], [0], [], [0], [1], [0]]  # and none of a third


def test_weights_are_negatives_by_positives_and_1_where_there_is_only_one_kind():
    matrix = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]], dtype=np.float32)
    assert balanced_weights(matrix).tolist() == [3.0, 1.0, 1.0, 3.0]


def test_the_loss_weighs_positives_and_is_the_plain_one_without_weights():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), (torch.rand(6, 3) < 0.3).float()
    weights = torch.tensor([2.0, 1.0, 7.0])
    chance = torch.sigmoid(logits)
    expected = -(weights * labels * chance.log() + (1 - labels) * (1 - chance).log())
    assert multilabel_loss({"logits": logits}, labels, pos_weight=weights).item() == pytest.approx(
        expected.mean().item(), rel=1e-6
    )
    assert multilabel_loss({"logits": logits}, labels, 36, weights).item() == pytest.approx(
        expected.sum().item() / 36, rel=1e-6
    )
    plain = multilabel_loss({"logits": logits}, labels)
    assert multilabel_loss({"logits": logits}, labels, pos_weight=torch.ones(3)).item() == plain.item()


def trained(tiny_bert, demo, folder, class_weights="balanced", batch=12, accumulated=1):
    """The Trainer after three optimiser steps on the same twelve comments."""
    torch.manual_seed(0)
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["a", "b", "c"]))})
    rows = Dataset.from_dict({"text": demo["train"]["text"][:12], "labels": LABELS}, features=features)
    model, _ = load_model(str(tiny_bert), ["a", "b", "c"])
    args = FinetuneArguments(
        str(folder), class_weights=class_weights, per_device_train_batch_size=batch, max_steps=3, learning_rate=1e-2,
        gradient_accumulation_steps=accumulated, weight_decay=0.0, warmup_steps=0, train_sampling_strategy="random",
        logging_strategy="steps", logging_steps=1, precision="fp32", use_cpu=True, disable_tqdm=True,
        eval_strategy="no", save_strategy="no", load_best_model_at_end=False, per_device_eval_batch_size=5,
    )  # fmt: skip
    trainer = EmotionTrainer(model, args, rows, rows, processing_class=load_tokenizer(str(tiny_bert)))
    trainer.train()
    return trainer


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_a_balanced_loss_is_the_same_for_every_layout_of_batches(tiny_bert, demo, tmp_path):
    whole = trained(tiny_bert, demo, tmp_path)
    for batch, accumulated in ((3, 4), (4, 3)):
        other = trained(tiny_bert, demo, tmp_path, batch=batch, accumulated=accumulated)
        assert losses(other) == pytest.approx(losses(whole), rel=1e-5)
        for name, tensor in whole.model.state_dict().items():
            torch.testing.assert_close(other.model.state_dict()[name], tensor, rtol=1e-3, atol=2e-5)


def test_evaluation_has_the_loss_of_the_training(tiny_bert, demo, tmp_path):
    for class_weights, weights in (("balanced", [4 / 8, 8 / 4, 1.0]), ("none", [1.0, 1.0, 1.0])):
        trainer = trained(tiny_bert, demo, tmp_path, class_weights)
        predicted = trainer.predict(trainer.eval_dataset)
        expected = multilabel_loss(
            {"logits": torch.from_numpy(predicted.predictions)},
            torch.from_numpy(predicted.label_ids),
            pos_weight=torch.tensor(weights),
        )
        assert trainer.evaluate()["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_run_with_balanced_weights_finds_more_of_the_rare_labels(finished_run, finetune_arguments, tmp_path):
    """The results keep the plain loss, by which runs are compared, whatever they were trained with."""
    run = tmp_path / "run"
    results = run_finetune.main([*finetune_arguments, "--class_weights", "balanced", "--output_dir", str(run)])
    plain = json.loads((finished_run / "all_results.json").read_text())
    assert results["train_loss"] > plain["train_loss"]
    _, balanced = RunFolder(run).read_predictions("validation")
    _, unweighted = RunFolder(finished_run).read_predictions("validation")
    assert balanced.probabilities.mean() > unweighted.probabilities.mean()
    clipped = np.clip(balanced.probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    expected = -np.mean(np.where(balanced.gold > 0, np.log(clipped), np.log1p(-clipped)))
    assert results["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert "class_weights: balanced" in (run / "README.md").read_text()
