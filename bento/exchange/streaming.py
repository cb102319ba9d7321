"""Replies that leave while they are made, and work that ends when its client leaves."""

import asyncio
import logging
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from math import prod
from types import TracebackType
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bento.traffic.calls import call_of
from runtime import Model, OverloadedError
from runtime.batching.jobs import Job
from runtime.images import UInt8Array
from runtime.images.encoding import MEDIA_TYPES, npy_header

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 0.5


class Lifetime:
    """An async context in which a request is worked on: what is awaited inside is cancelled after
    `seconds` (TimeoutError), or when its client leaves (ClientDisconnect)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(seconds)
        self._watching: asyncio.Task[None] | asyncio.TimerHandle | None = None
        self._left = False

    def end_with_client(self, receive: Receive, patience: float = _PATIENCE_SECONDS) -> None:
        """From here on the client's leaving ends it, noticed after so many seconds at the earliest.
        The request's body must have been read, for what comes after it is the leaving."""

        def watch() -> None:
            self._watching = asyncio.create_task(self._watch(receive))

        # Most requests end sooner, and a task for each would cost time.
        self._watching = asyncio.get_running_loop().call_later(patience, watch)

    def renew(self) -> None:
        """As many seconds again, from now on."""
        if not self._left:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)

    def extend(self, seconds: float) -> None:
        """From now on so many seconds in all, where that is more than it had."""
        if seconds > self._seconds:
            self._seconds = seconds
            self.renew()

    def suspend(self) -> None:
        """No limit until `renew`."""
        if not self._left:
            self._limit.reschedule(None)

    async def _watch(self, receive: Receive) -> None:
        await receive()
        self._left = True
        self._limit.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> "Lifetime":
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._left:
                raise ClientDisconnect from None
            raise


class ArrayStream(Response):
    """An `.npy` reply whose rows leave part by part, in flat memory.

    Its length is told beforehand, so a stream that fails after its headers reaches the client as a
    broken transfer, never as a shorter array. A client that leaves cancels what is still to be
    made; `seconds` are for each part's making.
    """

    def __init__(
        self,
        first: UInt8Array,
        rest: Generator[Future[UInt8Array]],
        shape: tuple[int, ...],
        seconds: float,
        headers: Mapping[str, str],
        place: "Place | None" = None,
    ) -> None:
        self.place = place
        self.head = npy_header(shape, np.dtype(np.uint8))
        length = len(self.head) + prod(shape)
        super().__init__(None, 200, {**headers, "Content-Length": str(length)}, MEDIA_TYPES["npy"])
        self.first, self.rest, self.seconds = first, rest, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            async with Lifetime(self.seconds) as life:
                life.end_with_client(receive, patience=0.0)
                await send(start)
                await self._send(send, life, self.head + self.first.tobytes())
                del self.first
                for future in self.rest:
                    part = await asyncio.wrap_future(future)
                    await self._send(send, life, part.tobytes())
                await send({"type": "http.response.body", "body": b""})
        except ClientDisconnect:
            call_of(scope).status = "499"  # as for replies that have not begun
        except Exception as error:
            logger.error("a stream was cut: %s", error or type(error).__name__)
            raise
        finally:
            self.rest.close()

    async def _send(self, send: Send, life: Lifetime, data: bytes) -> None:
        # How long a client may take nothing is the server's to watch (`bento.server.connections`).
        life.suspend()
        await send({"type": "http.response.body", "body": data, "more_body": True})
        life.renew()


class Place:
    """A stream's place among those of a model, until nobody holds it any more."""

    def __init__(self, client: str) -> None:
        self.client = client


class Streams:
    """The streams being made or sent, by model: together they keep half of its queue free for
    others, and those of one address half of that."""

    def __init__(self, queue_images: int) -> None:
        self._queue_images = queue_images
        self._places: WeakKeyDictionary[Model, WeakSet[Place]] = WeakKeyDictionary()

    def place(self, model: Model, job: Job[UInt8Array], client: str) -> Place:
        """A place for a stream; OverloadedError where it would take too much of the queue."""
        room = max(1, self._queue_images // (2 * model.window(job)))
        taken = self._places.setdefault(model, WeakSet())
        own = sum(place.client == client for place in taken)
        if len(taken) >= room or own >= max(1, room // 2):
            raise OverloadedError(model.queued, self._queue_images)
        place = Place(client)
        taken.add(place)
        return place
