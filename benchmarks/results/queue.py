"""Training runs of rows, one after another within a budget, each judged and recorded.

`python -m benchmarks results --run ROWS --hours H`. Every step is a command of its own, as a reader
would type it, at low priority. What is trained, or recorded, is not done again; a run that the
budget ends leaves a checkpoint, from which the same command goes on.
"""

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.report import table
from benchmarks.results.record import read
from benchmarks.results.row import Row, Run
from train import checkpoint

logger = logging.getLogger(__name__)

NICENESS = 10
ALL = "all"

State = Literal["recorded", "stopped by the budget", "not begun", "failed"]


@dataclass(frozen=True)
class Ended:
    """What became of a run."""

    name: str
    state: State

    @property
    def is_good(self) -> bool:
        return self.state != "failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group("training and judging before the page is written")
    own.add_argument(
        "--run",
        nargs="+",
        default=(),
        metavar="ROWS",
        help=f"runs, or rows by the names in the page's links (all their runs), or {ALL}",
    )
    own.add_argument("--hours", type=float, default=6.0, help="the budget (%(default)s)")
    own.add_argument(
        "--data", type=Path, default=Path("data"), help="has the data sets' folders (%(default)s)"
    )
    own.add_argument(
        "--runs", type=Path, default=Path("runs"), help="gets the runs' folders (%(default)s)"
    )


def chosen(
    parser: argparse.ArgumentParser, names: Sequence[str], rows: Sequence[Row]
) -> tuple[Run, ...]:
    """The runs of these names, in the rows' order; a name that nothing has ends the program."""
    known = {run.name: run for row in rows for run in row.runs}
    wanted = {run for row in rows if row.anchor in names or ALL in names for run in row.runs}
    wanted |= {run for name, run in known.items() if name in names}
    anchors = [row.anchor for row in rows if row.runs]
    for name in names:
        if name != ALL and name not in known and name not in anchors:
            parser.error(f"--run: expected some of {', '.join((*anchors, *known))}; found {name}")
    return tuple(run for run in known.values() if run in wanted)


def work(runs: Sequence[Run], options: argparse.Namespace) -> list[Ended]:
    """Train and judge each of them, until the budget is spent."""
    deadline = time.monotonic() + 3600 * options.hours
    ended = [Ended(run.name, _done(run, options, deadline)) for run in runs]
    if ended:
        print(table(("run", "state"), [(each.name, each.state) for each in ended]))
    return ended


def _done(run: Run, options: argparse.Namespace, deadline: float) -> State:
    folder = options.runs / run.name
    data = None if run.data is None else options.data / run.data
    recorded, trained = read(run.name), _is_trained(folder)
    if recorded is not None and not trained:
        logger.info("%s is recorded; to train it anew, delete its record first", run.name)
        return "recorded"
    judges = [judge for judge in _judges(run, folder, data) if not _is_recorded(judge)]
    commands = judges if trained else [_training(run, folder, data), *judges]
    for number, command in enumerate(commands):
        if time.monotonic() >= deadline:
            return "stopped by the budget" if number else "not begun"
        status = _run(command, deadline)
        if status is None:
            return "stopped by the budget"
        if status:
            logger.error("%s: python %s ended with %d", run.name, shlex.join(command), status)
            return "failed"
    return "recorded"


def _is_recorded(judge: Sequence[str]) -> bool:
    """Whether the record that a command writes says that it was run."""
    record = read(judge[judge.index("--record") + 1])
    made = () if record is None else record.measurements
    return any(measurement.command == shlex.join(["python", *judge]) for measurement in made)


def _training(run: Run, folder: Path, data: Path | None) -> list[str]:
    command = ["-m", "train", run.recipe, "--out", str(folder), *run.options]
    command += [] if data is None else ["--data", str(data)]
    return [*command, "--resume"] if checkpoint.steps(folder / "checkpoints") else command


def _judges(run: Run, folder: Path, data: Path | None) -> list[list[str]]:
    # Split first: a folder's name may have spaces.
    commands = [
        [word.format(run=folder, data=data) for word in command.split()]
        for command in run.judged_by
    ]
    return [
        ["-m", "benchmarks", *command, *(() if "--record" in command else ("--record", run.name))]
        for command in commands
    ]


def _is_trained(folder: Path) -> bool:
    """Whether a folder holds a run that has taken all its steps."""
    file = folder / "run.json"
    if not file.is_file():
        return False
    record = json.loads(file.read_text())
    finished = checkpoint.steps(folder / "checkpoints")[-1:]
    return finished == [record["recipe"]["steps"]] and record["provenance"]["steps"] == finished[0]


def _run(command: Sequence[str], deadline: float) -> int | None:
    """The exit status of a command at low priority; None where the budget ended it."""
    logger.info("python %s", shlex.join(command))
    process = subprocess.Popen([sys.executable, *command])  # noqa: S603
    os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    try:
        return process.wait(deadline - time.monotonic())
    except subprocess.TimeoutExpired:
        process.terminate()  # a training ends its step and leaves a checkpoint
        process.wait()
        return None
    except BaseException:  # Ctrl-C or SIGTERM: no training is left behind
        process.terminate()
        process.wait()
        raise
