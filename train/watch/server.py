"""The HTTP server of the page: loopback alone, a few fixed paths, a strict policy."""

import json
import re
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from train.watch.pace import Pace

HOST = "127.0.0.1"
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/watch.js": ("watch.js", "text/javascript; charset=utf-8"),
    "/plane.js": ("plane.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_OURS = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?")
"""A request's host."""
_LONGEST_BODY = 1000
"""Bytes."""
_IDLE = 30.0
"""Seconds that a connection may wait for a request."""
_LAST = 5.0
"""Seconds that replies under way have once the run has ended."""


class Server(ThreadingHTTPServer):
    """Serves `described(after)` at /state, sheets at /samples/, and takes orders at /pace."""

    daemon_threads = True

    def __init__(
        self,
        described: Callable[[int], Mapping[str, Any]],
        sheet: Callable[[str], bytes | None],
        pace: Pace,
    ) -> None:
        super().__init__((HOST, 0), _Handler)
        self.described, self.sheet, self.pace = described, sheet, pace
        self.in_browser = False
        """Whether the page was fetched, not only what it shows."""
        self._replies, self._none_left = 0, threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections, and let the replies under way end."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        with self._none_left:
            self._none_left.wait_for(lambda: not self._replies, _LAST)

    @contextmanager
    def replying(self) -> Generator[None]:
        """Inside, a reply is under way."""
        with self._none_left:
            self._replies += 1
        try:
            yield
        finally:
            with self._none_left:
                self._replies -= 1
                self._none_left.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves in the middle of a reply is no error of the training."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = _IDLE

    def do_GET(self) -> None:
        with self.server.replying():
            self._get()

    def do_POST(self) -> None:
        with self.server.replying():
            self._post()

    def _get(self) -> None:
        if not self._is_ours():
            return
        address = urlsplit(self.path)
        if address.path in _FILES:
            self.server.in_browser = True
            name, media_type = _FILES[address.path]
            self._reply((_PAGE / name).read_bytes(), media_type)
        elif address.path == "/state":
            after = parse_qs(address.query).get("after", ["0"])[0]
            if not after.isdecimal() or len(after) > 15:
                wrong = f"after: expected a step, found {after[:80]!r}"
                self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, wrong)
            else:
                found = json.dumps(self.server.described(int(after)), allow_nan=False)
                self._reply(found.encode(), "application/json")
        elif (png := self.server.sheet(address.path.removeprefix("/samples/"))) is not None:
            self._reply(png, "image/png")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"nothing at {address.path}")

    def _post(self) -> None:
        length = self.headers.get("Content-Length", "")
        # A page of another site cannot send this type without being asked first, which fails.
        is_json = self.headers.get_content_type() == "application/json"
        is_short = re.fullmatch("[0-9]{1,4}", length) and int(length) <= _LONGEST_BODY
        if not (is_short and is_json):
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, f"expected JSON of at most {_LONGEST_BODY} bytes")
            return
        body = self.rfile.read(int(length))
        if not self._is_ours():
            return
        if self.path != "/pace":
            self._refuse(HTTPStatus.NOT_FOUND, f"nothing at {self.path}")
        elif (wrong := _order(body, self.server.pace)) is not None:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, wrong)
        else:
            self._reply(b"{}", "application/json")

    def _is_ours(self) -> bool:
        """Refuse what came by another name: a page of another site, whose name was made to lead
        here, would otherwise be taken for ours. By any port: that of a tunnel is another one."""
        if _OURS.fullmatch(self.headers.get("Host", "")):
            return True
        expected = f"expected the host {HOST}:{self.server.server_port}"
        self._refuse(HTTPStatus.MISDIRECTED_REQUEST, expected)
        return False

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._reply(json.dumps({"error": why}).encode(), "application/json", status)

    def _reply(self, body: bytes, media_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:  # said, or a client sends its next request here and gets none
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Not in the log of the training."""


def _order(body: bytes, pace: Pace) -> str | None:
    """Do what an order says; what is wrong with it, or None."""
    try:
        order = json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"expected JSON, found {error}"
    match order:
        case {"do": "pause"}:
            pace.pause()
        case {"do": "go on"}:
            pace.go_on()
        case {"do": "step", "steps": int(steps)} if 1 <= steps <= 1_000_000:
            pace.step(steps)
        case {"do": "limit", "rate": None}:
            pace.limit(None)
        case {"do": "limit", "rate": int(rate) | float(rate)} if 0.01 <= rate <= 1e6:
            pace.limit(rate)
        case _:
            return (
                'expected {"do": "pause"}, {"do": "go on"}, {"do": "step", "steps": 1} or '
                '{"do": "limit", "rate": 10} (null: none), found ' + repr(order)[:80]
            )
    return None
