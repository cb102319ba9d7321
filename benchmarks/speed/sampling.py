"""Drawing samples into shards: images a second, how busy the engine is, and memory.

`runtime.bulk` in a process of its own for each format, held against `Model.stream` of the same
images before and after, which are not encoded there. Resident memory is taken after 1% of the
images and at most afterwards.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import runtime
from benchmarks.figures import Figure
from benchmarks.speed.ceiling import in_fresh_process
from benchmarks.speed.memory import Watch
from benchmarks.speed.publishing import parser, publish
from runtime.bulk.formats import IMAGE_FORMATS
from runtime.bulk.meter import EngineMeter
from runtime.bulk.samples import Samples
from runtime.machine import cores
from runtime.requests.sample import Sample

_DIGITS = Path(__file__).parents[2] / "artifacts" / "mnist-vae-2d"


@dataclass(frozen=True)
class Found:
    """One job's figures. Speeds are in images a second."""

    speed: float
    alone: float
    busy: float
    watch: Watch


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks sampling`"""
    options = parser("sampling", __doc__)
    options.add_argument("--images", type=int, help="how many (1000000; 2000 with --quick)")
    options.add_argument("--artifact", type=Path, metavar="PATH", default=_DIGITS)
    chosen = options.parse_args(arguments)
    count = chosen.images or (2000 if chosen.quick else 1_000_000)
    group = min(4096, max(1, count // 4))
    figures: list[Figure] = []
    for kind in IMAGE_FORMATS:
        # A million images are gigabytes: where /tmp is memory, TMPDIR names another place.
        with tempfile.TemporaryDirectory(prefix="latentserve-benchmark-") as folder:
            given = chosen.artifact, count, group, Path(folder), kind
            found = in_fresh_process(measure, *given)
        subject = f"{chosen.artifact.name}, {count} images, {kind}"
        figures += [
            Figure(subject, "Model.stream", found.alone, "images/s", 1.0, "Model.stream"),
            Figure(
                subject,
                "ours",
                found.speed,
                "images/s",
                found.speed / found.alone,
                "Model.stream",
            ),
            Figure(f"{subject}: engine busy", "ours", 100 * found.busy, "%"),
            found.watch.figure(f"{subject}: memory"),
        ]
    publish(
        chosen,
        "sampling",
        "Drawing samples into shards",
        figures,
        {"cores": cores(), "runners": cores(), "group": group},
    )


def measure(artifact: Path, count: int, group: int, out: Path, kind: str) -> Found:
    """Draw the images in this process."""
    meter, watch = EngineMeter(), Watch(count)

    with runtime.load(artifact, observer=meter) as model:
        few = min(count, 20_000)
        alone = [_alone(model, few)]
        meter.begin()
        began = perf_counter()
        Samples(out, Sample(count, 0), group, format=kind).run(model, watch.passed)
        speed = count / (perf_counter() - began)
        busy = meter.busy(model.runners)
        alone.append(_alone(model, few))
    return Found(speed, sum(alone) / 2, busy, watch)


def _alone(model: runtime.Model, count: int) -> float:
    """The speed without encoding and writing, the second time."""
    seconds = 0.0
    for _ in range(2):
        began = perf_counter()
        for _batch in model.stream(count, seed=0):
            pass
        seconds = perf_counter() - began
    return count / seconds
