"""The pace of a run: as fast as it goes, so many steps a second, or one at a time."""

import threading
import time

_LOOK = 0.2
"""Seconds after which a run that is held looks whether it is to stop."""


class Pace:
    """What a person asks for, and what the run waits for. Its methods may be called from any
    thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = False
        self._steps = 0
        self._rate: float | None = None

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def held(self) -> bool:
        """Paused, and no step of those that were asked for is left."""
        return self._paused and not self._steps

    @property
    def rate(self) -> float | None:
        """Steps a second, at most; None: as fast as it goes."""
        return self._rate

    def pause(self) -> None:
        self._set(paused=True)

    def go_on(self) -> None:
        self._set(paused=False)

    def step(self, count: int) -> None:
        """Take so many steps, then pause."""
        self._set(paused=True, steps=count)

    def limit(self, rate: float | None) -> None:
        """Steps a second, above 0; None: as fast as it goes."""
        with self._changed:
            self._rate = rate
            self._changed.notify_all()

    def hold(self, stop: threading.Event) -> float:
        """Wait until the next step may be taken, or the run is to stop; returns the seconds."""
        started = time.perf_counter()
        with self._changed:
            while not stop.is_set() and (left := self._left(time.perf_counter() - started)) > 0:
                self._changed.wait(min(left, _LOOK))
            self._steps = max(0, self._steps - 1)
        return time.perf_counter() - started

    def _left(self, waited: float) -> float:
        """Seconds that are still to be waited."""
        if self.held:
            return float("inf")
        return 0.0 if self._rate is None else 1 / self._rate - waited

    def _set(self, *, paused: bool, steps: int = 0) -> None:
        with self._changed:
            self._paused, self._steps = paused, steps
            self._changed.notify_all()
