"""Several processes on one job, as torchrun and accelerate start them: which one this is, waiting for the others."""

import os
from datetime import timedelta

from torch import distributed


def layout() -> tuple[int, int, int]:
    """This process's number, how many there are, and its number on this machine."""
    return tuple(int(os.environ.get(*name)) for name in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")))


def wait_for_all() -> None:
    """Return once every process has come here, however much longer one takes: a day at most."""
    if layout()[1] > 1:
        if not distributed.is_initialized():
            # gloo on GPUs too: nothing but the waiting goes through it.
            distributed.init_process_group("gloo", timeout=timedelta(days=1))
        distributed.barrier()


def leave() -> None:
    """Wait once more, then close the group: the launcher ends all processes when one leaves before the others."""
    wait_for_all()
    if distributed.is_initialized():
        distributed.destroy_process_group()
