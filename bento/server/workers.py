"""Several processes of one service (`LATENTSERVE_WORKERS`): what each has of the machine, and what
they tell one another, in files of the supervisor's folder."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from bento.server.accepting import Board, accept_by
from bento.settings import Settings, variable
from runtime.engines.nvidia.devices import gpus
from runtime.machine import cores, part_of, take_part

logger = logging.getLogger(__name__)

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_JOIN_SECONDS = 10.0
"""For which the successor of a worker that ended leaves requests to the others, at most."""
_OBSERVE_SECONDS = 1.0


class Workers:
    """The worker that this process is, and the others: number `index` of `count`, from 0.

    `folder` is theirs alone, and new when the service starts. One alone needs none.
    """

    def __init__(self, index: int, count: int, folder: Path) -> None:
        self.index, self.count, self._folder = index, count, folder
        self.board = Board(folder / "connections" if count > 1 else None, index, count)
        self._loaded = threading.Event()

    def accept(self) -> None:
        """Have the running loop accept a fair share of the connections."""
        if self.count > 1:
            accept_by(self.board)

    @property
    def is_successor(self) -> bool:
        """Whether this worker takes the place of one that had tried all artifacts."""
        return self.count > 1 and self._mark(self.index).exists()

    def note_loaded(self) -> None:
        """All artifacts have been tried here."""
        if self.count > 1:
            with suppress(OSError):  # the service ends, and the folder is removed
                self._mark(self.index).touch()
        self._loaded.set()

    def missing(self) -> str | None:
        """What is missing until each worker, or one before it, has tried all artifacts."""
        if self.count == 1:
            return None
        loaded = sum(self._mark(index).exists() for index in range(self.count))
        if loaded == self.count:
            return None
        return f"artifacts are being loaded: {loaded} of {self.count} workers have them"

    def join(self) -> None:
        """Wait until this worker is as good as the others, where those have been serving."""
        if self.is_successor:
            self._loaded.wait(_JOIN_SECONDS)

    def keep(self, observe: Callable[[], None]) -> None:
        """Call `observe` every second where another worker may be asked for it, for ever."""
        if self.count > 1:
            target = partial(_every, _OBSERVE_SECONDS, observe)
            threading.Thread(target=target, name="latentserve-gauges", daemon=True).start()

    def _mark(self, index: int) -> Path:
        return self._folder / f"loaded-{index}"


def _every(seconds: float, call: Callable[[], None]) -> None:
    while True:
        time.sleep(seconds)
        try:
            call()
        except Exception:  # what is wrong for a second must not stay so for ever
            logger.exception("cannot bring the gauges up to date")


def check_workers(settings: Settings) -> None:
    """ValueError where there are more workers than cores."""
    if settings.workers > cores():
        raise ValueError(
            f"{variable('workers')}={settings.workers}: expected at most {cores()}, one for each "
            "core that the service may use"
        )


def list_gpus(settings: Settings) -> None:
    """Have the workers know the GPUs before they choose: in the process that starts them, since one
    that has asked the driver can choose no more."""
    if settings.workers > 1 and settings.device != "cpu" and _VISIBLE not in os.environ and gpus():
        os.environ[_VISIBLE] = ",".join(str(gpu.index) for gpu in gpus())


def take_share(workers: Workers) -> None:
    """Leave this worker its part of the cores, and of the GPUs, before a library looks for them."""
    if workers.count == 1:
        return
    take_part(workers.index, workers.count)
    devices = devices_of(os.environ.get(_VISIBLE, "").split(","), workers.index, workers.count)
    if devices:
        os.environ[_VISIBLE] = ",".join(devices)


def devices_of(visible: Iterable[str], index: int, count: int) -> list[str]:
    """The devices of one worker among `count`: each is used, by as few workers as possible."""
    devices = [device.strip() for device in visible if device.strip()]
    if not devices:
        return []
    if count > len(devices):
        return [devices[index % len(devices)]]
    return part_of(devices, index, count)
