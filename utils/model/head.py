"""The classifier on top of the encoder: where it is, and how a new one starts."""

from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from utils.console import InputError


def label_list(config: PretrainedConfig) -> list[str]:
    """The label names of a model's configuration, in the order of its outputs."""
    names: dict[Any, str] = dict(config.id2label or {})
    return [names[index] for index in range(len(names))]


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """The linear layer whose outputs are the logits: `classifier`, `classifier.out_proj`, `score`, …"""
    layers = [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and layer.out_features == model.config.num_labels
        and not _in_encoder(name, model)
    ]
    if not layers:
        raise InputError(f"{type(model).__name__} has no linear output layer; take an encoder such as BERT or RoBERTa.")
    return layers[-1]


def has_bias(model: PreTrainedModel) -> bool:
    """Whether logits can be shifted: the output layer of GPT-2, Qwen, Llama and other causal models has no bias."""
    return output_layer(model).bias is not None


def head_parameters(model: PreTrainedModel) -> set[str]:
    """Names of the parameters that start from nothing: those outside the encoder, and a pooler never trained."""
    cold = untrained_pooler(model)
    inside = set() if cold is None else set(cold.parameters())
    return {name for name, weight in model.named_parameters() if not _in_encoder(name, model) or weight in inside}


def may_be_new(name: str, model: PreTrainedModel) -> bool:
    """Whether a parameter belongs to a new classifier: outside the encoder, or to a pooler, which some files lack."""
    return not _in_encoder(name, model) or name.startswith(f"{model.base_model_prefix}.pooler.")


def untrained_pooler(model: PreTrainedModel) -> nn.Linear | None:
    """BERT's dense layer between encoder and classifier, where its checkpoint has never trained it; else None.

    Sentence encoders such as all-MiniLM average over all tokens and leave that layer as it was initialised: weights
    near zero, a bias of zeros, by which it is known. At the encoder's small rate it keeps the classifier in the dark.
    """
    layer = getattr(getattr(model.base_model, "pooler", None), "dense", None)
    return None if layer is None or layer.bias.any() else layer


def start_pooler_as_identity(model: PreTrainedModel) -> None:
    """Make a pooler that was never trained hand on what it gets: its weights become the identity."""
    layer = untrained_pooler(model)
    if layer is not None:
        nn.init.eye_(layer.weight)


def init_head_bias(model: PreTrainedModel, label_matrix: np.ndarray) -> None:
    """Set the output layer's bias to the log-odds of the training label frequencies.

    With 28 labels of which a comment has one or two, a classifier that starts at 0 spends its first epochs learning
    that most labels are rare, and after 2 epochs on 2,000 comments no probability has reached 0.5. Started at the
    frequencies, it spends them on the comments. (The prior-probability initialisation of Lin et al. 2017, section 3.3,
    here with each label's own prior.) A label that never or always occurs counts as half a row away from that.

    Args:
        model: its output layer has one unit per label and a bias.
        label_matrix: zeros and ones, shape (rows, labels).
    """
    if not has_bias(model):
        raise InputError(f"{type(model).__name__}'s output layer has no bias that could start at the log-odds.")
    rows = len(label_matrix)
    frequency = np.clip(label_matrix.mean(axis=0, dtype=np.float64), 0.5 / rows, 1 - 0.5 / rows)
    with torch.no_grad():
        output_layer(model).bias.copy_(torch.from_numpy(logit(frequency)))


def _in_encoder(name: str, model: PreTrainedModel) -> bool:
    return name.split(".")[0] == model.base_model_prefix
