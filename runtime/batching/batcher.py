"""`Batcher`: requests of any size become engine batches and come apart again."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from runtime.batching.capacity import Capacity
from runtime.batching.jobs import Job
from runtime.batching.queue import JobQueue
from runtime.batching.runners import Runners
from runtime.engines.backend import Backend
from runtime.observer import Observer, SafeObserver

T = TypeVar("T")


class Batcher:
    """One bounded queue in front of one backend, served by `runners` threads. `solo`: the backend
    of one image on an idle model; `close` leaves both to their owner."""

    def __init__(
        self,
        backend: Backend,
        capacity: Capacity,
        *,
        queue_images: int,
        queue_bytes: int | None = None,
        runners: int,
        observer: Observer | None = None,
        solo: Backend | None = None,
    ) -> None:
        safe = SafeObserver(observer)
        self._queue = JobQueue(
            capacity,
            safe,
            max_images=queue_images,
            max_bytes=queue_bytes,
            runners=runners,
            # Engines of fixed batch sizes: half a batch costs as much as a whole one.
            whole_batches=backend.max_batch is not None,
        )
        self._runners = Runners(backend, self._queue, safe, runners, solo)

    def run(self, job: Job[T]) -> T:
        """The result of a job. One row on an idle model runs in this thread: to give it to a runner
        and take it back would cost as much as a small network's run."""
        claim = self._queue.claim(job)
        if claim is None:
            return self._awaited(self.submit(job))
        try:
            return self._runners.make_one(job, solo=claim.solo)
        finally:
            self._queue.end(claim)

    def _awaited(self, future: Future[T]) -> T:
        try:
            return future.result()
        except BaseException:  # Ctrl-C, above all: what is left of the job is for nobody
            future.cancel()
            raise
        finally:
            del future  # else the error's traceback would hold it, and it the error

    def submit(self, job: Job[T], *, wait: bool = True) -> Future[T]:
        """Queue a job; its future can be cancelled until the last row is done.

        With `wait` the call blocks until the queue has room, otherwise a full queue raises
        OverloadedError.
        """
        return self._queue.submit(job, wait=wait)

    def enqueue(self, job: Job[T]) -> Future[T]:
        """Like `submit`, but where the queue is full the job is left standing in line: the call
        neither blocks nor refuses. For callers who hold themselves to a few jobs at a time."""
        return self._queue.enqueue(job)

    @property
    def queued(self) -> int:
        """Images waiting, a large job counted by its window."""
        return self._queue.images

    @property
    def oldest(self) -> float:
        """Seconds that the job which has waited longest for its first run has waited; 0 for
        none."""
        return self._queue.oldest

    @property
    def failures(self) -> int:
        """Engine runs that failed one after another, until now."""
        return self._runners.failures

    def check_open(self) -> None:
        """EngineError after `close`."""
        self._queue.check_open()

    def close(self) -> None:
        """Take no more jobs, finish those queued or in line, and end the runners."""
        self._queue.close()
        self._runners.join()
        self._queue.await_callers()


def close_all(batcher: Batcher, backends: Sequence[Backend]) -> None:
    """Finish what is queued, then release the engines."""
    batcher.close()
    for backend in backends:
        backend.close()


def close_in_thread(batcher: Batcher, backends: Sequence[Backend]) -> None:
    """The same, while the caller goes on."""
    given = batcher, backends
    threading.Thread(target=close_all, args=given, name="latentserve-closing", daemon=True).start()
