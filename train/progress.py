"""What a person sees of a run while it trains, and at its end."""

import json
import logging
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from runtime.terminal import SERVE
from train.plane import frame, is_plane, picture
from train.sheet import save_picture, save_sheet
from train.training import Training

logger = logging.getLogger(__name__)

_FIRST_STEPS = 10
_FIRST_SECONDS = 20.0
"""The first losses and the first sheet are shown after so many steps, or so many seconds."""


class Progress:
    """Sheets of samples, as files and in TensorBoard, and a line in the log with each: losses,
    speed and the time that is left."""

    def __init__(self, training: Training, out: Path, board: SummaryWriter) -> None:
        self.training, self.out, self.board = training, out, board
        self.started, self.first = time.perf_counter(), training.step
        self.begun = False

    def show(self, losses: Mapping[str, float], last: int) -> None:
        """After each step, of whose losses the sheet's line tells. `last`: the run ends there."""
        step = self.training.step
        early = not self.begun and (
            step - self.first >= _FIRST_STEPS
            or time.perf_counter() - self.started >= _FIRST_SECONDS
        )
        self.begun = self.begun or early
        if not (early or step == last or step % self.training.recipe.sample_every == 0):
            return
        path = self.out / "samples" / f"{step:08d}.png"
        if is_plane(self.training.recipe):
            sheet = save_picture(path, picture(frame(self.training)))
        else:
            sheet = save_sheet(path, self.training.draw(), self.training.grid[1])
        self.board.add_image("samples", sheet, step, dataformats="HWC")
        self.board.flush()  # a long run's first picture is to be seen now
        shown = ", ".join(f"{n} {losses[n]:.3g}" for n in losses if n.endswith("/loss"))
        seconds = (time.perf_counter() - self.started) / (step - self.first)
        logger.info(
            "step %d of %d: %s; %.3g images/s, %s to go; %s",
            step,
            last,
            shown,
            self.training.recipe.batch_size / seconds,
            duration(seconds * (last - step)),
            path,
        )


def duration(seconds: float) -> str:
    """Seconds in words, to two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def summary(out: Path, metrics: Mapping[str, float]) -> str:
    """The last lines of a command: what was made, its figures, where it is, what comes next."""
    record = json.loads((out / "run.json").read_text())
    provenance, recipe = record["provenance"], record["recipe"]
    steps, seconds = provenance["steps"], provenance["seconds"]
    lines = [f"{name} {value:.4g}" for name, value in metrics.items()]
    rate = steps * provenance["batch_size"] / seconds if seconds else 0
    lines.append(
        f"{out}: {recipe['name']}, {steps} steps of {provenance['batch_size']} images in "
        f"{duration(seconds)} ({rate:.3g} images/s); its samples: {out / 'samples'}"
    )
    if recipe["objective"]["kind"] == "autoregressive":  # no request draws pixel by pixel
        return "\n".join([*lines, f"next: python -m benchmarks likelihood {out} --data DATA"])
    # Own pictures get a name of their own: that of the folder.
    own = re.sub(r"[^a-z0-9]+", "-", out.resolve().name.lower()).strip("-")
    name = ["--name", own] if own and recipe["source"] == "images" else []
    export = ["latentserve", "export", "run", str(out), *name, "--out", "mine"]
    lines.append(f"next: {shlex.join(export)} && {shlex.join([*SERVE, 'mine'])}")
    return "\n".join(lines)
