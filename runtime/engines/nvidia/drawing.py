"""Latents drawn on the GPU: 40 bytes a row go there instead of the latent itself, and no core of
the host spends time on it. The numbers are those of `runtime.sampling.streams`."""

import logging
import math
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from runtime.engines.nvidia.cuda import import_cuda
from runtime.errors import EngineError
from runtime.sampling.streams import Draws, Stream

logger = logging.getLogger(__name__)

KERNEL = "normals"

ROWS: dict[str, Any] = {
    "seed": np.uint64,
    "number": np.uint64,
    "low": np.float64,
    "span": np.float64,
    "limit": np.float64,
}
"""What the kernel is given of every row, in its order."""

_THREADS = 256


def row_parameters(draws: Draws) -> dict[str, Any]:
    """`ROWS` of these draws: [rows] each."""
    counts = [counter.count for counter, _ in draws.segments]
    bounds = [_bounds(truncation) for _, truncation in draws.segments]
    seeds, numbers = zip(*(counter.numbers() for counter, _ in draws.segments), strict=True)
    parameters = {"seed": np.concatenate(seeds), "number": np.concatenate(numbers)}
    columns = zip(("low", "span", "limit"), zip(*bounds, strict=True), strict=True)
    return parameters | {name: np.repeat(column, counts) for name, column in columns}


@lru_cache(maxsize=1024)
def _bounds(truncation: float | None) -> tuple[float, float, float]:
    """Where the uniforms are mapped to, and the largest value."""
    if truncation is None:
        return 0.0, 1.0, math.inf
    # Imported on first use: it costs a tenth of a second.
    from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

    low, high = float(ndtr(-truncation)), float(ndtr(truncation))
    return low, high - low, truncation


def grid(rows: int, values: int) -> tuple[int, int]:
    """Blocks and threads a block: a thread for every four values."""
    return -(-rows * -(-values // 4) // _THREADS), _THREADS


def arguments(pointers: dict[str, int], latents: int, rows: int, values: int) -> list[Any]:
    """The kernel's arguments, typed as it declares them."""
    import ctypes

    given = [(ctypes.c_void_p, pointers[name]) for name in ROWS]
    numbers = [(ctypes.c_int, rows), (ctypes.c_int, values), (ctypes.c_uint64, int(Stream.LATENT))]
    return [*given, (ctypes.c_void_p, latents), *numbers]


def source() -> str:
    """The kernel, as CUDA C++."""
    return files("runtime.engines.nvidia").joinpath("normals.cu").read_text()


@cache
def compiled(capability: tuple[int, int]) -> bytes:
    """The kernel for GPUs of a compute capability. Raises EngineError where NVRTC is missing or
    knows no such GPU."""
    nvrtc = import_cuda("nvrtc")
    # Every operation rounded by itself, as on the host: no fused multiply-add.
    options = [b"--gpu-architecture=sm_%d%d" % capability, b"--fmad=false"]
    try:
        program = _check(
            nvrtc, nvrtc.nvrtcCreateProgram(source().encode(), b"normals.cu", 0, [], [])
        )
        status = nvrtc.nvrtcCompileProgram(program, len(options), options)[0]
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = b" " * _check(nvrtc, nvrtc.nvrtcGetProgramLogSize(program))
            nvrtc.nvrtcGetProgramLog(program, log)
            raise EngineError(f"NVRTC cannot compile normals.cu: {log.decode(errors='replace')}")
        image = b" " * _check(nvrtc, nvrtc.nvrtcGetCUBINSize(program))
        _check(nvrtc, nvrtc.nvrtcGetCUBIN(program, image))
    except RuntimeError as error:  # the library itself is loaded by the first call
        raise EngineError(
            f"NVRTC cannot be loaded ({error}): `pip install nvidia-cuda-nvrtc`"
        ) from error
    return image


def _check(nvrtc: Any, result: tuple[Any, ...]) -> Any:
    status, *values = result
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise EngineError(f"NVRTC: {nvrtc.nvrtcGetErrorString(status)[1].decode()}")
    return values[0] if values else None
