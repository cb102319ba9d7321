"""The GPUs of this machine, as its driver describes them; no library but the driver is needed."""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""`CUdevice_attribute`s of the driver API."""

NO_GPU = (
    "no NVIDIA GPU is visible: expected a driver (libcuda.so.1) and a device "
    "(`nvidia-smi` lists them; CUDA_VISIBLE_DEVICES hides them)"
)


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU. `index` counts the visible ones (CUDA_VISIBLE_DEVICES hides others)."""

    index: int
    name: str
    capability: tuple[int, int]
    """Compute capability: (9, 0) for Hopper. Engines are built for one."""
    memory: int
    """Bytes in all."""


def dotted(capability: tuple[int, int]) -> str:
    """A compute capability as it is written: `9.0`."""
    return "{}.{}".format(*capability)


@cache
def gpus() -> tuple[Gpu, ...]:
    """The visible GPUs; none where there is no driver."""
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_describe(driver, index) for index in range(count.value))


def _describe(driver: Any, index: int) -> Gpu:
    device, number = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(128)
    driver.cuDeviceGetName(name, len(name), device)
    capability: list[int] = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        capability.append(number.value)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(index, name.value.decode(), (capability[0], capability[1]), memory.value)
