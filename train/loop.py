"""The training loop, one for every model family: bar, scalars, sheets, checkpoints, record."""

import json
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from runtime.writing import lock_folder, write_whole
from train import checkpoint
from train.data import Dataset, Splits
from train.devices import describe, find
from train.errors import DivergedError, RunError
from train.layout import FILES, FOLDERS
from train.processes import ALONE, Processes
from train.progress import Progress
from train.recipes import RECIPE_JSON, Recipe, differences
from train.training import Training
from train.watch import Watch


def train(
    recipe: Recipe,
    data: Splits,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    until: int | None = None,
    device: str = "auto",
    keep: int = 2,
    processes: Processes = ALONE,
    watch: Watch | None = None,
) -> dict[str, float]:
    """Train `recipe` on `data` into the run folder `out`; returns the finished run's figures.

    `resume` goes on from the newest checkpoint; a folder without one holds no run yet. `force`
    deletes the run that is there, once nothing more is refused; other files there stay. `until`
    stops after that step, exactly as an interruption would: Ctrl-C or SIGTERM finishes its step,
    leaves a checkpoint and raises KeyboardInterrupt.
    `device` is one of torch's or "auto" (a GPU when present). The newest `keep` checkpoints stay.
    `watch` shows the run, and holds it as its page says.
    Of several `processes` each calls this with the same arguments; the first one writes the folder
    and returns the figures, the others return none.

    Raises RunError where `out` holds a run and neither `resume` nor `force` is set, or `resume` is
    and `out` holds none, or one of another recipe, of other data or of more steps; DivergedError
    where a loss, gradient or weight becomes NaN or infinite.
    """
    chosen, commit = find(processes.device(device)), _commit()
    with torch.random.fork_rng(devices=[chosen] if chosen.type == "cuda" else []):
        training = Training(recipe, data, chosen, processes)
        with _held(out, resume=resume) if processes.leads else nullcontext():
            if resume:
                metrics, commit = _resume(training, data.train, out, commit)
            else:
                metrics = {}
                if force:
                    _discard(out, processes)
                expect_new(out)
            last = recipe.steps if until is None else min(recipe.steps, until)
            first = training.step
            with _interrupts() as interrupted:
                if processes.leads:
                    _record(training, data.train, out, metrics, commit)
                    _run(training, out, last, keep, interrupted, watch)
                    checkpoint.save(out / "checkpoints", training.checkpoint(), keep=keep)
                else:
                    _follow(training, last, interrupted)
            if interrupted.is_set() or training.step < last:
                raise KeyboardInterrupt
            if not processes.leads:
                return {}
            if training.step > first:
                metrics = {}  # those of the run that was resumed: of other weights
            if training.step == recipe.steps:
                metrics = training.evaluate(data) or metrics
                for name, value in metrics.items():
                    if not math.isfinite(value):
                        raise DivergedError(training.step, name, value)
            _record(training, data.train, out, metrics, commit)
    return metrics


