"""`load` and `Model`: an artifact made ready to sample, decode and encode in batches."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from numpy.typing import ArrayLike, NDArray

from runtime.artifact import Artifact, read_artifact
from runtime.backends import Backend, Device, open_backend, zero_inputs
from runtime.batching import Batcher, Job
from runtime.errors import InputError
from runtime.golden import check_golden
from runtime.images import Float32Array, UInt8Array
from runtime.latents import PathKind, manifold_grid
from runtime.manifest import GraphName, Manifest, Precision
from runtime.observer import Observer
from runtime.requests import (
    Decode,
    Encode,
    Int64Array,
    Interpolate,
    Labels,
    Posterior,
    Request,
    Sample,
    check_integer,
    check_labels,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How much one model may take.

    `batch`: images in one engine run (None: the largest the artifact was verified at).
    `queue_images`: images waiting before callers wait or are refused.
    `runners`: engine runs in flight at once; `threads`: cores each of them uses. None derives
    both from the cores this process may use: one thread a run, a run for each core, up to 8.
    """

    batch: int | None = None
    queue_images: int = 4096
    runners: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None:
                check_integer(f"limits.{name}", value, 1, 1 << 20)


def load(
    artifact: str | Path,
    *,
    backend: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    device: Device = "auto",
    limits: Limits | None = None,
    observer: Observer | None = None,
) -> "Model":
    """Verify an artifact and make it ready: a path (`artifacts/mnist-vae`, `…/mnist-vae/1`), or a
    name in $LATENTSERVE_ARTIFACTS (default `artifacts/`); the highest version unless one is given.

    Before it returns, the artifact's golden images are reproduced on this machine's engine.
    Raises ArtifactError (damaged or unsafe), EngineError (engine missing, or wrong pixels),
    InputError (unknown backend or precision).
    """
    verified = read_artifact(artifact)
    limits = limits or Limits()
    runners, threads = _concurrency(limits)
    engine = open_backend(verified, backend, precision=precision, device=device, threads=threads)
    try:
        check_golden(verified, engine)
    except BaseException:
        engine.close()
        raise
    model = Model(verified, engine, limits=limits, runners=runners, observer=observer)
    manifest = verified.manifest
    logger.info(
        "loaded %s@%d: %s, %d runs at once, batches up to %d",
        manifest.name, manifest.version, engine.description, runners, model.max_batch,
    )  # fmt: skip
    return model


