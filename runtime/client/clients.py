"""The two clients: what moves bytes. Whatever is asked stands in `calls`, what comes back in
`replies`; each method here is a function of `calls`, sent."""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from runtime.client import calls
from runtime.client.calls import Call
from runtime.client.replies import ArrayReader, Retries
from runtime.errors import InputError, ServiceError
from runtime.images import UInt8Array
from runtime.machine import to_install

try:
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: {to_install('client')}", name="httpx") from error

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE = 60.0
_SILENCE = 120.0


def _sending(build: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    @wraps(build)
    def send(self: "Client", *args: P.args, **kwargs: P.kwargs) -> T:
        call = build(*args, **kwargs)
        with self.answered(call) as reply:
            return call.read(reply.read())

    return send


def _streaming(
    build: Callable[P, Call[UInt8Array]],
) -> Callable[Concatenate["Client", P], Iterator[UInt8Array]]:
    @wraps(build)
    def stream(self: "Client", *args: P.args, **kwargs: P.kwargs) -> Iterator[UInt8Array]:
        return self.images(build(*args, **kwargs))

    return stream


def _sending_async(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    @wraps(build)
    async def send(self: "AsyncClient", *args: P.args, **kwargs: P.kwargs) -> T:
        call = build(*args, **kwargs)
        async with self.answered(call) as reply:
            return call.read(await reply.aread())

    return send


def _streaming_async(
    build: Callable[P, Call[UInt8Array]],
) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[UInt8Array]]:
    @wraps(build)
    def stream(self: "AsyncClient", *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[UInt8Array]:
        return self.images(build(*args, **kwargs))

    return stream


class Client:
    """A service at `url`, which may end in a path.

    Each method is one request, for which connections are reused; a client may be used by several
    threads. Raises InputError for a value that the service does not accept, ServiceError where it
    refuses for another reason, fails, or does not answer. A request that it refuses for now (429,
    503) is sent again as `Retry-After` says, for `patience` seconds in all; `timeout` is how many
    seconds it may be silent.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = _SILENCE,
        patience: float = _PATIENCE,
    ) -> None:
        self._patience = patience
        self._http = httpx.Client(base_url=_url(url), headers=_headers(api_key), timeout=timeout)

    sample = _sending(calls.sample)
    latents = _sending(calls.latents)
    decode = _sending(calls.decode)
    encode = _sending(calls.encode)
    reconstruct = _sending(calls.reconstruct)
    translate = _sending(calls.translate)
    interpolate = _sending(calls.interpolate)
    manifold = _sending(calls.manifold)
    models = _sending(calls.models)
    # The images of `sample`, any number of them, in parts as they arrive.
    stream = _streaming(calls.sample)

    def images(self, call: Call[UInt8Array]) -> Iterator[UInt8Array]:
        """A call's images [k, H, W, C], in parts as they arrive."""
        reader = ArrayReader()
        with self.answered(call) as reply:
            for piece in reply.iter_bytes():
                yield from reader.feed(piece)
            reader.end()

    @contextmanager
    def answered(self, call: Call[Any]) -> Generator[httpx.Response]:
        """The reply to a call, a success; its body is still to be read."""
        retries = Retries(self._patience)
        while True:
            with _as_service_error(), self._http.stream(**_request(call)) as reply:
                if reply.is_success:
                    yield reply
                    return
                pause = retries.pause(reply.status_code, reply.headers, reply.read())
            time.sleep(pause)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """`Client`, for asyncio: its methods are awaited, `stream` is looped over by `async for`."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = _SILENCE,
        patience: float = _PATIENCE,
    ) -> None:
        self._patience = patience
        self._http = httpx.AsyncClient(
            base_url=_url(url), headers=_headers(api_key), timeout=timeout
        )

    sample = _sending_async(calls.sample)
    latents = _sending_async(calls.latents)
    decode = _sending_async(calls.decode)
    encode = _sending_async(calls.encode)
    reconstruct = _sending_async(calls.reconstruct)
    translate = _sending_async(calls.translate)
    interpolate = _sending_async(calls.interpolate)
    manifold = _sending_async(calls.manifold)
    models = _sending_async(calls.models)
    stream = _streaming_async(calls.sample)

    async def images(self, call: Call[UInt8Array]) -> AsyncIterator[UInt8Array]:
        """A call's images [k, H, W, C], in parts as they arrive."""
        reader = ArrayReader()
        async with self.answered(call) as reply:
            async for piece in reply.aiter_bytes():
                for part in reader.feed(piece):
                    yield part
            reader.end()

    @asynccontextmanager
    async def answered(self, call: Call[Any]) -> AsyncGenerator[httpx.Response]:
        """The reply to a call, a success; its body is still to be read."""
        retries = Retries(self._patience)
        while True:
            with _as_service_error():
                async with self._http.stream(**_request(call)) as reply:
                    if reply.is_success:
                        yield reply
                        return
                    pause = retries.pause(reply.status_code, reply.headers, await reply.aread())
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _headers(api_key: str | None) -> dict[str, str]:
    if api_key is None:
        return {}
    key = api_key.strip()  # as the service does: files end in a line's end
    if not (key and key.isascii() and key.isprintable()):
        # Not which others: errors end up in logs.
        raise InputError("api_key", "printable ASCII characters", "others" if key else "none")
    return {"Authorization": f"Bearer {key}"}


def _url(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError("url", "that of a service, http://HOST:PORT", f"{url!r}") from error


def _request(call: Call[Any]) -> dict[str, Any]:
    """A call as httpx takes it."""
    kind = {} if call.content_type is None else {"Content-Type": call.content_type}
    return {
        "method": call.method,
        "url": call.path,
        "params": call.query,
        "headers": kind,
        "content": call.content,
        "files": call.files,
    }


@contextmanager
def _as_service_error() -> Generator[None]:
    """What httpx raises where no whole reply comes, as ServiceError."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceError(f"no whole reply: {error or type(error).__name__}") from error