@contextmanager
def _held(out: Path, *, resume: bool) -> Iterator[None]:
    """Keep other runs out of a folder, where the system locks folders: two would write each other's
    checkpoints. RunError where one is at work there."""
    if out.exists() and not out.is_dir():
        expect_new(out)
    if not resume:
        out.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_folder(out)
    except BlockingIOError:
        raise RunError(
            f"{out}: expected a folder in which no other run is at work, found one: end it, or "
            "give another --out"
        ) from None
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def expect_new(out: Path) -> None:
    """Raise RunError where a folder holds a run, or is no folder."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: expected a folder for the run, found a file")
    if checkpoint.steps(out / "checkpoints"):
        raise RunError(
            f"{out}: expected a new folder, found a run: --resume to go on with it, --force to "
            "delete it, or another --out"
        )


def _discard(out: Path, processes: Processes) -> None:
    """Delete the run in a folder; other files there stay."""
    if processes.leads:
        for name in FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
        for name in FILES:
            (out / name).unlink(missing_ok=True)
    processes.any(False)  # the others wait, or they would find the run


def _follow(training: Training, last: int, stop: threading.Event) -> None:
    """Take the same steps as the first process, which alone writes files."""
    while training.step < last and not training.processes.any(stop.is_set()):
        training.advance()


def _run(
    training: Training,
    out: Path,
    last: int,
    keep: int,
    stop: threading.Event,
    watch: Watch | None,
) -> None:
    recipe = training.recipe
    _forget(out / "metrics.jsonl", training.step)
    # None: only where someone can watch it, not in a log file.
    bar = tqdm(total=recipe.steps, initial=training.step, unit="step", disable=None)
    board = SummaryWriter(str(out / "tensorboard"), purge_step=training.step + 1)
    with bar, board, (out / "metrics.jsonl").open("a") as metrics:
        progress = Progress(training, out, board)
        if watch is not None:
            watch.begin(training, out)
        before, logged = training.seconds, training.step
        started = since = time.perf_counter()
        while training.step < last and not training.processes.any(stop.is_set()):
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
                metrics.write(json.dumps({"step": step} | scalars, allow_nan=False) + "\n")
                metrics.flush()  # to be read while it trains
            progress.show(losses, last)
            if step % recipe.checkpoint_every == 0 and step < last:
                checkpoint.save(out / "checkpoints", training.checkpoint(), keep=keep)
            if watch is not None:
                held = watch.after(training, stop)
                started, since = started + held, since + held
                progress.started += held


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event: half a step must never reach a checkpoint."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # Python delivers signals to the main thread only
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda *_: event.set()) for number in signals]
    try:
        yield event
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


def _commit() -> dict[str, str]:
    """The commit of the code that trains, if it is a git checkout. Read before the first step: the
    checkout may change during a long run."""
    git = shutil.which("git")
    if git is None:
        return {}
    folder = Path(__file__).parent

    def ask(*arguments: str) -> str:
        command = [git, "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()  # noqa: S603

    commit = ask("rev-parse", "HEAD")
    changed = " with changes" if commit and ask("status", "--porcelain", ".") else ""
    return {"commit": f"{commit}{changed}"} if commit else {}


def recorded_recipe(out: Path) -> Recipe:
    """The recipe of the run in `out`; raises RunError where there is none."""
    return _read_record(out)[0]


def _read_record(out: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe in run.json, and its whole content."""
    file = out / "run.json"
    if not file.exists():
        raise RunError(
            f"{out}: expected a run to resume, found no run.json: train without --resume"
        )
    try:
        record = json.loads(file.read_text())
        recipe = RECIPE_JSON.validate_python(record["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{out}: expected a run to resume, found {error}") from error
    if not checkpoint.steps(out / "checkpoints"):
        raise RunError(
            f"{out}: expected a run to resume, found no checkpoint: train without --resume"
        )
    return recipe, record


def _resume(
    training: Training, data: Dataset, out: Path, commit: dict[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Restore the newest checkpoint; returns the figures recorded of it, and the commits of all
    its steps, those to come among them."""
    recorded, record = _read_record(out)
    # More (or fewer) steps are the one change that a run survives, of those that change weights.
    given, recorded_before = (
        RECIPE_JSON.dump_python(recipe, mode="json")
        for recipe in (training.recipe, replace(recorded, steps=training.recipe.steps))
    )
    if changed := differences(given, recorded_before):
        settings = ", ".join(
            f"{n} {theirs!r} (here {ours!r})" for n, (ours, theirs) in changed.items()
        )
        raise RunError(
            f"{out}: expected a run of this {training.recipe.name}, found other settings: "
            f"{settings}: give it another --out"
        )
    try:
        provenance = record["provenance"]
        checksum, classes = provenance["data_checksum"], list(record["classes"])
        steps, metrics = provenance["steps"], dict(provenance["metrics"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{out / 'run.json'}: expected a run's record, found {error!r}") from error
    if (checksum, classes) != (data.checksum, list(data.classes)):
        raise RunError(
            f"{out}: expected the data of this run, {checksum} with classes {', '.join(classes)}; "
            f"found {data.checksum} with classes {', '.join(data.classes)}: give the same --data, "
            f"or another --out"
        )
    saved = checkpoint.load(out / "checkpoints")
    if saved.step > training.recipe.steps:
        raise RunError(
            f"{out}: steps: expected at least {saved.step}, which the run has, "
            f"found {training.recipe.steps}"
        )
    training.restore(saved)
    earlier, now = provenance.get("commit"), commit.get("commit", "unknown")
    if earlier:
        gone_on = "" if earlier.endswith(now) else f", from step {training.step} on {now}"
        commit = {"commit": earlier + gone_on}
    return metrics if steps == training.step else {}, commit


def _forget(log: Path, step: int) -> None:
    """Delete the log lines after `step`: an interrupted run wrote them after its checkpoint."""
    logged = log.read_text() if log.exists() else ""
    kept = [line for line in logged.splitlines(keepends=True) if line.endswith("}\n")]
    kept = [line for line in kept if json.loads(line)["step"] <= step]
    write_whole(log, "".join(kept).encode())


def _record(
    training: Training,
    data: Dataset,
    out: Path,
    metrics: dict[str, float],
    commit: dict[str, str],
) -> None:
    """Write run.json: what `train.runs.load_run` and the model card say of this run."""
    provenance: dict[str, Any] = {
        "data": data.name,
        "data_checksum": data.checksum,
        "images": len(data.images),
        "steps": training.step,
        "batch_size": training.recipe.batch_size,
        "seconds": round(training.seconds, 3),
        "machine": describe(training.device),
        "processes": training.processes.count,
        "torch": str(torch.__version__),
        "metrics": metrics,
        **commit,
    }
    record = {
        "recipe": RECIPE_JSON.dump_python(training.recipe, mode="json"),
        "classes": list(data.classes),
        "licence": data.licence,
        "provenance": provenance,
    }
    out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(record, indent=2, allow_nan=False) + "\n"
    write_whole(out / "run.json", content.encode())
