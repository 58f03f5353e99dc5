"""A new classifier that starts from what its encoder makes of the labels' descriptions.

With few comments of a label, most of what an output layer has to find is the direction in which they lie. A sentence
about the label, or its name alone, gives one before the first comment is read (docs/study.md says what that is worth).
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError
from utils.model.head import output_layer

SPREAD = 0.5  # standard deviation of a label's logits over comments, in the mean over labels; chosen on validation
LARGEST = 0.1  # root mean square of the weights; sentence encoders need 0.02 to 0.04, a new layer has 0.02
_COMMENTS, _TOKENS, _BATCH = 256, 64, 32
_TOLERANCE = 1e-3  # of logits


def start_from_descriptions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    descriptions: Sequence[str],
    comments: Sequence[str],
    spread: float = SPREAD,
) -> None:
    """Make each label's weights what the output layer gets for its description, less the mean over labels (of a single
    label: over comments).

    One scale for all of them gives the logits of comments a standard deviation of `spread`, or less where the encoder
    makes nearly the same of every text: weights beyond `LARGEST` would drown it in their gradients. The bias, which
    says how frequent labels are, is lowered by what the weights add to the mean logit of comments.

    Args:
        descriptions: one for each label, in the order of the model's outputs.
        comments: what will be learned from; a few hundred of them, evenly spaced, are read.

    Raises:
        InputError: the model's logits are not what its output layer makes of one vector per text, or the encoder makes
            the same of all descriptions.
    """
    layer = output_layer(model)
    some = [comments[index] for index in np.linspace(0, len(comments) - 1, min(len(comments), _COMMENTS), dtype=int)]
    described, read = _read(model, tokenizer, descriptions), _read(model, tokenizer, some)
    with torch.no_grad():
        weights = described - (described if len(described) > 1 else read).mean(dim=0)
        logits = read @ weights.T
        spread_now = logits.std(dim=0, correction=0).mean()
        if not spread_now > 0:
            raise InputError(
                f"--label_descriptions: {type(model).__name__} makes the same of every text; leave it unset, or take "
                "another encoder."
            )
        scale = min(spread / spread_now, LARGEST / weights.square().mean().sqrt())
        layer.weight.copy_(weights * scale)
        if layer.bias is not None:
            layer.bias.sub_(logits.mean(dim=0) * scale)


@torch.no_grad()
def _read(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> torch.Tensor:
    """What the output layer gets for each text, without dropout: shape (texts, width)."""
    layer, given = output_layer(model), []
    hook = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    training = model.training
    model.eval()
    vectors = []
    try:
        for start in range(0, len(texts), _BATCH):
            batch = tokenizer(
                list(texts[start : start + _BATCH]),
                truncation=True,
                max_length=min(_TOKENS, tokenizer.model_max_length),
                padding=True,
                return_tensors="pt",
            )
            given.clear()
            logits, states = model(**batch).logits, given[0]
            if states.ndim == 3:  # GPT-2, Qwen and other causal models classify every token, and take the last one's
                states = states[torch.arange(len(states)), batch["attention_mask"].sum(dim=1) - 1]
            if not torch.allclose(layer(states), logits, rtol=0, atol=_TOLERANCE):
                raise InputError(
                    f"--label_descriptions does not know how {type(model).__name__} classifies; leave it unset."
                )
            vectors.append(states)
    finally:
        hook.remove()
        model.train(training)
    return torch.cat(vectors)
