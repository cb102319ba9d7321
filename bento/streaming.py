"""Replies that leave while they are made, and work that ends when its client leaves."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from math import prod

import numpy as np
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runtime.encoding import MEDIA_TYPES, npy_header
from runtime.images import UInt8Array

logger = logging.getLogger(__name__)

# A slow client is told from one that stands still by such pieces.
_PIECE_BYTES = 256 << 10


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncGenerator[None]:
    """What is awaited inside is cancelled when the client leaves, which is ClientDisconnect.

    The request's body must have been read, for what comes after it is the leaving.
    """
    # A timeout that only the leaving sets off: cheaper than a task of its own for the work.
    limit = asyncio.timeout(None)
    left = False

    async def watch() -> None:
        nonlocal left
        await receive()
        left = True
        limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with limit:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if left:
            raise ClientDisconnect from None
        raise


class ArrayStream(Response):
    """An `.npy` reply whose rows leave part by part, in flat memory.

    Its length is told beforehand, so a stream that fails after its headers reaches the client as a
    broken transfer, never as a shorter array. A client that leaves, or that takes less than a piece
    in `seconds`, cancels what is still to be made.
    """

    def __init__(
        self,
        first: UInt8Array,
        rest: Generator[Future[UInt8Array]],
        shape: tuple[int, ...],
        seconds: float,
        headers: Mapping[str, str],
    ) -> None:
        self.head = npy_header(shape, np.dtype(np.uint8))
        length = len(self.head) + prod(shape)
        super().__init__(None, 200, {**headers, "Content-Length": str(length)}, MEDIA_TYPES["npy"])
        self.first, self.rest, self.seconds = first, rest, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            async with while_connected(receive):
                await send(start)
                await self._send(send, self.head + self.first.tobytes())
                del self.first
                for future in self.rest:
                    async with asyncio.timeout(self.seconds):
                        part = await asyncio.wrap_future(future)
                    await self._send(send, part.tobytes())
                await send({"type": "http.response.body", "body": b""})
        except ClientDisconnect:
            pass
        except Exception as error:
            logger.error("a stream was cut: %s", error or type(error).__name__)
            raise
        finally:
            self.rest.close()

    async def _send(self, send: Send, data: bytes) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            body = data[start : start + _PIECE_BYTES]
            async with asyncio.timeout(self.seconds):
                await send({"type": "http.response.body", "body": body, "more_body": True})
