"""The mean over all tokens, for classifiers that read only the first.

`AutoModelForSequenceClassification` reads BERT's, RoBERTa's and MPNet's first token. Sentence encoders were trained on
the mean over all tokens, so that their first token knows little of the comment, and fine-tuning has to bring it there
first. One more layer of the encoder's own kind does that from the start: it attends to every token alike and adds what
it finds. The model stays one that every client loads, with `num_hidden_layers` one higher.
"""

import copy
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


def pool_by_mean(model: PreTrainedModel, share: float = 1.0) -> None:
    """Have the classifier read the mean over all tokens, padding excepted.

    ModernBERT has a setting for it. BERT and its like get one more layer, which starts as token + share · mean,
    normalised (`share` was chosen on validation: docs/results.md). Keys of zero make its attention even (in MPNet up to
    the position bias that its layers share), value and output hand on what they get, and the feed-forward part adds
    nothing yet. The dense layer that RoBERTa and MPNet classify with starts as the identity, so that the mean
    reaches the output layer. All of it is trained from there.

    Raises:
        InputError: the encoder is built otherwise.
    """
    if hasattr(model.config, "classifier_pooling"):
        model.config.classifier_pooling = "mean"
        return
    layers = _layers(model)
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
