"""Of a BERT's last layer only what the classifier reads: its first token.

A classifier on the first token reads one row of the last layer's output, and needs of that layer the keys and values of
all tokens, but query, feed-forward and normalisations of the first alone. `utils.publishing.first_token` does the same
to exported graphs.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from utils.model.pooling import BERT, random_batch

TOLERANCE = 1e-4  # of logits: fp32 is within 1e-6, a classifier that reads other tokens is beyond it


def compute_first_token_only(model: PreTrainedModel) -> bool:
    """Have the last layer compute the first token alone, where the model's answers stay the same; returns whether.

    For models in fp32 that will answer, not learn: layers with the parts of BERT's, as RoBERTa, XLM-RoBERTa and ELECTRA
    have them, below a classifier on the first token. Any other model stays as it is. Weights and what is saved do not
    change.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return False
    layer: Any = layers[-1]
    if not {name for name, _ in layer.named_modules()}.issuperset(BERT) or getattr(layer, "is_decoder", False):
        return False
    batch = random_batch(model)
    with torch.inference_mode():
        before = model.eval()(**batch).logits
        layer.forward = lambda states, mask=None, *others, **named: _first_token(layer, states, mask)
        if torch.allclose(model(**batch).logits, before, rtol=0, atol=TOLERANCE):
            return True
    del layer.forward
    return False


def _first_token(layer: Any, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The first token's output of a layer, of shape (rows, 1, width), from all tokens' states.

    Args:
        mask: of shape (rows, 1, tokens, tokens): additive or boolean, for queries by keys.
    """
    attention, first = layer.attention, states[:, :1]
    query, key, value = (
        part(given).unflatten(-1, (-1, attention.self.attention_head_size)).transpose(1, 2)
        for part, given in (
            (attention.self.query, first),
            (attention.self.key, states),
            (attention.self.value, states),
        )
    )
    context = scaled_dot_product_attention(query, key, value, attn_mask=None if mask is None else mask[:, :, :1])
    return layer.feed_forward_chunk(attention.output(context.transpose(1, 2).flatten(2), first))
