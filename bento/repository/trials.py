"""Trials: an artifact that is new to this machine is loaded in a process of its own first.

What a graph takes, in time and in memory, is known only once it has run, and a call of an engine
cannot be stopped from within its process. A process can: it may take so many seconds and so many
bytes, and is ended with its service. `python -m bento.repository.trials` is that process.
"""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from runtime.artifact.reading import read_artifact
from runtime.artifact.tensors import Precision
from runtime.engines.backend import Variant
from runtime.engines.choice import variant_of
from runtime.engines.library import Device
from runtime.errors import ArtifactError, EngineError, LatentServeError
from runtime.loading import load
from runtime.parent import end_with_parent

logger = logging.getLogger(__name__)

_MAX_REASON = 2000
"""Characters of an error: some engines print whole graphs."""
_MAX_LINE = 1 << 16
_LOOK_SECONDS = 0.2
_START_SECONDS = 60.0
"""For the process to import what it needs, before its first order."""


@dataclass(frozen=True)
class Order:
    """What is tried: `artifact`, a folder whose manifest has this SHA-256, loaded as `runtime.load`
    would with the same arguments, in at most so many bytes of memory."""

    artifact: str
    manifest: str
    backend: str
    precision: Precision | Literal["auto"]
    device: Device
    cache: str
    signed_by: str | None
    bytes: int


class Trials:
    """A process that loads one artifact after another, as long as each passes."""

    def __init__(self) -> None:
        # The service may be started from any folder, as a Bento is.
        places = (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            (sys.executable, "-P", "-m", __name__, str(os.getpid())),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._orders = cast("IO[bytes]", self._process.stdin)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="latentserve-told", daemon=True).start()
        self._is_ready = False

    def verdict(
        self, order: Order, seconds: float, told: Callable[[str], None] = lambda _: None
    ) -> Variant:
        """Have an artifact loaded and warmed up: the way to run it that was chosen. `told` is
        called with what the process is doing.

        Raises EngineError, with the reason, where it cannot be loaded, or takes longer; the process
        has then ended.
        """
        began = time.monotonic()
        try:
            if not self._is_ready:
                self._is_ready = bool(self._said(_START_SECONDS))
                began = time.monotonic()
            if not self._is_ready:
                raise EngineError(
                    "the process that tries artifacts did not start: the log says why"
                )
            with suppress(OSError):  # it has ended, and says nothing more
                self._orders.write(json.dumps(asdict(order)).encode() + b"\n")
                self._orders.flush()
            said = _read(self._said(seconds))
            while "doing" in said:
                told(str(said["doing"]))
                said = _read(self._said(began + seconds - time.monotonic()))
        except ValueError:  # its pipes are closed: the service ends
            said = {}
        variant = variant_of(said.get("chosen"))
        if variant is None:
            self.end()
            if not said and time.monotonic() - began >= seconds:
                raise EngineError(
                    f"expected to load within {seconds:g} s, it took longer and was ended "
                    "(LATENTSERVE_LOAD_SECONDS)"
                )
            raise EngineError(said.get("error") or _end(self._process.returncode, order))
        return variant

    def _said(self, seconds: float) -> bytes:
        """The next line; empty where it ended before, as it must after so many seconds."""
        give_up = time.monotonic() + seconds
        while True:
            ended = self.ended
            with suppress(queue.Empty):
                return self._lines.get(timeout=_LOOK_SECONDS)
            if ended:
                return b""
            if time.monotonic() > give_up:
                self.end()

    def _read(self) -> None:
        # In a thread: the end of the pipe does not say that the process has ended, since a process
        # that a library forked off may hold it open for longer.
        with cast("IO[bytes]", self._process.stdout) as told:
            while line := told.readline(_MAX_LINE):
                self._lines.put(line)

    @property
    def ended(self) -> bool:
        """Whether it tries no more."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what was not sent is not missed
            self._orders.close()


def _read(said: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(said))
    except (ValueError, TypeError):
        return {}


def _end(status: int, order: Order) -> str:
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the process that loaded it ended with {how}: {_memory(order)}"


def _memory(order: Order) -> str:
    return f"expected to load in {order.bytes >> 20} MiB of memory (LATENTSERVE_LOAD_BYTES)"


def main() -> None:
    """The process of trials: a line says that it is ready; then one order a line comes in, and one
    verdict a line goes out, after lines that say what is being done."""
    end_with_parent(int(sys.argv[1]), signal.SIGKILL)
    # Libraries print to what they take for the terminal: that is the log from here on.
    told = os.dup(1)
    os.dup2(2, 1)
    # Nor must a process that a library forks off wait for what is read here.
    orders = os.fdopen(os.dup(0), "rb")
    sys.stdin.close()
    # This one forks a process, to report its use.
    sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
    logging.basicConfig(level=logging.WARNING, format="trial: %(message)s")
    logging.getLogger().handlers[0].setLevel(logging.WARNING)
    doing = logging.getLogger("runtime")
    doing.setLevel(logging.INFO)
    doing.addHandler(_Doing(told))
    _import_engines()
    os.write(told, b"ready\n")
    for line in orders:
        os.write(told, json.dumps(_try(Order(**json.loads(line)))).encode() + b"\n")
    os._exit(0)  # nothing here need be put away


class _Doing(logging.Handler):
    """Tells the service what the runtime logs: what it does, and how long that takes."""

    def __init__(self, told: int) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        line = json.dumps({"doing": record.getMessage()[:_MAX_REASON]})
        os.write(self._told, line.encode() + b"\n")


def _import_engines() -> None:
    for module in ("onnx", "onnxruntime", "openvino"):
        with suppress(ImportError):
            __import__(module)


def _try(order: Order) -> Mapping[str, Any]:
    """`{"chosen": variant}`, or `{"error": why not}`."""
    _take_at_most(order.bytes)
    try:
        artifact = read_artifact(order.artifact, signed_by=order.signed_by)
        if artifact.digest != order.manifest:
            raise ArtifactError(artifact.folder, "changed while it was loaded: try again")
        model = load(
            artifact,
            backend=order.backend,
            precision=order.precision,
            device=order.device,
            cache=Path(order.cache),
        )
        with model:
            model.warm()
    except MemoryError:
        return {"error": _memory(order)}
    except LatentServeError as error:
        reason = str(error)[:_MAX_REASON]
        # Engines have no exception of their own for this: "std::bad_alloc", "Failed to allocate".
        return {"error": f"{_memory(order)}: {reason}" if "alloc" in reason else reason}
    except Exception as error:  # an artifact is input: its file may bring about anything
        logger.exception("cannot load %s", order.artifact)
        return {"error": type(error).__name__}
    return {"chosen": vars(model.variant)}


def _take_at_most(limit: int) -> None:
    """Bound what this process may allocate, where the system can; and where memory runs out all the
    same, let the system end this process rather than the service."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
