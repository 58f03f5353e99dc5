"""The training loss, exact for every layout of batches."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers.utils import ModelOutput


def multilabel_loss(
    outputs: ModelOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Mean binary cross-entropy over all comments and labels of an optimiser step.

    The Trainer sums what it gets over the micro-batches of gradient accumulation and averages it over processes
    (times their number). The loss inside the models is a mean over one micro-batch, so that this sum grows with the
    layout. Dividing the micro-batch's sum by the step's own number of items makes 1 × 16, 4 × 4 and two processes × 8
    the same loss, gradient and weights.

    Args:
        outputs: has `logits`, shape (batch, labels).
        labels: floats 0 or 1, same shape.
        num_items_in_batch: comments × labels of the whole step over all processes; None when evaluating.
    """
    logits: torch.Tensor = outputs["logits"]
    total = binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")
    return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)
