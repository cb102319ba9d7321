"""`Model`: a loaded artifact that samples, decodes and encodes in batches."""

import os
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.prior import Mixture
from runtime.artifact.reading import Artifact
from runtime.batching.batcher import Batcher, close_all, close_in_thread
from runtime.batching.capacity import Capacity, FixedCapacity
from runtime.batching.jobs import Job
from runtime.checks import check_integer
from runtime.engines.backend import REFERENCE, Backend, Variant
from runtime.errors import EngineError
from runtime.images import Float32Array, UInt8Array
from runtime.observer import Observer
from runtime.requests.checks import Labels
from runtime.requests.decode import Decode
from runtime.requests.directions import Directions
from runtime.requests.encode import Encode, Encoded
from runtime.requests.interpolate import Interpolate
from runtime.requests.large_jobs import fitted
from runtime.requests.manifold import Manifold
from runtime.requests.prompts import Prompt
from runtime.requests.reconstruct import Reconstruct
from runtime.requests.request import Request
from runtime.requests.sample import Sample
from runtime.requests.translate import Translate
from runtime.sampling.directions import MAX_DIRECTIONS, PrincipalDirections
from runtime.sampling.paths import PathKind
from runtime.sampling.posterior import Posterior, PosteriorDraw
from runtime.warming import warmed

T = TypeVar("T")


