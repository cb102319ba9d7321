"""What a connection may send and take: raw bytes over a real socket."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from bento.repository.models import Models
from tests.bento.support import WAIT, left, listening, until_closed, wait_until

SMALL = b"GET /models HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def url(models: Models) -> Iterator[str]:
    with listening(models, timeout_seconds=1.0, max_connections=8) as started:
        yield started


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    with closing(socket.create_connection(address(url), timeout=WAIT)) as connection:
        yield connection


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def ask(url: str, data: bytes) -> bytes:
    with connected(url) as connection:
        connection.sendall(data)
        return until_closed(connection)


def check(reply: bytes, status: int, error: str) -> None:
    """One reply, in the form that every error has."""
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), reply[:300]
    assert b"\r\nx-request-id: " in head
    assert b"\r\nconnection: close" in head
    assert set(json.loads(body)) == {"error", "field", "expected", "found"}
    assert error in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("data", "status", "error"),
    [
        (SMALL + b"x: " + b"a" * (60 << 10), 431, "headers are too large"),
        (SMALL + b"x: " + b"a" * (60 << 10) + b"\r\n\r\n", 431, "headers are too large"),
        (SMALL + b"".join(b"x-%d: a\r\n" % i for i in range(101)), 431, "headers are too large"),
        (SMALL + b"a" * (60 << 10), 431, "headers are too large"),
        (b"GET /" + b"a" * (25 << 10) + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, "URL is too long"),
        (b"GET /?" + b"a" * (25 << 10), 414, "URL is too long"),
        (b"HELO mail\r\n\r\n", 400, "cannot be parsed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "cannot be parsed"),
        (SMALL + b"no colon\r\n\r\n", 400, "cannot be parsed"),
        (SMALL + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "cannot be parsed"),
        (SMALL + b"content-length: -1\r\n\r\n", 400, "cannot be parsed"),
        (
            b"POST /sample HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            400,
            "cannot be parsed",
        ),
        (
            b"POST /sample HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;"
            + b"a" * (60 << 10),
            431,
            "headers are too large",
        ),
        (b"GET /mod", 408, "did not arrive"),
        (SMALL, 408, "did not arrive"),
        (SMALL + b"x: a", 408, "did not arrive"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_no_request_is_refused_as_json(
    url: str, data: bytes, status: int, error: str
) -> None:
    check(ask(url, data), status, error)


def test_a_head_that_comes_byte_by_byte_is_late(url: str) -> None:
    began = time.monotonic()
    with connected(url) as connection:
        for byte in SMALL * 100:
            try:
                connection.sendall(bytes([byte]))
            except ConnectionError:
                break
            if time.monotonic() - began > WAIT:
                break
            time.sleep(0.05)
        reply = until_closed(connection)
    assert time.monotonic() - began < WAIT
    assert not reply or b" 408 " in reply  # a reset may have taken the reply away


def test_a_connection_without_a_request_is_closed(url: str) -> None:
    assert ask(url, b"") == b""
    check(ask(url, b"\r\n\r\n"), 408, "did not arrive")


def test_trailers_are_bounded_and_do_not_reach_the_application(url: str) -> None:
    head = (
        b"POST /sample?n=1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        b"connection: close\r\n\r\n0\r\n"
    )
    fine = ask(url, head + b"x-request-id: from-a-trailer\r\n\r\n")
    assert fine.startswith(b"HTTP/1.1 200 ")
    assert b"from-a-trailer" not in fine
    check(ask(url, head + b"x: " + b"a" * (60 << 10)), 431, "headers are too large")


def test_garbage_after_a_request_does_not_spoil_its_reply(url: str) -> None:
    reply = ask(url, SMALL + b"\r\nand now something else\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert reply.count(b"HTTP/1.1 ") == 1


def test_one_request_at_a_time(url: str) -> None:
    """What follows while a reply is under way is dropped, and the connection ends with it."""
    request = SMALL + b"\r\n"
    for rest in (request, request * 1000, request + b"\0bad", b"\0bad"):
        with connected(url) as connection:
            connection.sendall(request + rest)
            reply = until_closed(connection)
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert reply.count(b"HTTP/1.1 ") == 1
    with connected(url) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_body_after_its_reply_leaves_an_idle_connection(url: str) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"
    with connected(url) as connection:
        connection.sendall(head)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"body")
        assert until_closed(connection) == b""


def test_a_websocket_is_answered_as_a_request(url: str) -> None:
    upgrade = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: eA==\r\n\r\n"
    with connected(url) as connection:
        connection.sendall(SMALL + upgrade)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_never_ends_after_its_reply(url: str) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    with connected(url) as connection:
        connection.sendall(head)
        assert until_closed(connection).startswith(b"HTTP/1.1 404 ")


def test_the_longest_idle_connection_makes_room(url: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(connected(url))
        for _ in range(12):
            time.sleep(0.01)
            stack.enter_context(connected(url))
        assert until_closed(first) == b""
        assert ask(url, SMALL + b"connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_slow_reader_that_goes_on_reads_it_all(models: Models) -> None:
    """19 MB: slowly for three times the limit, then the rest at once."""
    images, limit = 100_000, 2.0
    body = b'{"model": "tiny-plain", "n": %d, "seed": 1, "format": "npy"}' % images
    length = images * 8 * 8 * 3
    request = b"POST /sample HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    with listening(models, timeout_seconds=limit) as url, closing(socket.socket()) as connection:
        # What the system holds for a client is bounded when they connect.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        connection.settimeout(WAIT)
        connection.connect(address(url))
        connection.sendall(request % len(body) + body)
        found, began = 0, time.monotonic()
        while time.monotonic() - began < 3 * limit:
            # All that the system holds: it asks for more when that is taken, not for each part.
            found += len(connection.recv(64 << 10))
            time.sleep(0.1)
        assert found < length / 4  # more than the system holds is still the service's
        assert found + len(until_closed(connection)) > length


def test_a_reader_that_stops_is_cut(models: Models) -> None:
    body = b'{"model": "tiny-plain", "n": 1000000, "seed": 1, "format": "npy"}'
    request = b"POST /sample HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    before = left("tiny-plain")
    with listening(models, timeout_seconds=2.0) as url, connected(url) as connection:
        connection.sendall(request % len(body) + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: left("tiny-plain") == before + 1)
        length = 1_000_000 * 8 * 8 * 3
        assert len(until_closed(connection)) < length


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes() -> None:
    """In a process of its own, for a limit can be lowered but not raised again."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 500));"
        "from bento.server.connections import allow_files;"
        "print(allow_files(400), allow_files(4000));"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["400 500", "(500, 500)"]
