"""One bucket of one lane: its buffers, its engine's run, and the CUDA graph of the whole way."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import Inputs
from runtime.engines.nvidia.cuda import Cuda
from runtime.engines.nvidia.drawing import ROWS, arguments, grid, row_parameters
from runtime.errors import EngineError, OutOfDeviceMemoryError
from runtime.sampling.streams import Draws

logger = logging.getLogger(__name__)

_WARM_RUNS = 3
"""ONNX Runtime records its own graphs in its second run; engines choose kernels in their first."""


_WARMING = threading.Lock()
"""Engines record and allocate while they warm up, which must not meet in one process."""


class Execution(Protocol):
    """One graph at one batch size, on one lane's stream."""

    @property
    def scratch(self) -> int:
        """Bytes of device memory that it writes in while it runs."""
        ...

    @property
    def can_be_captured(self) -> bool:
        """Whether `enqueue` may be recorded as a CUDA graph."""
        ...

    def bind(self, addresses: Mapping[str, int], scratch: int) -> None:
        """Use these device buffers from now on."""
        ...

    def enqueue(self, stream: int) -> None:
        """Queue one run on the stream."""
        ...


class Slot:
    """One bucket of one graph in one lane."""

    def __init__(
        self,
        cuda: Cuda,
        stream: int,
        allocate: Callable[[int, ExitStack], int],
        opened: ExitStack,
        spec: GraphSpec,
        bucket: int,
    ) -> None:
        self._cuda, self._stream = cuda, stream
        self._device: dict[str, int] = {}
        self._host: dict[str, NDArray[Any]] = {}
        self._inputs = [tensor.name for tensor in spec.inputs]
        self._outputs = [tensor.name for tensor in spec.outputs]
        self._allocate, self._opened, self._bucket = allocate, opened, bucket
        for tensor in (*spec.inputs, *spec.outputs):
            self._add_buffers(tensor.name, tensor.dtype, tensor.at())
        self._graph: int | None = None
        self._drawing_graph: int | None = None
        self._drawing: Callable[[], None] | None = None

    def prepare(self, execution: Execution, scratch: int) -> None:
        """Bind the buffers, run a few times, and record the run if it can be."""
        self._execution = execution
        execution.bind(self._device, scratch)
        with _WARMING:
            for _ in range(_WARM_RUNS):
                self._enqueue()
                self._cuda.synchronize(self._stream)
        self._graph = self._recorded(self._enqueue)

    def prepare_drawing(self, kernel: int) -> None:
        """The same run with latents that are drawn on the device from what `ROWS` says."""
        for name, dtype in ROWS.items():
            self._add_buffers(name, dtype)
        values = prod(self._host["latents"].shape[1:])
        given = arguments(self._device, self._device["latents"], self._bucket, values)

        def draw() -> None:
            for name in ROWS:
                self._cuda.copy_in(self._device[name], self._host[name], self._stream)
            self._cuda.launch_kernel(kernel, grid(self._bucket, values), given, self._stream)
            self._enqueue(drawn=True)

        draw()
        self._cuda.synchronize(self._stream)
        self._drawing = draw
        self._drawing_graph = self._recorded(draw)

    def run(self, inputs: Inputs, rows: int) -> dict[str, NDArray[Any]]:
        """The outputs of so many rows: views of buffers that the next run writes again.

        Further rows hold values of an earlier run, and their outputs are ignored.
        """
        latents = inputs.get("latents")
        draws = isinstance(latents, Draws) and self._drawing is not None
        given: dict[str, Any] = dict(inputs)
        if isinstance(latents, Draws) and draws:
            del given["latents"]
            given |= row_parameters(latents)
        for name, values in given.items():
            self._host[name][:rows] = values
        graph = self._drawing_graph if draws else self._graph
        if graph is not None:
            self._cuda.launch(graph, self._stream)
        elif draws and self._drawing is not None:
            self._drawing()
        else:
            self._enqueue()
        self._cuda.synchronize(self._stream)
        return {name: self._host[name][:rows] for name in self._outputs}

    def close(self) -> None:
        for graph in (self._graph, self._drawing_graph):
            if graph is not None:
                self._cuda.destroy_graph(graph)
        # It holds this slot, which would hold the engine until a collection.
        self._drawing = None
        del self._execution

    def _add_buffers(self, name: str, dtype: DTypeLike, shape: tuple[int, ...] = ()) -> None:
        """A tensor's memory on the device and, page-locked, on the host."""
        size = self._bucket * prod(shape) * np.dtype(dtype).itemsize
        self._device[name] = self._allocate(size, self._opened)
        raw = self._cuda.allocate_host(size)
        self._opened.callback(self._cuda.free_host, raw)
        self._host[name] = raw.view(dtype).reshape(self._bucket, *shape)

    def _recorded(self, work: Callable[[], None]) -> int | None:
        if not self._execution.can_be_captured:
            return None
        try:
            return self._cuda.capture(self._stream, work)
        except OutOfDeviceMemoryError:
            raise
        except EngineError as error:
            logger.warning("runs without a CUDA graph, and so slower: %s", error)
            return None

    def _enqueue(self, drawn: bool = False) -> None:
        for name in self._inputs:
            if not (drawn and name == "latents"):
                self._cuda.copy_in(self._device[name], self._host[name], self._stream)
        self._execution.enqueue(self._stream)
        for name in self._outputs:
            self._cuda.copy_out(self._host[name], self._device[name], self._stream)