class Model:
    """A loaded artifact. Thread-safe; a context manager; see `runtime.load`.

    Images are uint8 [n, H, W, C] (volumes [n, D, H, W, 1]), latents float32 [n, *latent], labels
    int64 [n] throughout.
    The methods raise InputError for unacceptable values before anything is run, and EngineError
    where the engine fails.
    """

    def __init__(
        self,
        artifact: Artifact,
        backend: Backend,
        *,
        variant: Variant = REFERENCE,
        runners: int,
        batch: int,
        queue_images: int = 4096,
        capacity: Capacity | None = None,
        observer: Observer | None = None,
        solo: Backend | None = None,
    ) -> None:
        """`capacity` says how many rows of each graph and size are in one run (without it `batch`
        of any), and how many bytes requests may hold. `solo` makes one image on an idle model,
        where that takes long; without it `backend` does."""
        self.manifest: Manifest = artifact.manifest
        self.prior: Mixture | None = artifact.prior
        self.digest = artifact.digest
        """SHA-256 of the manifest, which holds that of every file."""
        self.sheet = artifact.sheet
        """A PNG of samples, where the artifact has one."""
        self.images_per_second: float | None = None
        """Images of the default size that the main graph makes here; None until `warm`."""
        self.max_batch = batch
        self.runners = runners
        self.variant = variant
        """The way in which it is run here: what `load` may be given the next time."""
        self._process = os.getpid()
        self._backend = backend
        self._backends = (backend,) if solo is None else (backend, solo)
        self.engine = "; one image alone: ".join(each.description for each in self._backends)
        self._capacity = capacity or FixedCapacity(batch)
        self._batcher = Batcher(
            backend,
            self._capacity,
            queue_images=queue_images,
            queue_bytes=self._capacity.memory,
            runners=runners,
            observer=observer,
            solo=solo,
        )

    def submit(self, work: Request[T] | Job[T], *, wait: bool = True) -> Future[T]:
        """Queue a request (`Sample`, `Decode`, `Encode`, `Reconstruct`, `Interpolate`), or the job
        that its validation gave (`request.job(model)`), and return the future of its result.

        With `wait=False` a full queue raises
        OverloadedError; cancelling the future takes the work out of the queue.
        """
        return self._batcher.submit(self._job(work), wait=wait)

    def run(self, work: Request[T] | Job[T]) -> T:
        """The result of a request, or a job; the other methods stand on this one. Like
        `submit(work).result()`, but one image on an idle model is made in the caller's thread."""
        return self._batcher.run(self._job(work))

    def sample(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        offset: int = 0,
        seeds: Sequence[int] | None = None,
        labels: Labels | None = None,
        truncation: float | None = None,
        size: Sequence[int] | None = None,
        mix_seed: int | None = None,
        mix_layer: int | None = None,
        prompt: Prompt | None = None,
    ) -> UInt8Array:
        """Images offset..offset+n of `seed`, or image 0 of each of `seeds`: [n, H, W, C].

        Image i of a seed depends on (artifact, seed, i, label or prompt, truncation, size) alone.
        `size`: [height, width], for models whose images may have several. `Sample` has the rest.
        """
        request = Sample(
            n, seed, offset, seeds, labels, truncation, size, mix_seed, mix_layer, prompt
        )
        return self.run(request)

    def stream(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        offset: int = 0,
        seeds: Sequence[int] | None = None,
        labels: Labels | None = None,
        truncation: float | None = None,
        size: Sequence[int] | None = None,
        mix_seed: int | None = None,
        mix_layer: int | None = None,
        prompt: Prompt | None = None,
    ) -> Iterator[UInt8Array]:
        """The images of `sample` for the same arguments, in order, as batches, in bounded memory.

        A few batches are made ahead of the reader; leaving the loop cancels them.
        """
        request = Sample(
            n, seed, offset, seeds, labels, truncation, size, mix_seed, mix_layer, prompt
        )
        return self.batches(request)

    def batches(self, work: Request[T] | Job[T]) -> Iterator[T]:
        """The result of any request, or job, in parts, in order, in bounded memory.

        A few parts are made ahead of the reader; leaving the loop cancels them. Raises InputError
        at the call, not at the first part.
        """
        return self._batches(self._job(work))

    def _batches(self, job: Job[T]) -> Iterator[T]:
        for future in self.parts(job):
            yield future.result()

    def parts(self, work: Request[T] | Job[T], *, wait: bool = True) -> Generator[Future[T]]:
        """The futures of `batches`, for whoever waits in another way: in order, a few of them
        submitted ahead of the one given. Closing the iterator cancels those.

        With `wait=False` the first raises OverloadedError where the queue is full; whoever got in
        stays in: later parts stand in line for room.
        """
        job = self._job(work)
        ahead: deque[Future[T]] = deque()
        try:
            rows = self._rows(job)
            for start in range(0, job.count, rows):
                part = job.part(start, min(start + rows, job.count))
                if start == 0:
                    ahead.append(self._batcher.submit(part, wait=wait))
                else:
                    ahead.append(self._batcher.enqueue(part))
                if len(ahead) > 2 * self.runners:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for future in ahead:
                future.cancel()

    def _job(self, work: Request[T] | Job[T]) -> Job[T]:
        if os.getpid() != self._process:
            raise EngineError(
                "the model was loaded in another process, from which this one was forked: neither "
                "its threads nor its engine came along; load it here, or start processes by spawn"
            )
        job = work if isinstance(work, Job) else work.job(self)
        return fitted(job, self.manifest, self._capacity)

    def _rows(self, job: Job[Any]) -> int:
        """The rows of one part of a job: of one run, and whole images."""
        return max(1, self._capacity.needs(job.graph, job.size).most // job.group) * job.group

    def latents(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        offset: int = 0,
        seeds: Sequence[int] | None = None,
        truncation: float | None = None,
        size: Sequence[int] | None = None,
    ) -> Float32Array:
        """The latents that `sample` decodes for the same arguments: [n, *latent]."""
        return Sample(n, seed, offset, seeds, None, truncation, size).latents(self)

    def decode(
        self,
        latents: ArrayLike,
        labels: Labels | None = None,
        *,
        seed: int = 0,
        truncation: float | None = None,
        size: Sequence[int] | None = None,
        tile: int | None = None,
        same_noise: bool = False,
        prompt: Prompt | None = None,
    ) -> UInt8Array:
        """Images of given latents [n, *latent]; see `Decode` for the other arguments."""
        return self.run(
            Decode(latents, labels, seed, truncation, size, tile, same_noise, prompt=prompt)
        )

    # `Any` for an `Encoding`: most encoders give a posterior, and nobody should have to ask.
    @overload
    def encode(
        self, images: NDArray[Any], labels: Labels | None = None, *, tile: int | None = None
    ) -> Posterior | Any: ...
    @overload
    def encode(
        self,
        images: NDArray[Any],
        labels: Labels | None = None,
        *,
        seed: int,
        tile: int | None = None,
    ) -> PosteriorDraw: ...

    def encode(
        self,
        images: NDArray[Any],
        labels: Labels | None = None,
        *,
        seed: int | None = None,
        tile: int | None = None,
    ) -> Encoded:
        """The posterior of uint8 images of a size that the model takes: its mean and log variance,
        or with a `seed` one latent drawn from each image's, and its log density.

        Draw i depends on (image i, its label, seed, i) alone. Where the encoder takes noise
        (a flow), there is no mean, and a seed is needed. An encoder without a posterior gives an
        `Encoding`: one latent an image, and its codes where there is a codebook. `tile`: see
        `Encode`.
        """
        return self.run(Encode(images, labels, seed, tile=tile))

    def reconstruct(
        self, images: NDArray[Any], labels: Labels | None = None, *, prompt: Prompt | None = None
    ) -> UInt8Array:
        """Encode images and decode the posterior's mean (or, where the encoder takes noise, the
        latent of noise 0); a conditional model needs labels or a prompt."""
        return self.run(Reconstruct(images, labels, prompt=prompt))

    def interpolate(
        self,
        a: ArrayLike,
        b: ArrayLike,
        steps: int,
        kind: PathKind = "slerp",
        *,
        labels: Labels | None = None,
        seed: int = 0,
        truncation: float | None = None,
        prompt: Prompt | None = None,
    ) -> UInt8Array:
        """`steps` images on the way from latent `a` to latent `b`, each [*latent]; all with the
        noise of image 0 of `seed`, where the decoder takes noise."""
        return self.run(Interpolate(a, b, steps, kind, labels, seed, truncation, prompt))

    def manifold(
        self, steps: int, *, labels: Labels | None = None, prompt: Prompt | None = None
    ) -> UInt8Array:
        """A steps x steps grid over a 2-D latent space, row by row: [steps * steps, H, W, C]."""
        return self.run(Manifold(steps, labels, prompt=prompt))

    def directions(self, count: int = 8, *, labels: Labels | None = None) -> PrincipalDirections:
        """The `count` directions in the latent space that change images most, at most as many as
        latents have values; of one class, for a conditional model. Takes some hundred images."""
        count = check_integer("count", count, 1, MAX_DIRECTIONS)
        request = Directions(labels)
        images = np.concatenate(list(self.batches(request)))
        return request.found(self, images).first(count)

    def translate(
        self,
        images: NDArray[Any],
        *,
        mask: NDArray[Any] | None = None,
        labels: Labels | None = None,
        seed: int = 0,
        truncation: float | None = None,
        tile: int | None = None,
    ) -> UInt8Array:
        """The images that the network makes of images uint8 [n, H, W, C]; see `Translate`."""
        return self.run(Translate(images, mask, labels, seed, truncation, tile))

    def warm(self) -> None:
        """Run every graph as requests will, so that none pays for a first time."""
        self._batcher.check_open()
        made = self.manifest, self._backends, self._capacity, self.runners
        self.images_per_second = warmed(*made)

    def run_rows(self, job: Job[Any]) -> int:
        """How many of a job's images ride in one engine run, at most: `max_batch`, or as many as
        fit into memory where images of the job's size are large; 1 where one takes several runs."""
        job = self._job(job)
        return self._rows(job) // job.group

    def window(self, job: Job[Any]) -> int:
        """Images of a job that `parts` has submitted at a time, at most."""
        return (2 * self.runners + 1) * self.run_rows(job)

    def seconds(self, job: Job[Any]) -> float:
        """About how long the engine works on a job, by what it took when the model was loaded; 0
        where that is not known."""
        run = self._job(job)
        seconds = self._capacity.needs(run.graph, run.size).seconds * run.count
        if job.then is not None:  # the job that follows decodes what this one encodes
            main = self._capacity.needs(self.manifest.main_graph, job.size)
            seconds += main.seconds * job.count
        return seconds

    @property
    def queued(self) -> int:
        """Images waiting for the engine."""
        return self._batcher.queued

    @property
    def oldest(self) -> float:
        """Seconds that the request which has waited longest for the engine has waited."""
        return self._batcher.oldest

    @property
    def failures(self) -> int:
        """Engine runs that failed one after another, until now: 0 when the last one succeeded."""
        return self._batcher.failures

    def close(self) -> None:
        """Finish what is queued, then release the engine."""
        if os.getpid() != self._process:
            return  # of what a fork copied, nothing works, and nothing can be waited for
        close_all(self._batcher, self._backends)

    def close_when_unused(self) -> None:
        """Close in a thread of its own once nobody holds a reference to this model any more: what
        has begun with it ends with it."""
        weakref.finalize(self, close_in_thread, self._batcher, self._backends).atexit = False

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
