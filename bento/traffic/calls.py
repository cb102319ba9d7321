"""What surrounds every request to our endpoints: its id, its place among those under way, and what
is told of it afterwards (metrics, log, trace)."""

import itertools
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv6Address, IPv6Network
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento.errors import ErrorShape, RequestError, error_response, try_again
from bento.settings import Settings
from bento.traffic.budget import Budget, Holding, Tally
from bento.traffic.metrics import series
from bento.traffic.tracing import Trace

logger = logging.getLogger(__name__)

_KEY = "latentserve.call"
# Ids must be unique, not secret: a counter needs no system call.
_PROCESS = secrets.token_hex(4)
_numbers = itertools.count()
_PIECE_BYTES = 256 << 10
_READINESS = ("/readyz", "/ready")
"""How the paths end by which we, and the Open Inference Protocol, say what is ready."""
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


@dataclass(eq=False)
class Call:
    """One request, while it is answered. Handlers fill in what they find out."""

    id: str
    endpoint: str
    began: float = field(default_factory=time.monotonic)
    status: str = "cut"
    model: str = ""
    images: int = 0
    seed: int | None = None
    trace: Trace | None = None
    client: str = ""
    # How its errors look, where not as ours.
    errors: ErrorShape | None = None
    # What the request and its reply hold in memory; counted by `Calls`.
    holding: Holding = field(default_factory=lambda: Holding(Budget(1 << 62), ""))

    @contextmanager
    def encoding(self, kind: str) -> Generator[None]:
        """Inside, the reply's bytes are made, of such a format."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        series("encode_seconds", kind).observe(ended - began)
        if self.trace is not None:
            self.trace.stage("encode", began, ended)


def call_of(scope: Scope) -> Call:
    """The call that a scope belongs to."""
    return scope[_KEY]


def refusal(scope: Scope, error: Exception) -> Response:
    """The reply to a call that fails."""
    call: Call | None = scope.get(_KEY)
    return error_response(error) if call is None else error_response(error, call.id, call.errors)


class Calls:
    """ASGI middleware around the endpoints of `paths`, each with the shape of its errors where that
    is not ours.

    A client's X-Request-ID is taken over where it is short and plain; every reply carries one.
    `find_tracer` is asked at the first request, when BentoML has set up what it says.
    Beyond `settings.max_requests` at once, half of them for one address, it is 429.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        paths: Mapping[str, ErrorShape | None],
        find_tracer: Callable[[], Any] = lambda: None,
    ) -> None:
        self.app, self.paths = app, paths
        self.limit, self.logs = settings.max_requests, settings.request_log
        self.budget = Budget(settings.memory_bytes)
        self.in_flight = 0
        self._by_client = Tally[str]()
        self._find_tracer = find_tracer

    @cached_property
    def tracer(self) -> Any:
        """Where traces go, or None."""
        return self._find_tracer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        client = client_of(scope)
        endpoint, holding = endpoint_of(path, self.paths), Holding(self.budget, client)
        call = Call(_request_id(scope), endpoint, client=client, holding=holding)
        call.errors = self.paths.get(endpoint)
        scope[_KEY] = call
        if self.tracer is not None:
            call.trace = Trace(self.tracer, scope, f"{scope['method']} {call.endpoint}")

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = str(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", call.id.encode())]
            if len(message.get("body", b"")) <= _PIECE_BYTES:
                await send(message)
                return
            for part in _pieces(message):
                await send(part)

        self.in_flight += 1
        own = self._by_client.add(client, 1)
        try:
            # Half for one address, so that another's request finds a place.
            if self.in_flight > self.limit or own > max(1, self.limit // 2):
                await refusal(scope, _too_many(self.limit))(scope, receive, noting)
            else:
                await self.app(scope, receive, noting)
        except BaseException:
            call.status = "cut"
            raise
        finally:
            self.in_flight -= 1
            self._by_client.add(client, -1)
            call.holding.release()
            self._tell(call)

    def _tell(self, call: Call) -> None:
        seconds = time.monotonic() - call.began
        series("requests", call.endpoint, call.model, call.status).inc()
        series("request_seconds", call.endpoint, call.status).observe(seconds)
        if call.status == "200" and call.images:
            series("images", call.endpoint, call.model).inc(call.images)
        # An orchestrator polls until a model is ready: its answer is no failure.
        unready = call.status == "503" and call.endpoint.endswith(_READINESS)
        failed = (call.status == "cut" or call.status >= "500") and not unready
        if not (self.logs or failed or call.trace):
            return
        told = {
            "request": call.id,
            "endpoint": call.endpoint,
            "status": call.status,
            "model": call.model or None,
            "n": call.images or None,
            "seed": call.seed,
            "milliseconds": round(seconds * 1e3, 3),
        }
        if self.logs or failed:
            logger.log(logging.ERROR if failed else logging.INFO, json.dumps(told))
        if call.trace is not None:
            call.trace.end({f"latentserve.{k}": v for k, v in told.items()}, failed=failed)


def endpoint_of(path: str, paths: Collection[str]) -> str:
    """The one of `paths` that a request's path is, or `other`. In these, `{model}` and `{version}`
    stand for anything but nothing: clients choose it, and metrics are kept of what they cannot
    choose."""
    if path in paths:
        return path
    segments = path.split("/")
    for known in paths:
        parts = known.split("/")
        if "{" in known and len(parts) == len(segments):
            pairs = zip(parts, segments, strict=True)
            if all(part == segment or (part[:1] == "{" and segment) for part, segment in pairs):
                return known
    return "other"


def client_of(scope: Scope) -> str:
    """The address, or the network, that a request came from."""
    return network(scope["client"][0]) if scope.get("client") else ""


def network(address: str) -> str:
    """An IPv4 address, also where it is written as an IPv6 address (`::ffff:192.0.2.1`, on a socket
    of both); the /64 of an IPv6 address, which is what one client has."""
    if ":" not in address:
        return address
    try:
        known = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(known.ipv4_mapped or IPv6Network((known, 64), strict=False))


def _pieces(message: Message) -> Iterator[Message]:
    """A long body in pieces: the server takes the next when most of the last has left, so that the
    request is under way, and counted, until its client has read it."""
    body = message["body"]
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        more = message.get("more_body", False) or start + _PIECE_BYTES < len(body)
        yield {**message, "body": view[start : start + _PIECE_BYTES], "more_body": more}


def count_refused(status: int) -> str:
    """Count and log what was refused before it was a request, and return an id for it."""
    call = Call(_new_id(), "other", status=str(status))
    series("requests", call.endpoint, "", call.status).inc()
    logger.debug(json.dumps({"request": call.id, "endpoint": call.endpoint, "status": call.status}))
    return call.id


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return value.decode("ascii")
    return _new_id()


def _new_id() -> str:
    return f"{_PROCESS}{next(_numbers):08x}"


def _too_many(limit: int) -> RequestError:
    expected = f"at most {limit} at a time, and half of them for one address"
    return try_again("too many requests at once, try again", expected, "more")
