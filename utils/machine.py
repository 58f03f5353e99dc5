"""What the machine offers: its cores, whether bf16 is faster on it, and which of several processes this is."""

import os
import time

import torch
from accelerate import PartialState


def has_accelerator() -> bool:
    """Whether there is a GPU, of NVIDIA's or AMD's kind or Apple's."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def is_main_process() -> bool:
    """True in the one process that talks and writes files.

    Until the processes have found each other, the launcher's RANK tells: nobody waits for others to say a sentence.
    """
    if PartialState._shared_state:
        return PartialState().is_main_process
    return int(os.environ.get("RANK", "0")) == 0


def leave_together() -> None:
    """Wait until every process has come here, then close the process group.

    A process that left while the main one still writes results would have the launcher end them all.
    """
    state = PartialState()
    if state.num_processes > 1:
        state.wait_for_everyone()
        state.destroy_process_group()


def share_cores() -> None:
    """On CPUs, give each process its part of the cores: `accelerate launch` leaves it one unless told otherwise."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def bf16_pays(use_cpu: bool) -> bool:
    """True where the device has bf16 in hardware and multiplies it faster than fp32.

    GPUs that have it do. CPUs differ: with AMX it is several times as fast, with AVX512-BF16 alone anything from half
    to twice, so there it is measured, on a layer of an encoder's size, in a few hundredths of a second.
    """
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.mps.is_available() and not use_cpu:
        return False
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if not (features.get("avx512_bf16") or features.get("amx_bf16")):
        return False
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows, weight = torch.ones(512, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)
        times = []
        for _ in range(8):
            started = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            times.append(time.perf_counter() - started)
        seconds[dtype] = min(times)
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]
