"""Which rows of the training set make up each batch of each process."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class StepBatches(Sampler[list[int]]):
    """This process's share of every batch, drawn from one order that all processes and a resumed run agree on.

    The order is a function of seed and epoch alone, and each group of `batch_size × processes` rows is split evenly
    over the processes, the last, smaller one too. So the rows of each optimiser step are the same for every layout with
    the same total batch size, no row is trained on twice in an epoch to even things out (unless there are fewer left
    than processes), and a run that continues in mid-epoch needs no sampler state.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        *,
        processes: int = 1,
        process: int = 0,
        accumulated: int = 1,
        seed: int = 0,
        shuffled: bool = True,
        lengths: Sequence[int] | None = None,
        drop_last: bool = False,
    ):
        """
        Args:
            rows: of the training set.
            batch_size: rows of one process's batch.
            processes, process: how many there are, and the number of this one, from 0.
            accumulated: batches of an optimiser step.
            seed: of the order; each epoch adds its number.
            shuffled: False for the rows as they come.
            lengths: of each row, to put rows of similar length into one batch; None for any rows.
            drop_last: leave out the last group of an epoch where it is smaller than the others.
        """
        self.rows, self.processes, self.process = rows, processes, process
        self.group = batch_size * processes
        self.step = self.group * accumulated
        self.seed, self.epoch = seed, 0
        self.shuffled, self.lengths, self.drop_last = shuffled, lengths, drop_last

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // self.group if self.drop_last else -(-self.rows // self.group)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        for index in range(len(self)):
            group = order[index * self.group : (index + 1) * self.group]
            group += order[: max(0, self.processes - len(group))]
            yield group[self.process * len(group) // self.processes : (self.process + 1) * len(group) // self.processes]

    def _order(self) -> list[int]:
        if not self.shuffled:
            return list(range(self.rows))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.lengths is None:
            return torch.randperm(self.rows, generator=generator).tolist()
        return get_length_grouped_indices(self.lengths, self.step, generator=generator)
