"""A run as the page sees it: its record, losses and sheets, from its folder, and the last frame of
a run in the plane."""

import json
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from train.plane import Frame, frame, is_plane
from train.recipes import Recipe
from train.training import Training
from train.watch.pace import Pace
from train.watch.server import Server

SHEET = re.compile(r"\d{8}\.png")
"""The name of a sheet of samples."""
RUNNING = ("starting", "training", "evaluating")
"""The states of a run that has not ended."""
_FAREWELL = 10.0
"""Seconds after its last look that a page has to fetch the end of the run: it looks every second,
every fourth where nobody sees it."""


class Watch:
    """Serves the page of one run while it is entered; `url` is where."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.state = "starting"
        """One of RUNNING, finished, stopped, or what went wrong."""
        self._out: Path | None = None
        self._recipe: Recipe | None = None
        self._step = 0
        self._frame: Frame | None = None
        self._wanted = threading.Event()
        self._seen = threading.Condition()
        self._looked = float("-inf")
        self._told = False
        self._fetched: str | None = None
        """The sheet that was fetched last."""
        self._reading = threading.Lock()
        self._log: list[dict[str, float]] = []
        self._read = 0
        self._server = Server(self.described, self.sheet, self.pace)

    @property
    def url(self) -> str:
        return self._server.url

    def __enter__(self) -> "Watch":
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        why = str(error) or type(error).__name__  # some errors say nothing
        self.state = "finished" if kind is None else "stopped" if stopped else f"failed: {why}"
        if not stopped:
            with suppress(KeyboardInterrupt):  # the run has ended: only its page is waited for
                self._say_farewell()
        self._server.stop()

    def begin(self, training: Training, out: Path) -> None:
        """Show this run, which is about to take its next step."""
        self._out, self._recipe, self._step = out, training.recipe, training.step
        self.state = "training"

    def after(self, training: Training, stop: threading.Event) -> float:
        """After each step: hold the run as the page says; returns for how many seconds."""
        self._step = training.step
        # Of a run that is held, the page shows the step that it is held at.
        looked_at = self._wanted.is_set() or self.pace.held or self.pace.rate is not None
        if is_plane(training.recipe) and looked_at:
            self._wanted.clear()
            self._frame = frame(training)
        held = self.pace.hold(stop)
        if training.step == training.recipe.steps:
            self.state = "evaluating"
        return held

    def _say_farewell(self) -> None:
        """Serve on until whoever was looking knows the end, and a browser has the last sheet."""
        with self._seen:
            self._seen.wait_for(self._is_seen, self._looked + _FAREWELL - time.monotonic())

    def _is_seen(self) -> bool:
        sheets = _sheets(self._out) if self._out and self._server.in_browser else ()
        return self._told and (not sheets or sheets[-1] == self._fetched)

    def described(self, after: int) -> Mapping[str, Any]:
        """What the page shows; of the losses and sheets those after a step."""
        self._wanted.set()
        state = self.state  # once: who is told the end does not look again
        with self._seen:
            self._looked = time.monotonic()
            self._told = state not in RUNNING
            self._seen.notify_all()
        recipe, out = self._recipe, self._out
        found: dict[str, Any] = {
            "state": state,
            "paused": self.pace.paused,
            "rate": self.pace.rate,
            "step": self._step,
        }
        if recipe is None or out is None:
            return found
        record = json.loads((out / "run.json").read_text())["provenance"]
        return found | {
            "recipe": recipe.name,
            "summary": recipe.summary,
            "kind": recipe.objective.kind,
            "data": record["data"],
            "images": record["images"],
            "steps": recipe.steps,
            "batch_size": recipe.batch_size,
            "figures": record["metrics"],
            "losses": [line for line in self._lines(out) if line["step"] > after],
            "sheets": _sheets(out),
            "frame": self._frame and _listed(self._frame),
        }

    def sheet(self, name: str) -> bytes | None:
        """A sheet of the run, PNG; None where there is none of that name."""
        if self._out is None or not SHEET.fullmatch(name):
            return None
        path = self._out / "samples" / name
        if not path.is_file():
            return None
        with self._seen:
            self._fetched = name
            self._seen.notify_all()
        return path.read_bytes()

    def _lines(self, out: Path) -> list[dict[str, float]]:
        """All that the run has logged; of the file, what is new is read."""
        with self._reading, (out / "metrics.jsonl").open() as file:
            file.seek(self._read)
            while (line := file.readline()).endswith("\n"):
                self._log.append(json.loads(line))
                self._read = file.tell()
            return list(self._log)


def _sheets(out: Path) -> list[str]:
    """The names of a run's sheets, the oldest first."""
    return sorted(p.name for p in (out / "samples").glob("*.png") if SHEET.fullmatch(p.name))


def _listed(frame: Frame) -> dict[str, Any]:
    """A frame for JSON, to four digits."""
    return {
        name: np.round(value.astype(np.float64), 4).tolist()
        if isinstance(value, np.ndarray)
        else value
        for name, value in asdict(frame).items()
    }
