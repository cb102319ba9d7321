"""How much of the time the engine was busy."""

import threading
import time
from collections.abc import Sequence


class EngineMeter:
    """An observer (`runtime.Observer`) that adds up the seconds of the engine's runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._seconds = 0.0

    def begin(self) -> None:
        """Count from now on."""
        with self._lock:
            self._began, self._seconds = time.monotonic(), 0.0

    def busy(self, runners: int) -> float:
        """The share of the time since `begin` that all `runners` together spent in the engine: 1
        where none of them ever waited for pictures."""
        with self._lock:
            return self._seconds / (runners * max(1e-9, time.monotonic() - self._began))

    def take(self) -> tuple[float, float]:
        """The seconds in the engine, and all seconds, since `begin` or since this was called
        last."""
        with self._lock:
            now = time.monotonic()
            taken = self._seconds, now - self._began
            self._began, self._seconds = now, 0.0
            return taken

    def run(self, graph: str, images: int, seconds: float) -> None:
        with self._lock:
            self._seconds += seconds

    def queued(self, graph: str, images: int) -> None: ...

    def taken(self, graph: str, images: int, waited: Sequence[float]) -> None: ...

    def failed(self, graph: str, images: int) -> None: ...

    def rejected(self, graph: str, images: int, reason: str) -> None: ...
