"""Samples into shards by workers on a local Ray, against one process: images a second.

`python -m runtime sample --shards`, as a user calls it, with `--ray local` and without; both use
all cores, a worker one. A speed is taken from the first finished shard to the last; what comes
before it, Ray's start above all, is a figure of its own. The shards must be the same to the byte.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from statistics import median
from time import time

from benchmarks.figures import Bar, Figure, least
from benchmarks.speed.publishing import parser, publish
from runtime.engines.cache import CACHE_VARIABLE
from runtime.machine import cores

BAR: Bar = least(0.9)
"""Speed of the workers, to that of one process."""

ARTIFACT = Path("artifacts/cifar10-frogs-dcgan")
_GROUPS = 100


@dataclass(frozen=True)
class Found:
    """One run: images a second between the first shard and the last, seconds before the first, and
    seconds of the whole command."""

    speed: float
    before: float
    whole: float


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks cluster`"""
    options = parser("cluster", __doc__)
    options.add_argument("--images", type=int, help="how many (100000; 2000 with --quick)")
    options.add_argument("--rounds", type=int, default=1, help="runs of each, in turns")
    options.add_argument("--artifact", type=Path, default=ARTIFACT, metavar="PATH")
    chosen = options.parse_args(arguments)
    count = chosen.images or (2000 if chosen.quick else 100_000)
    group = max(1, count // _GROUPS)
    one: list[Found] = []
    workers: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="latentserve-benchmark-") as folder:
        os.environ.setdefault(CACHE_VARIABLE, f"{folder}/cache")
        run(chosen.artifact, 1, 1, Path(folder) / "warm")  # measures the engines
        for turn in range(chosen.rounds):
            outs = [Path(folder) / f"{name}{turn}" for name in ("one", "workers")]
            one.append(run(chosen.artifact, count, group, outs[0]))
            ray = ("--ray", "local", "--workers", str(cores()))
            workers.append(run(chosen.artifact, count, group, outs[1], *ray))
            check_same(*outs)
    publish(
        chosen,
        "cluster",
        "Samples by workers on a local Ray",
        figures(f"{chosen.artifact.name}, {count} images", one, workers, quick=chosen.quick),
        {"cores": cores(), "workers": cores(), "images": count, "group": group},
    )


def figures(
    subject: str, one: Sequence[Found], workers: Sequence[Found], *, quick: bool
) -> list[Figure]:
    def figure(name: str, unit: str, what: str, bar: Bar | None = None) -> list[Figure]:
        each = [[getattr(found, what) for found in runs] for runs in (one, workers)]
        base, ours = map(median, each)
        return [
            Figure(name, "one process", base, unit, rounds=each[0]),
            Figure(name, "workers", ours, unit, ours / base, "one process", bar, rounds=each[1]),
        ]

    return [
        *figure(subject, "images/s", "speed", None if quick else BAR),
        *figure(f"{subject}: before the first shard", "s", "before"),
        *figure(f"{subject}: whole command", "s", "whole"),
    ]


def run(artifact: Path, count: int, group: int, out: Path, *options: str) -> Found:
    """Run the command."""
    command = [sys.executable, "-m", "runtime", "sample", str(artifact), "--shards"]
    command += ["-n", str(count), "--seed", "7", "--group", str(group), "-o", f"{out}/"]
    began = time()
    subprocess.run([*command, *options], check=True)  # noqa: S603 - our own
    whole = time() - began
    ends = sorted(path.stat().st_mtime for path in out.glob("*.tar"))
    made = (len(ends) - 1) * group
    return Found(made / max(1e-9, ends[-1] - ends[0]), ends[0] - began, whole)


def check_same(a: Path, b: Path) -> None:
    """ValueError unless both folders hold the same bytes."""
    names = [sorted(path.name for path in folder.iterdir()) for folder in (a, b)]
    if names[0] != names[1] or not all(cmp(a / n, b / n, shallow=False) for n in names[0]):
        raise ValueError(f"expected the same files in {a} and {b}, found others")
