"""How much one model may take, and the setting that it is run with."""

from dataclasses import dataclass

from runtime.artifact.manifest import Manifest
from runtime.engines.backend import Place, Setting
from runtime.engines.gpu import LANES_PER_GPU
from runtime.engines.nvidia import devices
from runtime.machine import cores, free_memory
from runtime.requests.checks import check_integer

_MEMORY_SHARE = 2
_LARGEST = {"memory": 1 << 50}
_GPU_BATCH = 256
"""Images in one run on a GPU, unless `Limits.batch` says otherwise."""


@dataclass(frozen=True)
class Limits:
    """How much one model may take.

    `batch`: images in one engine run (None: the largest the artifact was verified at; on a GPU 256,
    or more where that is more). `queue_images`: images waiting before callers wait or are refused.
    `runners`: engine runs in flight at once; `threads`: cores each of them uses. None derives
    both from the cores this process may use: one thread a run, a run for each core, up to 8; on
    GPUs, two runs for each. `memory`: bytes that the runs in flight, and the requests that wait,
    may each hold together (None: half of the memory that is free when the model is loaded).
    """

    batch: int | None = None
    queue_images: int = 4096
    runners: int | None = None
    threads: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None:
                check_integer(f"limits.{name}", value, 1, _LARGEST.get(name, 1 << 20))

    @property
    def bytes(self) -> int:
        """The memory that a model may take."""
        return self.memory or free_memory() // _MEMORY_SHARE

    def setting(self, manifest: Manifest, device: Place) -> Setting:
        """How a model is run on a device: within these limits, else by the machine."""
        if device == "cuda":
            # Beyond the batches of the export: on GPUs, engines are compared with the reference.
            runners = self.runners or LANES_PER_GPU * len(devices.gpus())
            return Setting(runners, 1, self.batch or max(_GPU_BATCH, manifest.max_batch))
        # On CPUs several one-thread runs beat one run on several threads.
        runners = self.runners or min(8, cores())
        threads = self.threads or max(1, cores() // runners)
        batch = min(self.batch or manifest.max_batch, manifest.max_batch)
        return Setting(runners, threads, batch)
