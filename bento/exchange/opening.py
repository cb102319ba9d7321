"""Opening clients' pictures: a few at a time, admitted by their pixels.

A large picture takes some tenths of a second, and up to 22 bytes a pixel, while it is decoded.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import ParamSpec, TypeVar

from bento.errors import try_again
from bento.traffic.budget import Tally

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 2
_FREE_PIXELS = 1_000_000
"""Of each request: whatever large pictures wait, a small one is opened."""
_PIXELS_A_SECOND = 20e6
"""Pictures are opened in the order of their arrival plus the estimated seconds of their decoding:
small pictures pass large ones, and none waits for ever."""


class Opening:
    """The threads that decode pictures, and who may use them. For one event loop.

    `max_pixels` may wait or be decoded; `at_once` are decoded at a time, or one picture.
    """

    def __init__(self, max_pixels: int, at_once: int) -> None:
        self.max_pixels, self.at_once = max_pixels, at_once
        # Threads of their own, so that no other request's reply waits behind pictures.
        self._threads = ThreadPoolExecutor(_THREADS, "latentserve-opening")
        # Small pictures have one of their own: whatever large ones do, they are opened.
        self._small = ThreadPoolExecutor(1, "latentserve-opening-small")
        self._running = self._decoded = 0
        self._waiting: list[tuple[float, int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._pixels = Tally[str]()

    @contextmanager
    def admitted(self, client: str, pixels: int) -> Generator[None]:
        """Inside, a request's pictures of so many pixels wait or are opened. RequestError 429
        where those of all clients are too many, or this one's more than half of the limit."""
        counted = max(0, pixels - _FREE_PIXELS)
        everyone, own = self._pixels.total(), self._pixels[client]
        limit = self.max_pixels
        # Pictures alone are always admitted: those of one request have a limit of their own.
        if counted and (
            (everyone and everyone + counted > limit) or (own and own + counted > limit // 2)
        ):
            raise try_again(
                "too many pictures wait to be opened, try again",
                f"at most {limit} pixels, and half of them for one address",
                f"{own + counted} for this address, {everyone + counted} in all",
            )
        self._pixels.add(client, counted)
        try:
            yield
        finally:
            self._pixels.add(client, -counted)

    async def run(self, pixels: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`call(...)`, which works on a picture of so many pixels, in one of the threads."""
        if pixels <= _FREE_PIXELS:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._small, partial(call, *args, **kwargs))
        await self._turn(pixels)
        work = self._threads.submit(partial(call, *args, **kwargs))
        loop = asyncio.get_running_loop()
        # A cancelled request gives its turn on only when the thread has ended its picture.
        work.add_done_callback(lambda _: self._end_in(loop, pixels))
        return await asyncio.wrap_future(work)

    async def _turn(self, pixels: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        key = time.monotonic() + pixels / _PIXELS_A_SECOND
        heapq.heappush(self._waiting, (key, next(self._numbers), pixels, turn))
        self._start()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end(pixels)  # it was given the turn, and does not take it
            raise

    def _start(self) -> None:
        """Give turns to those that are next, while there is room."""
        while self._waiting and self._running < _THREADS:
            _, _, pixels, turn = self._waiting[0]
            if not turn.done():
                if self._running and self._decoded + pixels > self.at_once:
                    return
                self._running += 1
                self._decoded += pixels
                turn.set_result(None)
            heapq.heappop(self._waiting)

    def _end(self, pixels: int) -> None:
        self._running -= 1
        self._decoded -= pixels
        self._start()

    def _end_in(self, loop: asyncio.AbstractEventLoop, pixels: int) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(self._end, pixels)
