"""The kernel that draws latents, compiled for the CPU from the source that NVRTC compiles."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.engines.nvidia.drawing import source

Kernel = Callable[..., None]
"""(blocks, threads a block, *the kernel's arguments)"""

_BEFORE = """
#include <math.h>
#define __device__
#define __global__
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
// A thread's own, as on a GPU: lanes run at once.
static thread_local struct { int x; } blockIdx, blockDim, threadIdx;
"""
_BEHIND = """
extern "C" void launch(int blocks, int threads, const u64 *seed, const u64 *number,
                       const double *low, const double *span, const double *limit, float *latents,
                       int rows, int values, u64 stream) {
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            normals(seed, number, low, span, limit, latents, rows, values, stream);
}
"""


def compile_kernel(folder: Path) -> Kernel:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    (folder / "normals.cpp").write_text(_BEFORE + source() + _BEHIND)
    # As --fmad=false: no fused multiply-add.
    options = ["-O2", "-ffp-contract=off", "-shared", "-fPIC"]
    files = [str(folder / "normals.cpp"), "-o", str(folder / "normals.so")]
    subprocess.run([compiler, *options, *files], check=True)
    library: Any = ctypes.CDLL(str(folder / "normals.so"))
    library.launch.restype = None
    return library.launch
