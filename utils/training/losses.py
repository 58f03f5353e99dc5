"""The training loss, exact for every layout of batches."""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers.utils import ModelOutput


def multilabel_loss(
    outputs: ModelOutput,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    pos_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean binary cross-entropy over all comments and labels of an optimiser step.

    The Trainer sums what it gets over the micro-batches of gradient accumulation and averages it over processes
    (times their number). The loss inside the models is a mean over one micro-batch, so that this sum grows with the
    layout. Dividing the micro-batch's sum by the step's own number of items makes 1 × 16, 4 × 4 and two processes × 8
    the same loss, gradient and weights.

    Args:
        outputs: has `logits`, shape (batch, labels).
        labels: floats 0 or 1, same shape.
        num_items_in_batch: comments × labels of the whole step over all processes; None for those of this batch.
        pos_weight: what the positives of each label weigh, shape (labels,); None for 1.
    """
    logits: torch.Tensor = outputs["logits"]
    weight = None if pos_weight is None else pos_weight.to(logits.device)
    total = binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum", pos_weight=weight)
    return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


def balanced_weights(label_matrix: np.ndarray) -> torch.Tensor:
    """Negatives / positives of each label, with which its few positives weigh as much as its many negatives.

    A label with rows of one kind only has nothing to balance, and gets 1.

    Args:
        label_matrix: zeros and ones, shape (rows, labels).
    """
    positives = label_matrix.sum(axis=0, dtype=np.float64)
    negatives = len(label_matrix) - positives
    weights = np.divide(negatives, positives, out=np.ones_like(positives), where=(positives > 0) & (negatives > 0))
    return torch.from_numpy(weights).float()