class Model:
    """A loaded artifact. Thread-safe; a context manager; see `load`.

    Images are uint8 [n, H, W, C], latents float32 [n, *latent], labels int64 [n] throughout.
    The methods raise InputError for unacceptable values before anything is run, and EngineError
    where the engine fails.
    """

    def __init__(
        self,
        artifact: Artifact,
        backend: Backend,
        *,
        limits: Limits,
        runners: int,
        observer: Observer | None = None,
    ) -> None:
        self.manifest: Manifest = artifact.manifest
        self.max_batch = min(limits.batch or self.manifest.max_batch, self.manifest.max_batch)
        self.runners = runners
        self.engine = backend.description
        self._backend = backend
        self._batcher = Batcher(
            backend,
            max_batch=self.max_batch,
            queue_images=limits.queue_images,
            runners=runners,
            observer=observer,
        )

    def submit(
        self, work: Request[T] | Job[T], *, wait: bool = True, deadline: float | None = None
    ) -> Future[T]:
        """Queue a request (`Sample`, `Decode`, `Encode`, `Interpolate`), or the job that its
        validation gave (`request.job(model.manifest)`), and return the future of its result.

        All other methods stand on this one. With `wait=False` a full queue raises
        OverloadedError; `deadline` (seconds) makes late work fail with DeadlineExceeded;
        cancelling the future takes the work out of the queue.
        """
        job = work if isinstance(work, Job) else work.job(self.manifest)
        return self._batcher.submit(job, wait=wait, deadline=deadline)

    def sample(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        offset: int = 0,
        seeds: Sequence[int] | None = None,
        labels: Labels | None = None,
        truncation: float | None = None,
    ) -> UInt8Array:
        """Images offset..offset+n of `seed`, or image 0 of each of `seeds`: [n, H, W, C].

        Image i of a seed depends on (artifact, seed, i, label, truncation) alone.
        """
        return self.submit(Sample(n, seed, offset, seeds, labels, truncation)).result()

    def stream(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        offset: int = 0,
        seeds: Sequence[int] | None = None,
        labels: Labels | None = None,
        truncation: float | None = None,
    ) -> Iterator[UInt8Array]:
        """The images of `sample` for the same arguments, in order, as batches, in bounded memory.

        A few batches are made ahead of the reader; leaving the loop cancels them.
        """
        return self.batches(Sample(n, seed, offset, seeds, labels, truncation))

    def batches(self, request: Request[T]) -> Iterator[T]:
        """The result of any request in parts, in order, in bounded memory.

        A few parts are made ahead of the reader; leaving the loop cancels them. Raises InputError
        at the call, not at the first part.
        """
        return self._batches(request.job(self.manifest))

    def _batches(self, job: Job[T]) -> Iterator[T]:
        ahead: deque[Future[T]] = deque()
        try:
            for start in range(0, job.count, self.max_batch):
                part = job.part(start, min(start + self.max_batch, job.count))
                ahead.append(self.submit(part))
                if len(ahead) > 2 * self.runners:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def latents(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        offset: int = 0,
        seeds: Sequence[int] | None = None,
        truncation: float | None = None,
    ) -> Float32Array:
        """The latents that `sample` decodes for the same arguments: [n, *latent]."""
        return Sample(n, seed, offset, seeds, truncation=truncation).latents(self.manifest)

    def labels(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        offset: int = 0,
        seeds: Sequence[int] | None = None,
        labels: Labels | None = None,
    ) -> Int64Array | None:
        """The class indices that `sample` uses for the same arguments: [n], or None."""
        return Sample(n, seed, offset, seeds, labels).chosen_labels(self.manifest)

    def decode(self, latents: ArrayLike, labels: Labels | None = None) -> UInt8Array:
        """Images of given latents [n, *latent]."""
        return self.submit(Decode(latents, labels)).result()

    def encode(self, images: NDArray[Any], labels: Labels | None = None) -> Posterior:
        """The posterior of uint8 images of the model's exact size."""
        return self.submit(Encode(images, labels)).result()

    def reconstruct(self, images: NDArray[Any], labels: Labels | None = None) -> UInt8Array:
        """Encode images and decode the posterior's mean; a conditional model needs labels."""
        check_labels(self.manifest, labels, len(images), required=True)
        posterior = self.encode(images, labels if self.manifest.encoder_takes_labels else None)
        return self.decode(posterior.mean, labels)

    def interpolate(
        self,
        a: ArrayLike,
        b: ArrayLike,
        steps: int,
        kind: PathKind = "slerp",
        *,
        labels: Labels | None = None,
    ) -> UInt8Array:
        """`steps` images on the way from latent `a` to latent `b`, each [*latent]."""
        return self.submit(Interpolate(a, b, steps, kind, labels)).result()

    def manifold(self, steps: int, *, labels: Labels | None = None) -> UInt8Array:
        """A steps x steps grid over a 2-D latent space, row by row: [steps * steps, H, W, C]."""
        if self.manifest.latent.shape != (2,):
            raise InputError(
                "model", "one with a 2-D latent", f"latent shape {list(self.manifest.latent.shape)}"
            )
        check_integer("steps", steps, 1, 1000)
        return self.decode(manifold_grid(steps), labels)

    def warm(self) -> None:
        """Run every graph once at every batch size, so that no request pays for a first time."""
        Sample(1, seed=0).latents(self.manifest)  # imports what draws normals
        graphs: tuple[GraphName, ...] = (
            ("decode", "encode") if self.manifest.encode else ("decode",)
        )
        for graph in graphs:
            for batch in self.manifest.batches:
                if batch <= self.max_batch:
                    self._backend.run(graph, zero_inputs(self.manifest, graph, batch))

    @property
    def queued(self) -> int:
        """Images waiting for the engine."""
        return self._batcher.queued

    def close(self) -> None:
        """Finish what is queued, then release the engine."""
        self._batcher.close()
        self._backend.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _concurrency(limits: Limits) -> tuple[int, int]:
    """(runners, threads a run). On CPUs several one-thread runs beat one run on several threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    runners = limits.runners or min(8, cores or 1)
    return runners, limits.threads or max(1, (cores or 1) // runners)
