import pytest
import torch
from torch import nn

from utils.training.dropout import QuickDropout, quicken


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
