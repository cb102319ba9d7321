"""How much one model may take, and the setting that it is run with."""

from dataclasses import dataclass

from runtime.artifact.reading import Artifact
from runtime.checks import check_integer
from runtime.engines.backend import Place, Setting
from runtime.engines.gpu import LANES_PER_GPU
from runtime.engines.nvidia import devices
from runtime.machine import cores, free_memory

_MEMORY_SHARE = 2
_LARGEST = {"memory": 1 << 50}
_GPU_BATCH = 256
"""Images in one run on a GPU, unless `Limits.batch` says otherwise."""
_SLOW = 20_000_000_000
"""Multiply-adds of one image that take one core most of a second. Above this, one run at a time
uses all cores."""
RUN_BYTES = 128 << 20
"""Of the rows of one run on a CPU: far beyond its caches, where more rows bring no more speed, only
memory."""


@dataclass(frozen=True)
class Limits:
    """How much one model may take.

    `batch`: images in one engine run (None: the largest the artifact was verified at, or as many as
    take `RUN_BYTES`; on a GPU 256, or the former where that is more). `queue_images`: images
    waiting before callers wait or are refused. `runners`: engine runs in flight at once; `threads`:
    cores each of them uses. None derives both from `cores`: a run of one thread for each
    core, up to 8; where an image takes one core long, one run on all cores; on GPUs, two runs each.
    One image that nothing else waits beside may have all of these runs' cores.
    `cores`: the model's share (None: all that this process may use), of several processes on one
    machine say. `memory`: bytes that the runs in flight, and the requests that wait, may each hold
    together (None: half of the memory that is free when the model is loaded).
    """

    batch: int | None = None
    queue_images: int = 4096
    runners: int | None = None
    threads: int | None = None
    memory: int | None = None
    cores: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None or name == "queue_images":
                check_integer(f"limits.{name}", value, 1, _LARGEST.get(name, 1 << 20))

    @property
    def bytes(self) -> int:
        """The memory that a model may take."""
        return self.memory or free_memory() // _MEMORY_SHARE

    def setting(self, artifact: Artifact, device: Place) -> Setting:
        """How a model is run on a device: within these limits, else by the machine and by what the
        artifact's graphs cost, where they have been read."""
        manifest = artifact.manifest
        if device == "cuda":
            # Beyond the batches of the export: on GPUs, engines are compared with the reference.
            runners = self.runners or LANES_PER_GPU * len(devices.gpus())
            return Setting(runners, 1, self.batch or max(_GPU_BATCH, manifest.max_batch))
        # On CPUs several one-thread runs beat one run on several threads.
        share = self.cores or cores()
        runners = self.runners or (1 if _is_slow(artifact) else min(8, share))
        threads = self.threads or max(1, share // runners)
        batch = min(self.batch or _batch(artifact), manifest.max_batch)
        return Setting(runners, threads, batch)


def _is_slow(artifact: Artifact) -> bool:
    size = artifact.manifest.default_size
    return any(b.cost(1, size).multiply_adds > _SLOW for b in artifact.bounds.values())


def _batch(artifact: Artifact) -> int:
    """The images of one run that make its memory `RUN_BYTES`, at least 1."""
    size = artifact.manifest.default_size
    rows = [bounds.rows(RUN_BYTES, size) for bounds in artifact.bounds.values()]
    return max(1, min(rows, default=artifact.manifest.max_batch))
