"""The CUDA calls that we make, on one device: memory, streams, copies and graphs.

`Cuda` is the interface for the rest of the package; `CudaRuntime` implements it by cuda-bindings.
Pointers, streams and graphs are plain integers.
"""

import ctypes
import importlib
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import EngineError, OutOfDeviceMemoryError
from runtime.machine import to_install


def as_memory_error(error: EngineError) -> EngineError:
    """For libraries that report full device memory only in an error's text."""
    text = str(error).lower()
    full = "out of memory" in text or "failed to allocate" in text
    return OutOfDeviceMemoryError(str(error)) if full else error


class Cuda(Protocol):
    """One device. Every call acts on it, whatever the calling thread has used before."""

    def allocate(self, size: int) -> int:
        """Bytes of device memory; OutOfDeviceMemoryError where there is no room."""
        ...

    def free(self, pointer: int) -> None: ...

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Bytes of page-locked host memory, all zero: copies to and from it need no detour."""
        ...

    def free_host(self, array: NDArray[np.uint8]) -> None: ...

    def create_stream(self) -> int: ...

    def destroy_stream(self, stream: int) -> None: ...

    def copy_in(self, pointer: int, array: NDArray[Any], stream: int) -> None:
        """Copy from page-locked host memory; only queued on the stream."""
        ...

    def copy_out(self, array: NDArray[Any], pointer: int, stream: int) -> None:
        """Copy to page-locked host memory; only queued on the stream."""
        ...

    def synchronize(self, stream: int) -> None:
        """Wait until all that is queued on the stream is done."""
        ...

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record what `work` queues on the stream as a graph, without running it."""
        ...

    def launch(self, graph: int, stream: int) -> None: ...

    def destroy_graph(self, graph: int) -> None: ...

    def load_kernel(self, image: bytes, name: str) -> int:
        """A function of compiled code; the code stays loaded as long as the process runs."""
        ...

    def launch_kernel(
        self, kernel: int, grid: tuple[int, int], arguments: Sequence[tuple[Any, int]], stream: int
    ) -> None:
        """Queue (blocks, threads a block) on the stream; arguments are (ctypes type, value)."""
        ...


class CudaRuntime:
    """CUDA's runtime API on the device of that index."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._api = import_cuda("runtime")
        self._local = threading.local()
        self._call("cudaGetDeviceCount")

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def free(self, pointer: int) -> None:
        self._call("cudaFree", pointer)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        pointer = int(self._call("cudaHostAlloc", size, 0))
        array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))
        array[:] = 0
        return array

    def free_host(self, array: NDArray[np.uint8]) -> None:
        self._call("cudaFreeHost", array.ctypes.data)

    def create_stream(self) -> int:
        # Not held up by, and not holding up, the default stream, which libraries use.
        return int(self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def copy_in(self, pointer: int, array: NDArray[Any], stream: int) -> None:
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, kind, stream)

    def copy_out(self, array: NDArray[Any], pointer: int, stream: int) -> None:
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, kind, stream)

    def synchronize(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        # Of this thread's calls alone: other threads go on allocating and running meanwhile. The
        # device is this thread's by now, and is not set again while a stream records.
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        self._local.recording = True
        try:
            work()
        except BaseException:
            self._end_failed_capture(stream)
            raise
        finally:
            self._local.recording = False
        recorded = self._call("cudaStreamEndCapture", stream)
        try:
            return int(self._call("cudaGraphInstantiate", recorded, 0))
        finally:
            self._call("cudaGraphDestroy", recorded)

    def launch(self, graph: int, stream: int) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def load_kernel(self, image: bytes, name: str) -> int:
        self._call("cudaFree", 0)  # makes the device's context, which the driver's calls need
        driver = import_cuda("driver")
        module = self._check_driver(driver, "cuModuleLoadData", image)
        return int(self._check_driver(driver, "cuModuleGetFunction", module, name.encode()))

    def launch_kernel(
        self, kernel: int, grid: tuple[int, int], arguments: Sequence[tuple[Any, int]], stream: int
    ) -> None:
        types, values = zip(*arguments, strict=True)
        blocks, threads = grid
        sizes = (blocks, 1, 1, threads, 1, 1, 0)
        self._activate()
        driver = import_cuda("driver")
        self._check_driver(driver, "cuLaunchKernel", kernel, *sizes, stream, (values, types), 0)

    def _check_driver(self, driver: Any, name: str, *arguments: Any) -> Any:
        status, *values = getattr(driver, name)(*arguments)
        if status != driver.CUresult.CUDA_SUCCESS:
            text = driver.cuGetErrorString(status)[1]
            raise EngineError(f"CUDA device {self._device}: {name}: {text and text.decode()}")
        return values[0] if values else None

    def _end_failed_capture(self, stream: int) -> None:
        # A stream that is still capturing could not even be synchronised.
        self._api.cudaStreamEndCapture(stream)
        self._api.cudaGetLastError()

    def _call(self, name: str, *arguments: Any) -> Any:
        """One call on this device; its value, where it has one."""
        self._activate()
        return self._check(name, getattr(self._api, name)(*arguments))

    def _activate(self) -> None:
        if not getattr(self._local, "recording", False):
            self._check("cudaSetDevice", self._api.cudaSetDevice(self._device))

    def _check(self, name: str, result: tuple[Any, ...]) -> Any:
        status, *values = result
        errors = self._api.cudaError_t
        if status != errors.cudaSuccess:
            text = self._api.cudaGetErrorString(status)[1].decode()
            self._api.cudaGetLastError()  # else the next call of another library would meet it
            kind = (
                OutOfDeviceMemoryError
                if status == errors.cudaErrorMemoryAllocation
                else EngineError
            )
            raise kind(f"CUDA device {self._device}: {name}: {text}")
        return values[0] if values else None


@cache
def import_cuda(module: str) -> Any:
    """A module of cuda-bindings; EngineError with the way to install it where there is none."""
    try:
        return importlib.import_module(f"cuda.bindings.{module}")
    except ImportError as error:
        raise EngineError(
            f"cuda-bindings cannot be imported ({error}): "
            + to_install("onnx-gpu", "tensorrt", "tensorrt-rtx")
        ) from error
