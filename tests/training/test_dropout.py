import pytest
import torch
from torch import nn

from utils.arguments import FinetuneArguments
from utils.model.loading import load_model, load_tokenizer
from utils.training import dropout
from utils.training.dropout import QuickDropout, quicken
from utils.training.trainer import EmotionTrainer


@pytest.fixture
def layer():
    model = nn.Sequential(nn.Dropout(0.1))
    quicken(model)
    assert type(model[0]) is QuickDropout
    return model[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tenth_is_dropped_and_the_rest_makes_up_for_it(layer, dtype):
    torch.manual_seed(0)
    values = torch.ones(999, 1001, dtype=dtype, requires_grad=True)
    dropped = layer(values)
    assert dropped.dtype == dtype
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.9, dtype=dtype).item()}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.001)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped)


def test_it_follows_torchs_generator_and_is_off_outside_training(layer):
    values = torch.randn(64, 64)
    state = torch.get_rng_state()
    first, second = layer(values), layer(values)
    torch.set_rng_state(state)
    assert torch.equal(layer(values), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(values), values)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_training_on_a_cpu_has_it_where_torch_draws_one_by_one(tiny_bert, demo, tmp_path, monkeypatch, one_by_one):
    monkeypatch.setattr(dropout, "torch_draws_one_by_one", lambda: one_by_one)
    model, _ = load_model(str(tiny_bert), demo["train"].features["labels"].feature.names)
    args = FinetuneArguments(
        str(tmp_path), max_steps=1, precision="fp32", use_cpu=True, disable_tqdm=True, eval_strategy="no",
        save_strategy="no", load_best_model_at_end=False,
    )  # fmt: skip
    rows = demo["train"].select(range(8))
    EmotionTrainer(model, args, rows, processing_class=load_tokenizer(str(tiny_bert))).train()
    assert {type(module) for module in model.modules() if isinstance(module, nn.Dropout)} == {
        QuickDropout if one_by_one else nn.Dropout
    }
