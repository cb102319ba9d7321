"""HTTP/1.1 as uvicorn parses it, within limits that uvicorn does not have.

uvicorn reads a head of any size and for any time, and keeps for ever what a client does not read.
Here a head is bounded in bytes, fields and seconds, a client that takes nothing is cut, and so is
every connection a while after the service was told to stop. What is not HTTP is answered as every
error is: by JSON, with an id.
"""

import asyncio
import json
import logging
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from bento.errors import RequestError
from bento.settings import Settings
from bento.traffic.budget import Tally
from bento.traffic.calls import count_refused, network

logger = logging.getLogger(__name__)

_SLICE_BYTES = 16 << 10

_OTHER_FILES = 256
"""Files that the service has open beside its connections, at most."""

_STALLED_AT_THE_END = 2.0
"""Seconds for which a client may take nothing once the service was told to stop."""


@dataclass(frozen=True)
class Bounds:
    """What one connection may take."""

    url_bytes: int = 24 << 10
    head_bytes: int = 32 << 10
    fields: int = 100
    head_seconds: float = 10.0
    stalled_seconds: float = 30.0
    shutdown_seconds: float = 20.0
    connections: int = 4096

    @classmethod
    def of(cls, settings: Settings) -> "Bounds":
        return cls(
            head_seconds=min(cls.head_seconds, settings.timeout_seconds),
            stalled_seconds=settings.timeout_seconds,
            shutdown_seconds=settings.shutdown_seconds,
            connections=settings.max_connections,
        )


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        bounds: Bounds,
        addresses: Tally[str],
        lost: Callable[[], None],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # Otherwise a line is composed for every request, which nobody reads.
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        self.bounds = bounds
        self._addresses = addresses  # connections of each, shared by all
        self._lost = lost
        self._address = ""
        self._idle_since = self.loop.time()
        # Bytes of the present head, or of the trailers; and those that the parser holds back.
        self._head = self._fields = self._unreported = 0
        self._body_pending = False
        self._deaf = False  # what comes in is dropped: the reply under way is the last
        self._stalled_seconds = bounds.stalled_seconds
        self._refusal: RequestError | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._sending_timer: asyncio.TimerHandle | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = network(self.client[0]) if self.client else ""
        own = self._addresses.add(self._address, 1)
        if own > max(1, self.bounds.connections // 2):
            self._make_room(self._address)
        elif len(self.connections) > self.bounds.connections:
            self._make_room(None)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._addresses.add(self._address, -1)
        self._lost()
        for timer in (self._head_timer, self._sending_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Let the reply under way end: for so long, and while its client takes it."""
        super().shutdown()
        self.loop.call_later(self.bounds.shutdown_seconds, self.transport.abort)
        self._stalled_seconds = min(self._stalled_seconds, _STALLED_AT_THE_END)
        if self.transport.get_write_buffer_size():
            self._watch_sending()

    def _make_room(self, address: str | None) -> None:
        """End the connection, of an address or of all, that has waited longest for a request; this
        one where none waits."""
        idle = [
            other
            for other in cast("set[BoundedProtocol]", self.connections)
            if address in (None, other._address)
            and other is not self
            and other._is_idle()
            and not other.transport.is_closing()
        ]
        (min(idle, key=lambda other: other._idle_since) if idle else self).transport.abort()

    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    # What comes in

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        # In slices, for what the parser holds back is known by what it did not report of a slice.
        for start in range(0, len(data), _SLICE_BYTES):
            part = data[start : start + _SLICE_BYTES]
            self._unreported += len(part)
            super().data_received(part)
            if self.transport.is_closing() or self._deaf:
                return
            if self._unreported > self.bounds.head_bytes:
                self._refusal = _too_large_a_head(self.bounds)
                self.send_400_response("")
                return
        if not self._body_pending and (self._unreported or self._head):
            self._await_head()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.bounds.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self._is_idle():
            return  # a reply is under way; what comes after it is timed then
        if self._unreported or self._head:
            seconds = self.bounds.head_seconds
            self._refusal = RequestError(408, f"the head did not arrive in {seconds:g} s")
            self.send_400_response("")
        elif self.timeout_keep_alive_task is None:
            self.transport.close()

    def on_message_begin(self) -> None:
        if not self._is_idle():
            # One request at a time: a client repeats what came after the last reply (RFC 9112,
            # section 9.3.2).
            self._refuse(RequestError(400, "a reply is under way"))
        super().on_message_begin()
        self._head = self._fields = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._unreported = 0
        self._head = len(self.url)
        if self._head > self.bounds.url_bytes:
            expected = f"at most {self.bounds.url_bytes} bytes"
            error = RequestError(414, "the URL is too long", field="url", expected=expected)
            self._refuse(error)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unreported = 0
        self._head += len(name) + len(value) + 4  # ": " and the line's end
        self._fields += 1
        if self._head > self.bounds.head_bytes or self._fields > self.bounds.fields:
            self._refuse(_too_large_a_head(self.bounds))
        if not self._body_pending:
            super().on_header(name, value)
        # Else it is a trailer: the request is being answered with the headers that it began with.

    def on_headers_complete(self) -> None:
        self._body_pending = True
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unreported = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_pending = False
        self._unreported = self._head = 0
        super().on_message_complete()
        if self._is_idle():  # it was answered before its body was there
            self._await_head()

    def _refuse(self, error: RequestError) -> None:
        """From inside the parser, which ends with a parser's error."""
        self._refusal = error
        raise httptools.HttpParserError(str(error))

    def _should_upgrade_to_ws(self) -> bool:
        return False  # there are no WebSockets here: the request is answered without

    def _unsupported_upgrade_warning(self) -> None:
        pass  # no line in the log that any client can write

    # What goes out

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, with `_refusal` where that says why, and close."""
        error = self._refusal or RequestError(
            400, "the request cannot be parsed", field="request", expected="HTTP/1.1"
        )
        if not self._is_idle() and not self.cycle.more_body:
            # The reply to what came before is under way: it is the last.
            self.cycle.keep_alive = False
            self._deaf = True
            return
        if not self._is_idle() and self.cycle.response_started:
            self.transport.close()
            return
        body = json.dumps(error.body).encode()
        head = [STATUS_LINE[error.status]]
        for name, value in (
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", count_refused(error.status).encode()),
            (b"connection", b"close"),
        ):
            head += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*head, b"\r\n", body]))
        self.transport.close()
        self._watch_sending()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._idle_since = self.loop.time()
        if self.transport.get_write_buffer_size():
            self._watch_sending()
        if self._body_pending and not self.transport.is_closing():
            # Answered before its body was there: the rest is read and dropped, but not for ever.
            self.loop.call_later(self.bounds.head_seconds, self._end_unread, self.cycle)

    def _end_unread(self, cycle: object) -> None:
        if self.cycle is cycle and self._body_pending:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._is_idle() and self.transport.get_write_buffer_size():
            self._watch_sending()  # the end of a reply, after which nothing is written
        elif self._sending_timer is not None:
            self._sending_timer.cancel()
            self._sending_timer = None

    def _watch_sending(self) -> None:
        """End the connection where its client takes nothing for `stalled_seconds`."""
        if self._sending_timer is not None:
            self._sending_timer.cancel()
        self._sending_timer = self.loop.call_later(
            self._stalled_seconds, self._check_sending, self._unsent()
        )

    def _check_sending(self, before: int) -> None:
        self._sending_timer = None
        if not self.transport.get_write_buffer_size():
            return
        if self._unsent() >= before:
            self.transport.abort()
        else:
            self._watch_sending()

    def _unsent(self) -> int:
        """Bytes that the client has not taken yet, here and in the system's buffer."""
        size = self.transport.get_write_buffer_size()
        with suppress(ImportError, OSError, AttributeError, ValueError):
            import fcntl
            import termios

            queued = array("i", [0])
            connection = self.transport.get_extra_info("socket")
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)
            size += queued[0]
        return size


def _too_large_a_head(bounds: Bounds) -> RequestError:
    expected = f"at most {bounds.fields} fields of {bounds.head_bytes} bytes together"
    return RequestError(431, "the headers are too large", field="headers", expected=expected)


def bounded(settings: Settings, lost: Callable[[], None] = lambda: None) -> Any:
    """The protocol class for uvicorn's `http` setting. `lost` is called when a connection ends."""
    return partial(BoundedProtocol, Bounds.of(settings), Tally[str](), lost)


def install(settings: Settings, lost: Callable[[], None] = lambda: None) -> None:
    """Make it the protocol that uvicorn chooses: BentoML makes uvicorn's configuration, and has no
    setting for that. Where the system allows fewer open files, there are fewer connections."""
    # BentoML's own replies may have a file open for each connection.
    files = allow_files(2 * settings.max_connections + _OTHER_FILES)
    connections = max(2, min(settings.max_connections, (files - _OTHER_FILES) // 2))
    own = settings.model_copy(update={"max_connections": connections})
    auto.AutoHTTPProtocol = bounded(own, lost)


def allow_files(wanted: int) -> int:
    """Let this process have so many files open, or as many as it may; return how many."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < wanted:
        logger.warning("only %d files may be open: raise the limit to %d", limit, wanted)
    return limit
