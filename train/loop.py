"""The training loop, one for every model family: bar, scalars, sheets, checkpoints, record."""

import json
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from train import checkpoint
from train.data import Dataset, Splits
from train.errors import RunError
from train.files import write_atomically
from train.recipes import RECIPE_JSON, Recipe
from train.sheet import save_sheet
from train.training import Training

logger = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    data: Splits,
    out: Path,
    *,
    resume: bool = False,
    until: int | None = None,
    device: str = "auto",
    keep: int = 2,
    progress: bool = True,
) -> dict[str, float]:
    """Train `recipe` on `data` into the run folder `out`; returns the finished run's figures.

    `resume` goes on from the newest checkpoint. `until` stops after that step, exactly as an
    interruption would: Ctrl-C finishes its step, leaves a checkpoint and raises KeyboardInterrupt.
    `device` is one of torch's or "auto" (a GPU when present). The newest `keep` checkpoints stay.

    Raises RunError where `out` holds a run and `resume` is not set, or holds none or another
    recipe's and it is; DivergedError where a loss becomes NaN or infinite.
    """
    chosen = _device(device)
    with torch.random.fork_rng(devices=[chosen] if chosen.type == "cuda" else []):
        training = Training(recipe, data, chosen)
        if resume:
            _resume(training, out)
        elif (out / "run.json").exists():
            raise RunError(f"{out}: expected a new folder, found a run: --resume, or another --out")
        _record(training, data.train, out, {})
        with _interrupts() as interrupted:
            last = min(recipe.steps, until or recipe.steps)
            _run(training, out, last, keep, progress, interrupted)
            checkpoint.save(out / "checkpoints", training.checkpoint(), keep=keep)
        if interrupted.is_set():
            raise KeyboardInterrupt
        metrics = training.evaluate(data) if training.step == recipe.steps else {}
        _record(training, data.train, out, metrics)
    return metrics


def _run(
    training: Training, out: Path, last: int, keep: int, progress: bool, stop: threading.Event
) -> None:
    recipe = training.recipe
    bar = tqdm(total=recipe.steps, initial=training.step, unit="step", disable=not progress)
    board = SummaryWriter(str(out / "tensorboard"), purge_step=training.step)
    with bar, board, (out / "metrics.jsonl").open("a") as metrics:
        before, logged = training.seconds, training.step
        started = since = time.perf_counter()
        while training.step < last and not stop.is_set():
            losses = training.advance()
            now, step = time.perf_counter(), training.step
            training.seconds = before + now - started
            bar.update()
            if step % recipe.log_every == 0 or step == last:
                rate = (step - logged) * recipe.batch_size / (now - since)
                since, logged = now, step
                scalars = losses | {"images_per_second": rate}
                bar.set_postfix({name: f"{value:.3g}" for name, value in scalars.items()})
                for name, value in scalars.items():
                    board.add_scalar(name, value, step)
                metrics.write(json.dumps({"step": step} | scalars) + "\n")
            if step % recipe.sample_every == 0 or step == last:
                save_sheet(out / "samples" / f"{step:08d}.png", training.draw(), columns=10)
            if step % recipe.checkpoint_every == 0 and step < last:
                metrics.flush()
                checkpoint.save(out / "checkpoints", training.checkpoint(), keep=keep)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event: half a step must never reach a checkpoint."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # Python delivers signals to the main thread only
        return
    previous = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)


def _resume(training: Training, out: Path) -> None:
    """Restore the newest checkpoint and forget what was logged after it."""
    try:
        recorded = RECIPE_JSON.validate_python(json.loads((out / "run.json").read_text())["recipe"])
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{out}: expected a run to resume, found {error}") from error
    # More (or fewer) steps of the same recipe are the one change that a run survives.
    if replace(recorded, steps=training.recipe.steps) != training.recipe:
        raise RunError(
            f"{out}: expected a run of this {training.recipe.name}, found {recorded.name} with "
            f"other settings: give it another --out"
        )
    training.restore(checkpoint.load(out / "checkpoints"))
    log = out / "metrics.jsonl"
    kept = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    kept = [line for line in kept if json.loads(line)["step"] <= training.step]
    write_atomically(log, "".join(kept).encode())


def _record(training: Training, data: Dataset, out: Path, metrics: dict[str, float]) -> None:
    """Write run.json: what `train.runs.load_run` and the model card say of this run."""
    provenance: dict[str, Any] = {
        "data": data.name,
        "data_checksum": data.checksum,
        "images": len(data.images),
        "steps": training.step,
        "batch_size": training.recipe.batch_size,
        "seconds": round(training.seconds, 3),
        "machine": _machine(training.device),
        "torch": str(torch.__version__),
        "metrics": metrics,
    }
    record = {
        "recipe": RECIPE_JSON.dump_python(training.recipe, mode="json"),
        "classes": list(data.classes),
        "licence": data.licence,
        "provenance": provenance,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "run.json", (json.dumps(record, indent=2) + "\n").encode())


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), None)
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores"
