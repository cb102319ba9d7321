"""Servers as processes of their own: started on a free port of the loopback, ready, and surely gone
afterwards."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
"""Until a start counts as failed."""


@dataclass(frozen=True)
class Server:
    """How a server is started: `module` run by `python -m`, `{port}` in its arguments replaced."""

    module: str
    arguments: tuple[str, ...]
    ready: str = "/readyz"
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    port: int
    process: int
    ready_seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident_megabytes(self) -> float:
        """Resident memory of the server's process and all its descendants."""
        total = 0
        for process in _family(self.process):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 1e6


def ours(
    artifacts: Path, settings: Mapping[str, str] | None = None, python: str = sys.executable
) -> Server:
    """The service as users start it, over a folder of artifacts."""
    return Server(
        "bentoml",
        (
            *("serve", "bento.service:LatentServe"),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
        environment={"LATENTSERVE_ARTIFACTS": str(artifacts.resolve()), **(settings or {})},
        python=python,
    )


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start a server, wait until it is ready, and end all its processes afterwards, whatever
    happens; RuntimeError with the end of its log where it does not become ready."""
    port = _free_port()
    command = [server.python, "-m", server.module, *server.arguments]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own servers
            [part.format(port=port) for part in command],
            cwd=ROOT,
            env=_environment(server),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            try:
                _wait_until_ready(process, f"http://127.0.0.1:{port}{server.ready}", began)
            except RuntimeError as error:
                log.seek(0)
                raise RuntimeError(f"{server.arguments}: {error}\n{log.read()[-2000:]}") from None
            yield Running(port, process.pid, time.perf_counter() - began)
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """End a process and its descendants: politely, then each by itself, then by force."""
    # Listed while their parent lives; some are in sessions of their own, out of killpg's reach.
    alive = _family(process.pid)
    rest = alive[:1]
    for number, seconds in ((signal.SIGTERM, 3.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0)):
        for one in rest:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)
        _, alive = psutil.wait_procs(alive, timeout=seconds)
        rest = alive
    with suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


def _family(process: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(process)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _environment(server: Server) -> dict[str, str]:
    # This checkout's packages, whatever is installed.
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": path}
    return {**os.environ, **quiet, **server.environment}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, began: float) -> None:
    while not _is_ready(url):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        if time.perf_counter() - began > READY_SECONDS:
            raise RuntimeError(f"the server was not ready within {READY_SECONDS:.0f} s")
        time.sleep(0.01)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - the loopback
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False
