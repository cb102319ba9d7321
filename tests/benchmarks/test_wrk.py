"""wrk's scripts and output."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed import wrk
from benchmarks.speed.wrk import Load, LoadError

SINGLE = Load("/sample", 1, '{"n":1,"seed":%d}', least_bytes=10)
GOOD = {
    **{"requests": 1000, "microseconds": 2_000_000, "bytes": 300_000},
    **{"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0},
    **{"p50": 7500, "p90": 9000, "p99": 15_000, "max": 21_000},
}

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="the load comes from wrk")


def output(**changes: int) -> str:
    return f"Running 2s test @ http://…\n  1 threads\n{wrk._MARK}{json.dumps(GOOD | changes)}\n"


def test_good_output_is_read() -> None:
    result = wrk.parse(output(), Load("/sample", 64, "{}"))
    assert result.images_per_second == 32_000
    assert (result.requests, result.p50, result.p99, result.maximum) == (1000, 7.5, 15.0, 21.0)


@pytest.mark.parametrize("kind", ["connect", "read", "write", "status", "timeout"])
def test_a_run_with_errors_does_not_count(kind: str) -> None:
    with pytest.raises(LoadError, match=f"errors in a run of 1000 requests: 3 {kind}"):
        wrk.parse(output(**{kind: 3}), SINGLE)


def test_a_run_without_answers_does_not_count() -> None:
    with pytest.raises(LoadError, match="no request was answered"):
        wrk.parse(output(requests=0), SINGLE)


def test_replies_that_are_too_short_do_not_count() -> None:
    with pytest.raises(LoadError, match="replies of 12288 bytes or more, found 300"):
        wrk.parse(output(), Load("/sample", 64, "{}", least_bytes=12288))


def test_output_without_figures_is_reported() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        wrk.parse("", SINGLE, stderr="unable to connect to 127.0.0.1:1 Connection refused")


def test_a_missing_wrk_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        wrk.find_wrk()


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes], list[int]]]:
    """A server that keeps the bodies it gets and answers with the first of some statuses."""
    bodies: list[bytes] = []
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            bodies.append(self.headers["content-type"].encode() + b" " + self.rfile.read(length))
            self.send_response(status[0])
            self.send_header("content-length", "20")
            self.end_headers()
            self.wfile.write(b"x" * 20)

        def log_message(self, *args: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", bodies, status
    made.shutdown()
    made.server_close()
    thread.join()


@needs_wrk
def test_no_two_requests_are_the_same(server: tuple[str, list[bytes], list[int]]) -> None:
    url, bodies, _ = server
    result = wrk.run(url, SINGLE, connections=4, seconds=1, first=1000)
    assert result.requests > 10
    assert len(set(bodies)) == len(bodies) >= result.requests
    # wrk takes one request for itself, to see whether the script works.
    assert b'application/json {"n":1,"seed":1002}' in bodies


@needs_wrk
def test_a_file_is_sent_as_it_is(
    server: tuple[str, list[bytes], list[int]], tmp_path: Path
) -> None:
    url, bodies, _ = server
    body = bytes(range(256))
    (tmp_path / "images.npy").write_bytes(body)
    load = Load("/encode", 64, tmp_path / "images.npy", "application/x-npy")
    result = wrk.run(url, load, connections=2, seconds=1, first=0)
    assert result.images_per_second > result.requests
    assert set(bodies) == {b"application/x-npy " + body}


@needs_wrk
def test_refused_requests_are_a_failed_run(server: tuple[str, list[bytes], list[int]]) -> None:
    url, _, status = server
    status[0] = 503
    with pytest.raises(LoadError, match=r"errors in a run of \d+ requests: \d+ status"):
        wrk.run(url, SINGLE, connections=2, seconds=1, first=0)
