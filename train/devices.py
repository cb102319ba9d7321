"""The device that trains: which one, its name, and whether it computes in bf16."""

import os
from collections.abc import Iterable

import torch

from runtime.machine import cpu_flags, cpu_model
from train.errors import RunError

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux's names for instructions that multiply in bf16: Intel's and AMD's, and Arm's."""


def find(name: str) -> torch.device:
    """The device of a name of torch's, or of "auto": a GPU when there is one. Raises RunError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)  # a name may be right and its device still not be there
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(
            f"--device: expected auto, cpu or a GPU of this machine, found {name!r}: {reason}"
        ) from error
    if device.index is not None:
        torch.cuda.set_device(device)  # NCCL sums on the current one
    return device


def describe(device: torch.device) -> str:
    """Its name, for the record of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_model()}, {os.cpu_count()} cores"


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16. One that does not emulates it, many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and cpu_has_bf16(cpu_flags().split())


def cpu_has_bf16(flags: Iterable[str]) -> bool:
    """The same of a processor with these flags (of /proc/cpuinfo); False where none are known."""
    return not _BF16_FLAGS.isdisjoint(flags)
