"""Attention is eager while a short training on a CPU lasts, which changes what is learned by no more than rounding."""

import pytest
import torch
from transformers import TrainerCallback

from utils.arguments import FinetuneArguments
from utils.model.loading import load_model, load_tokenizer
from utils.training.attention import EAGER_UP_TO, EagerWhileTraining
from utils.training.trainer import EmotionTrainer


class Seen(TrainerCallback):
    """The implementation at each step."""

    def __init__(self):
        self.steps = []

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.steps.append(model.config._attn_implementation)


def trained(encoder, demo, folder, given="sdpa", length=64, without=()):
    torch.manual_seed(0)
    model, _ = load_model(str(encoder), demo["train"].features["labels"].feature.names)
    model.set_attn_implementation(given)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    args = FinetuneArguments(
        str(folder), max_steps=3, per_device_train_batch_size=8, learning_rate=1e-2, max_seq_length=length,
        precision="fp32", use_cpu=True, disable_tqdm=True, eval_strategy="no", save_strategy="no",
        load_best_model_at_end=False,
    )  # fmt: skip
    rows = demo["train"].select(range(24))
    trainer = EmotionTrainer(
        model, args, rows, processing_class=load_tokenizer(str(encoder)), callbacks=[seen := Seen()]
    )
    for callback in without:
        trainer.remove_callback(callback)
    trainer.train()
    return model, seen.steps


def test_it_is_eager_while_it_lasts_and_learns_the_same(tiny_bert, demo, tmp_path):
    model, steps = trained(tiny_bert, demo, tmp_path)
    assert steps == ["eager"] * 3
    assert model.config._attn_implementation == "sdpa"
    assert "attn" not in model.config.to_json_string()
    other, steps = trained(tiny_bert, demo, tmp_path, without=[EagerWhileTraining])
    assert steps == ["sdpa"] * 3
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(("given", "length"), [("eager", 64), ("sdpa", EAGER_UP_TO + 1)])
def test_long_texts_and_what_somebody_has_chosen_stay(tiny_bert, demo, tmp_path, given, length):
    model, steps = trained(tiny_bert, demo, tmp_path, given, length)
    assert steps == [given] * 3
    assert model.config._attn_implementation == given
