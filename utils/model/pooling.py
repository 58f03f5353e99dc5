"""The mean over all tokens, for classifiers that read only the first.

`AutoModelForSequenceClassification` reads BERT's, RoBERTa's and MPNet's first token. Sentence encoders were trained on
the mean over all tokens, so that their first token knows little of the comment, and fine-tuning has to bring it there
first. One more layer of the encoder's own kind does that from the start: it attends to every token alike and adds what
it finds. The model stays one that every client loads, with `num_hidden_layers` one higher.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from utils.console import InputError

# Where a layer keeps query, key, value and output of its attention, its feed-forward pair, and its normalisations.
BERT = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "intermediate.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm",
)  # fmt: skip
MPNET = (
    "attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o",
    "intermediate.dense", "output.dense", "attention.LayerNorm", "output.LayerNorm",
)  # fmt: skip
DISTILBERT = (
    "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
    "ffn.lin1", "ffn.lin2", "sa_layer_norm", "output_layer_norm",
)  # fmt: skip


TOLERANCE = 1e-3  # of states with a standard deviation of 1: fp32 is within 1e-5, other kinds of attention beyond 1e-2


def pool_by_mean(model: PreTrainedModel, share: float = 1.0) -> None:
    """Have the classifier read the mean over all tokens, padding excepted.

    ModernBERT has a setting for it. BERT and its like get one more layer, which starts as token + share · mean,
    normalised (`share` was chosen on validation: docs/study.md). Keys of zero make its attention even (in MPNet up to
    the position bias that its layers share), value and output hand on what they get, and the feed-forward part adds
    nothing yet. The dense layer that RoBERTa and MPNet classify with starts as the identity, so that the mean
    reaches the output layer. All of it is trained from there.

    Raises:
        InputError: the encoder is built otherwise: its layers are, or a batch does not come out of the new one so.
    """
    if hasattr(model.config, "classifier_pooling"):
        model.config.classifier_pooling = "mean"
        return
    layers = _layers(model)
    batch = random_batch(model)
    before = _states(model, batch)
    layer = copy.deepcopy(layers[-1])
    parts: list[Any] = [layer.get_submodule(path) for path in _paths(model, layer)]
    query, key, value, output, widen, narrow, *norms = parts
    with torch.no_grad():
        for linear in (query, key, value, output, widen, narrow):
            linear.bias.zero_()
        for linear in (query, widen):  # not zero as well, or the keys and what follows would never learn
            linear.weight.normal_(std=model.config.initializer_range)
        for linear in (key, narrow):
            linear.weight.zero_()
        for linear, scale in ((value, 1.0), (output, share)):
            nn.init.eye_(linear.weight).mul_(scale)
        for norm in norms:
            norm.weight.fill_(1.0)
            norm.bias.zero_()
    layers.append(layer)
    model.config.num_hidden_layers = len(layers)
    _check(model, batch, before, share, getattr(norms[0], "eps", 1e-12))
    classifier: Any = getattr(model, "classifier", None)
    # A tanh lets the identity through; the GELU that ELECTRA's classifier has instead would cut off what is below zero.
    if hasattr(classifier, "dense") and not hasattr(classifier, "activation"):
        nn.init.eye_(classifier.dense.weight)


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    for part in ("encoder", "transformer"):
        layers = getattr(getattr(model.base_model, part, None), "layer", None)
        if isinstance(layers, nn.ModuleList):
            return layers
    raise _unknown(model)


def random_batch(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Two rows of random tokens, the second padded; drawn apart, so that no other random number changes."""
    padding = model.config.pad_token_id or 0
    kinds = getattr(model.config, "vocab_size", None) or 256  # CANINE reads characters
    tokens = torch.randint(kinds, (2, 9), generator=torch.Generator().manual_seed(0))
    tokens[tokens == padding] += -1 if padding else 1
    mask = torch.ones_like(tokens)
    mask[1, 6:] = 0
    batch = {"input_ids": torch.where(mask > 0, tokens, padding), "attention_mask": mask}
    return {name: values.to(model.device) for name, values in batch.items()}


@torch.no_grad()
def _states(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the encoder hands on, of shape (rows, tokens, width), without dropout or MPNet's position bias."""
    training = model.training
    try:
        with _without_position_bias(model.eval()):
            return model.base_model(**batch).last_hidden_state
    except Exception as error:  # a layer more than some setting provides for, say: each class has its own exception
        raise _unknown(model) from error
    finally:
        model.train(training)


@contextmanager
def _without_position_bias(model: PreTrainedModel) -> Iterator[None]:
    biases = [module for name, module in model.named_modules() if name.endswith("relative_attention_bias")]
    kept = [module.weight.clone() for module in biases]
    for module in biases:
        module.weight.zero_()
    try:
        yield
    finally:
        for module, weight in zip(biases, kept, strict=True):
            module.weight.copy_(weight)


def _check(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], before: torch.Tensor, share: float, eps: float
) -> None:
    """Hold the first token against what it is meant to start as, and the model against what its configuration makes."""
    mask = batch["attention_mask"][..., None]
    mean = (before * mask).sum(dim=1) / mask.sum(dim=1)
    expected = nn.functional.layer_norm(before[:, 0] + share * mean, before.shape[-1:], eps=eps)
    if not (_states(model, batch)[:, 0] - expected).abs().max() < TOLERANCE:
        raise _unknown(model)
    try:
        with torch.device("meta"):  # shapes alone
            loaded = type(model)(type(model.config).from_dict(model.config.to_dict())).state_dict()
    except Exception as error:  # as in _states
        raise _unknown(model) from error
    if {name: weight.shape for name, weight in loaded.items()} != {n: w.shape for n, w in model.state_dict().items()}:
        raise _unknown(model)


def _paths(model: PreTrainedModel, layer: nn.Module) -> tuple[str, ...]:
    names = {name for name, _ in layer.named_modules()}
    for paths in (BERT, MPNET, DISTILBERT):
        if names.issuperset(paths):
            return paths
    raise _unknown(model)


def _unknown(model: PreTrainedModel) -> InputError:
    return InputError(
        f"--pooling mean does not know how {type(model).__name__} is built; BERT, RoBERTa, XLM-RoBERTa, ELECTRA, "
        "MPNet, DistilBERT and ModernBERT can have it, any other encoder --pooling first_token."
    )
