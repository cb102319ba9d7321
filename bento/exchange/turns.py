"""Between the event loop and the engine: what one turn of the loop asks for is handed over at its
end, and what one run of the engine gives comes back in one turn.

Handed over one by one, each small request would wake a runner that finds only this one, and each
result would wake the loop: on a network of microseconds that costs more than the network.
"""

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from runtime import Model
from runtime.artifact.size import Size
from runtime.batching.jobs import Job
from runtime.errors import without_frames

T = TypeVar("T")
_SIZES = 4096
"""That are known of a model, at most."""
_Measured = tuple[str, Size, int | None]
_Asked = tuple[Model, Job[Any], "asyncio.Future[Any]"]


class Turns:
    """The jobs of all requests of one event loop."""

    def __init__(self) -> None:
        self._asked: list[_Asked] = []
        self._given: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._coming = False
        """Whether the loop has been told of results that it has not looked at."""
        self._measured: WeakKeyDictionary[Model, set[_Measured]] = WeakKeyDictionary()
        self._measuring = asyncio.Lock()

    async def measure(self, model: Model, job: Job[Any]) -> None:
        """Have the model know what a job's images take; InputError where they do not fit.

        For a new size it goes through the whole graph, twice: half a second for thousands of nodes,
        which the loop must not wait for.
        """
        if not job.size:  # all images of the model have one
            return
        known, size = self._measured.setdefault(model, set()), (job.graph, job.size, job.tile)
        if size in known:
            return
        async with self._measuring:  # one at a time: the other threads encode replies
            await asyncio.to_thread(model.seconds, job)
        if len(known) >= _SIZES:  # clients choose them
            known.clear()
        known.add(size)

    def run(self, model: Model, job: Job[T]) -> "asyncio.Future[T]":
        """The job's result, by a future whose cancelling takes the work out of the queue; or what
        `Model.submit` raises without waiting."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._hand_over)
        self._asked.append((model, job, future))
        return future

    def _hand_over(self) -> None:
        asked, self._asked = self._asked, []
        for model, job, future in asked:
            if future.cancelled():
                continue
            try:
                work = model.submit(job, wait=False)
            except Exception as error:
                # Its traceback holds this frame, which holds the future that is given the error.
                future.set_exception(without_frames(error))
                continue
            future.add_done_callback(partial(_cancel, work))
            work.add_done_callback(partial(self._give, future))

    def _give(self, future: asyncio.Future[Any], work: Future[Any]) -> None:
        """In the thread that finished the work."""
        self._given.append((future, work))
        loop = future.get_loop()
        if not self._coming and not loop.is_closed():
            # `_deliver` clears the flag before it empties the list, so that no result is missed.
            self._coming = True
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._coming = False
        while self._given:
            future, work = self._given.popleft()
            if future.done():  # cancelled meanwhile
                continue
            error = None if work.cancelled() else work.exception()
            if work.cancelled():
                future.cancel()
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(work.result())


def _cancel(work: Future[Any], future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        work.cancel()
