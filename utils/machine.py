"""What the machine offers: its cores, whether bf16 is faster on it, and which of several processes this is.

torch and accelerate take seconds to import. A script that only has a wrong argument to report does without them, so
they are imported where they are needed.
"""

import os
import sys

# How often a thread of GNU's OpenMP, which torch's wheels for Linux bring along, looks for work before it sleeps. Its
# own 300,000 times are milliseconds: on a machine that is busy otherwise, threads then wait for each other by keeping
# each other from the cores (benchmarks/competing_load.py). It is read once, when torch is imported.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "3000"

PRECISIONS = ("auto", "fp32", "bf16", "int8")  # in which a model computes its answers


def launched_processes() -> int:
    """How many processes a launcher has started, this one included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def has_accelerator() -> bool:
    """Whether there is a GPU, of NVIDIA's or AMD's kind or Apple's."""
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def is_main_process() -> bool:
    """True in the one process that talks and writes files.

    Until the processes have found each other, the launcher's RANK tells: nobody waits for others to say a sentence.
    """
    state = sys.modules.get("accelerate.state")
    if state is not None and state.PartialState._shared_state:
        return state.PartialState().is_main_process
    return int(os.environ.get("RANK", "0")) == 0


def is_launched_with_others() -> bool:
    """Whether a launcher has started several processes that have found each other."""
    if launched_processes() == 1:
        return False
    state = sys.modules.get("accelerate.state")
    return state is not None and bool(state.PartialState._shared_state) and state.PartialState().num_processes > 1


def leave_together() -> None:
    """Wait until every process has come here, then close the process group.

    A process that left while the main one still writes results would have the launcher end them all.
    """
    from accelerate import PartialState

    state = PartialState()
    if state.num_processes > 1:
        state.wait_for_everyone()
        state.destroy_process_group()


def share_cores() -> None:
    """On CPUs, give each process its part of the cores: `accelerate launch` leaves it one unless told otherwise."""
    import torch

    if "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def bf16_pays(use_cpu: bool) -> bool:
    """True where the device has bf16 in hardware and multiplies it faster than fp32: the same on every call.

    GPUs that have it do. CPUs are known by what they say of themselves. Those with AMX are several times as fast in
    bf16; AMD's with AVX512-BF16, Zen 4 and later, 2.5 times (391 against 154 GFLOP/s on two cores). Intel's with
    AVX512-BF16 and no AMX can be half as fast, and others were not measured: they stay at fp32.
    """
    import torch

    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.mps.is_available() and not use_cpu:
        return False
    says = torch.cpu.get_capabilities()
    return bool(says.get("amx_bf16") or (says.get("avx512_bf16") and str(says.get("cpu_name", "")).startswith("AMD")))
