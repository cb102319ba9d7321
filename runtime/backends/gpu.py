"""What the backends on NVIDIA GPUs have in common: lanes on every device, and how they are told of.

Several GPUs are lanes on several devices: which of them runs a batch makes no difference to it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from runtime.backends import Setting, Tensors
from runtime.errors import EngineError
from runtime.manifest import GraphName
from runtime.nvidia.cuda import Cuda, CudaRuntime
from runtime.nvidia.devices import Gpu, gpus
from runtime.nvidia.lanes import Engine, Lane, Lanes, open_lane

LANES_PER_GPU = 2
"""One lane's images are copied out while the other's are computed."""

Engines = Mapping[GraphName, Engine]


class GpuBackend:
    """Engines on every visible GPU, behind one queue of lanes.

    `open_engines` makes the engines of one device, `cuda` its CUDA. `setting.runners` are
    the runs in flight at once: lanes in all, at least one a device.
    """

    def __init__(
        self,
        open_engines: Callable[[Gpu], Engines],
        *,
        engine: str,
        setting: Setting,
        devices: Sequence[Gpu] = (),
        cuda: Callable[[int], Cuda] = CudaRuntime,
    ) -> None:
        devices = devices or gpus()
        if not devices:
            raise EngineError(NO_GPU)
        with ExitStack() as opened:
            lanes: list[Lane] = []
            for gpu in devices:
                api = cuda(gpu.index)
                streams = [
                    api.create_stream() for _ in range(max(1, setting.runners // len(devices)))
                ]
                for stream in streams:  # which go last: engines may hold on to them
                    opened.callback(api.destroy_stream, stream)
                engines = open_engines(gpu)
                for each in engines.values():
                    opened.callback(each.close)
                for stream in streams:
                    lanes.append(open_lane(api, stream, engines, setting.batch))
                    opened.callback(lanes[-1].close)
            self._opened = opened.pop_all()
        self._lanes = Lanes(lanes)
        self.max_batch = max(lane.largest for lane in lanes)
        self.memory = sum(lane.memory for lane in lanes)
        """Bytes of device memory in buffers and scratch."""
        names = ", ".join(sorted({gpu.name for gpu in devices}))
        self._description = (
            f"{engine} on {len(devices)} GPU{'s' if len(devices) > 1 else ''} ({names}), "
            f"{len(lanes)} lanes, {self.memory / 2**20:.0f} MiB of device memory beside the weights"
        )

    @property
    def description(self) -> str:
        return self._description

    def run(
        self, graph: GraphName, inputs: Tensors, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        return self._lanes.run(graph, inputs, out)

    def close(self) -> None:
        self._opened.close()


NO_GPU = (
    "no NVIDIA GPU is visible: expected a driver (libcuda.so.1) and a device "
    "(`nvidia-smi` lists them; CUDA_VISIBLE_DEVICES hides them)"
)
