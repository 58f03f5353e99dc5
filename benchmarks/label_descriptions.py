"""An ingredient of quality_study.py: the classifier starts from what the encoder makes of the labels' descriptions."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.model.head import label_list, output_layer

# Each emotion's name and, in other words, what the paper's raters were told of it (Demszky et al. 2020, appendix A).
DESCRIPTIONS = {
    "admiration": "admiration: respect, finding it impressive",
    "amusement": "amusement: laughing, finding it funny",
    "anger": "anger: rage, strong displeasure",
    "annoyance": "annoyance: mildly angry, irritated",
    "approval": "approval: agreeing, a good opinion of it",
    "caring": "caring: kindness, concern for another",
    "confusion": "confusion: not understanding, unsure",
    "curiosity": "curiosity: wanting to know or learn",
    "desire": "desire: wishing for something",
    "disappointment": "disappointment: hopes that were not fulfilled",
    "disapproval": "disapproval: disagreeing, a bad opinion of it",
    "disgust": "disgust: revolted by something gross",
    "embarrassment": "embarrassment: ashamed, awkward",
    "excitement": "excitement: thrilled and eager",
    "fear": "fear: afraid, scared",
    "gratitude": "gratitude: thankful, appreciating",
    "grief": "grief: mourning somebody's death",
    "joy": "joy: happy, delighted",
    "love": "love: strong affection",
    "nervousness": "nervousness: anxious, worried",
    "optimism": "optimism: hopeful about the future",
    "pride": "pride: proud of what one has achieved",
    "realization": "realization: becoming aware of something",
    "relief": "relief: reassured, the worry is over",
    "remorse": "remorse: sorry, feeling guilty",
    "sadness": "sadness: unhappy, sorrow",
    "surprise": "surprise: astonished by the unexpected",
    "neutral": "neutral: no emotion",
}


@torch.no_grad()
def read_by_classifier(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> torch.Tensor:
    """What the output layer gets for each text, without dropout: shape (texts, width)."""
    seen: list[torch.Tensor] = []
    hook = output_layer(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    training = model.training
    model.eval()
    try:
        for start in range(0, len(texts), 64):
            some = list(texts[start : start + 64])
            model(**tokenizer(some, truncation=True, max_length=64, padding=True, return_tensors="pt"))
    finally:
        hook.remove()
        model.train(training)
    return torch.cat(seen)


def start_from_descriptions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, comments: Sequence[str], spread: float = 0.5
) -> None:
    """Make each label's weights what its description gives, less the mean over labels.

    One scale for all of them gives the logits of `comments` a standard deviation of `spread` in the mean over labels.
    The bias, which says how frequent the labels are, is lowered by what that adds to the mean logit of the comments.
    """
    layer: nn.Linear = output_layer(model)
    described = read_by_classifier(model, tokenizer, [DESCRIPTIONS[name] for name in label_list(model.config)])
    read, weights = read_by_classifier(model, tokenizer, comments), described - described.mean(dim=0)
    weights *= spread / (read @ weights.T).std(dim=0).mean()
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias -= (read @ weights.T).mean(dim=0)
