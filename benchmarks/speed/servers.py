"""Servers as separate processes: started on a free loopback port, ready, and always ended."""

import os
import random
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

from runtime.engines.cache import CACHE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
"""Until a start counts as failed, unless the server says otherwise."""
PATIENCE = (3.0, 2.0, 10.0)
"""Seconds until the next way to end a process is tried."""

_PORTS = range(20_000, 32_768)
"""Below those that Linux gives to clients: none of them takes a port before its server does."""


@dataclass(frozen=True)
class Server:
    """How a server is started: `command` in `folder`, with `{port}` in it replaced.

    It is ready when its path `ready` answers 200. Of its user's settings (`LATENTSERVE_...`) it
    gets the cache alone, and those in `environment`.
    """

    command: tuple[str, ...]
    ready: str = "/readyz"
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    start_seconds: float = READY_SECONDS


@dataclass(frozen=True)
class Running:
    """A server that is ready; `log` holds what it printed."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    ready_seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident_megabytes(self) -> float:
        """Resident memory of the server's process and all its descendants."""
        total = 0
        for process in family(self.process):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 1e6


def bentoml_serve(
    *service: str, environment: Mapping[str, str] | None = None, python: str = sys.executable
) -> Server:
    """`bentoml serve`, of the service that pyproject.toml names where none is given."""
    where = ("--host", "127.0.0.1", "--port", "{port}")
    command = (python, "-m", "bentoml", "serve", *service, *where)
    return Server(command, environment=environment or {})


def ours(
    artifacts: Path, settings: Mapping[str, str] | None = None, python: str = sys.executable
) -> Server:
    """The service as users start it, over a folder of artifacts."""
    environment = {"LATENTSERVE_ARTIFACTS": str(artifacts.resolve()), **(settings or {})}
    return bentoml_serve(environment=environment, python=python)


GRANIAN = "granian"
"""A compiled HTTP server, compared where it is installed; also the value of PEER_HTTP."""
NAIVE, ADAPTIVE, LITSERVE = "BentoML naive", "BentoML adaptive batching", "LitServe"


def peer(module: str, environment: Mapping[str, str], ready: str = "/readyz") -> Server:
    """A server of `benchmarks.peers` that is a program of its own."""
    command = (sys.executable, "-m", f"benchmarks.peers.{module}", "{port}")
    return Server(command, ready, environment)


def others(environment: Mapping[str, str]) -> dict[str, Server]:
    """The servers that ours is compared with, by name."""
    started = {
        name: bentoml_serve(f"benchmarks.peers.{service}", environment=environment)
        for name, service in ((NAIVE, "naive:Naive"), (ADAPTIVE, "adaptive:Adaptive"))
    }
    return {**started, LITSERVE: peer("lightning", environment, ready="/health")}


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start a server, wait until it is ready, and end all its processes afterwards, whatever
    happens; RuntimeError with the end of its log where it does not become ready."""
    port = free_port()
    command = [part.format(port=port) for part in server.command]
    with tempfile.TemporaryDirectory(prefix="latentserve-server-") as home:
        log = Path(home) / "server.log"
        began = time.perf_counter()
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 - our own servers
                command,
                cwd=server.folder,
                env=_environment(server, home),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            try:
                _wait_until_ready(server, process, f"http://127.0.0.1:{port}{server.ready}")
            except RuntimeError as error:
                said = log.read_text("utf-8", errors="replace")[-4000:]
                raise RuntimeError(f"{' '.join(command)}: {error}\n{said}") from None
            yield Running(port, process, log, time.perf_counter() - began)
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its descendants: politely, then each by itself, then by force."""
    # Listed while their parent lives; some are in sessions of their own, out of killpg's reach.
    alive = family(process)
    rest = alive[:1]
    ways = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)
    for number, seconds in zip(ways, PATIENCE, strict=True):
        for one in rest:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)
        _, alive = psutil.wait_procs(alive, timeout=seconds)
        rest = alive
    with suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The process and its descendants; none where it has ended."""
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)] if process.poll() is None else []
    except psutil.NoSuchProcess:
        return []


def free_port() -> int:
    """A port of the loopback that nobody uses now; OSError where one cannot be found."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise OSError(f"ports: expected a free one from {_PORTS[0]} to {_PORTS[-1]}, found none in 100")


def _environment(server: Server, home: str) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LATENTSERVE_") or name == CACHE_VARIABLE
    }
    own = {
        "BENTOML_DO_NOT_TRACK": "True",
        # BentoML's folder of metrics is one for all its services there, emptied at each start.
        "BENTOML_HOME": home,
        # Its folder's packages, whatever is installed.
        "PYTHONPATH": str(server.folder),
    }
    return {**inherited, **own, **server.environment}


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]", url: str) -> None:
    give_up = time.perf_counter() + server.start_seconds
    while not _is_ready(url):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        if time.perf_counter() > give_up:
            raise RuntimeError(f"the server was not ready within {server.start_seconds:.0f} s")
        time.sleep(0.01)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - the loopback
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False
