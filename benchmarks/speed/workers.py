"""Several workers of one service against one, on the same cores: images a second over HTTP.

One worker has all cores; of several, each has its part. The servers take turns in every round, and
a ratio is that of the two in the same round.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.figures import Bar, Figure, least
from benchmarks.speed import servers, wrk
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.rounds import Found, Plan, Work, take_turns
from benchmarks.speed.servers import ROOT
from benchmarks.speed.subjects import Subject, opened
from benchmarks.speed.wrk import Load, Result
from runtime.artifact.reading import read_artifact
from runtime.machine import cores

SMALL = ROOT / "artifacts" / "mnist-vae"
ONE, SEVERAL = "one worker", "workers"
_MANY = 64

BARS: dict[str, Bar] = {
    "mnist-vae n=1 PNG, 64 connections": least(1.3),
    "mnist-vae n=64 npy, 8 connections": least(0.95),
    "dcgan64 n=64 npy, 8 connections": least(0.95),
}
"""Load -> what two workers on two cores must give, over what one gives."""


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks workers`"""
    options = parser("workers", __doc__)
    options.add_argument("--rounds", type=int, help="rounds (default 3; 1 with --quick)")
    options.add_argument("--seconds", type=int, help="a load, whole seconds (3; 1 with --quick)")
    options.add_argument("--workers", type=int, default=cores(), help="(default: one a core)")
    chosen = options.parse_args(arguments)
    wrk.find_wrk()
    chosen.artifact = SMALL if chosen.quick else None
    chosen.networks = None
    several = f"{chosen.workers} {SEVERAL}"
    with opened(chosen, ("dcgan64",)) as others, tempfile.TemporaryDirectory() as folder:
        small = read_artifact(SMALL)
        subjects = {small.manifest.name: Subject(small.folder, small)}
        subjects |= {subject.name: subject for subject in others}
        plan = prepare(chosen, list(subjects.values()), several, Path(folder) / "artifacts")
        found = take_turns(plan)
    works = plan.work[ONE]
    publish(
        chosen,
        "workers",
        "Several workers against one",
        [figure for work in works for figure in figures_of(work, several, found)],
        {
            "cores": cores(),
            "workers": chosen.workers,
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "load": "wrk, one thread, closed loop",
        },
    )


def prepare(
    chosen: argparse.Namespace, subjects: Sequence[Subject], several: str, artifacts: Path
) -> Plan:
    """Both servers over one folder of artifacts, and the loads of each subject."""
    works: list[Work] = []
    for subject in subjects:
        version = str(subject.manifest.version)
        shutil.copytree(subject.folder, artifacts / subject.name / version)
        asked = f'{{"model":"{subject.name}","n":%s,"seed":%%d%s}}'
        size = int(np.prod(subject.manifest.image().shape))
        single = Load("/sample", 1, asked % ("1", ""), least_bytes=100)
        body = asked % (_MANY, ',"format":"npy"')
        array = Load("/sample", _MANY, body, least_bytes=_MANY * size)
        works.append(Work(subject.name, "n=1 PNG", 64, single))
        works.append(Work(subject.name, "n=64 npy", 8, array))
    exact = {"LATENTSERVE_BACKEND": "onnxruntime", "LATENTSERVE_PRECISION": "fp32"}
    workers = {ONE: 1, several: chosen.workers}
    return Plan(
        servers={
            name: servers.ours(artifacts, {**exact, "LATENTSERVE_WORKERS": str(number)})
            for name, number in workers.items()
        },
        work=dict.fromkeys(workers, works),
        targets={},
        rounds=chosen.rounds or (1 if chosen.quick else 3),
        seconds=chosen.seconds or (1 if chosen.quick else 3),
        warm_up=0 if chosen.quick else 1,
    )


def figures_of(work: Work, several: str, found: Found) -> list[Figure]:
    """Images a second of one load with one worker, and with several."""
    rounds = list(zip(found[work.name, ONE], found[work.name, several], strict=True))
    good = [(one, more) for one, more in rounds if one is not None and more is not None]
    note = f"FAILED in {len(rounds) - len(good)} rounds" if len(good) < len(rounds) else ""
    if not good:
        return [Figure(work.name, name, note=note) for name in (ONE, several)]
    ratio = median(more.images_per_second / one.images_per_second for one, more in good)
    ones, more = zip(*good, strict=True)
    bar = BARS.get(work.name) if (several, cores()) == (f"2 {SEVERAL}", 2) else None
    return [
        _figure(Figure(work.name, ONE, note=note), ones),
        _figure(Figure(work.name, several, ratio=ratio, against=ONE, bar=bar, note=note), more),
    ]


def _figure(figure: Figure, results: Sequence[Result]) -> Figure:
    rates = [result.images_per_second for result in results]
    latencies = {name: median(getattr(r, name) for r in results) for name in ("p50", "p99")}
    return replace(figure, value=median(rates), unit="images/s", rounds=rates, details=latencies)
