"""What the backends on NVIDIA GPUs have in common: lanes on every device, and their description.

Several GPUs are lanes on several devices: which of them runs a batch makes no difference to it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from runtime.engines.backend import Inputs, Setting, Tensors
from runtime.engines.nvidia import devices
from runtime.engines.nvidia.cuda import CudaRuntime
from runtime.engines.nvidia.devices import Gpu
from runtime.engines.nvidia.drawing import KERNEL, compiled
from runtime.engines.nvidia.lanes import Engine, Lane, Lanes, open_lane
from runtime.errors import EngineError, OutOfDeviceMemoryError

logger = logging.getLogger(__name__)

LANES_PER_GPU = 2
"""One lane's images are copied out while the other's are computed."""

Engines = Mapping[str, Engine]


class GpuBackend:
    """Engines on every visible GPU, behind one queue of lanes.

    `open_engines` makes the engines of one device. `setting.runners` are the runs in flight at
    once: lanes in all, at least one a device. `on`: these GPUs alone.
    """

    def __init__(
        self,
        open_engines: Callable[[Gpu], Engines],
        *,
        engine: str,
        setting: Setting,
        on: Sequence[Gpu] = (),
    ) -> None:
        there = on or devices.gpus()
        if not there:
            raise EngineError(devices.NO_GPU)
        self.draws = True
        with ExitStack() as opened:
            lanes: list[Lane] = []
            for gpu in there:
                cuda = CudaRuntime(gpu.index)
                streams = [
                    cuda.create_stream() for _ in range(max(1, setting.runners // len(there)))
                ]
                for stream in streams:  # which go last: engines may hold on to them
                    opened.callback(cuda.destroy_stream, stream)
                # The device that they are opened on is the thread's current one, by the above.
                engines = open_engines(gpu)
                for each in engines.values():
                    opened.callback(each.close)
                kernel = _drawing_kernel(cuda, gpu)
                self.draws = self.draws and kernel is not None
                largest = setting.batch
                for number, stream in enumerate(streams):
                    try:
                        lane = open_lane(cuda, stream, engines, largest, kernel)
                    except OutOfDeviceMemoryError as error:
                        if number == 0:
                            raise
                        logger.warning("going on with %d lanes on %s: %s", number, gpu.name, error)
                        break
                    opened.callback(lane.close)
                    lanes.append(lane)
                    largest = lane.largest  # the next one meets the same limit
            self._opened = opened.pop_all()
        self._lanes = Lanes(lanes)
        self.max_batch = max(lane.largest for lane in lanes)
        self.memory = sum(lane.memory for lane in lanes)
        """Bytes of device memory in buffers and scratch."""
        names = ", ".join(sorted({gpu.name for gpu in there}))
        self._description = (
            f"{engine} on {len(there)} GPU{'s' if len(there) > 1 else ''} ({names}), "
            f"{len(lanes)} lanes, {self.memory / 2**20:.0f} MiB of device memory beside the weights"
        )

    @property
    def description(self) -> str:
        return self._description

    def run(
        self, graph: str, inputs: Inputs, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        return self._lanes.run(graph, inputs, out)

    def close(self) -> None:
        self._opened.close()


def _drawing_kernel(cuda: CudaRuntime, gpu: Gpu) -> int | None:
    """The kernel that draws latents on this GPU; without it the host draws them, which it does at
    some 200,000 a second and core."""
    try:
        return cuda.load_kernel(compiled(gpu.capability), KERNEL)
    except EngineError as error:
        logger.warning("latents are drawn by the host, which may well be the slower: %s", error)
        return None
