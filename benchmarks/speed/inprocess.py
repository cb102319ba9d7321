"""What `Model` leaves of the engine's speed, against the best raw loop.

`Model.sample` draws latents, forms batches, runs the engine and gathers uint8 images;
`Model.encode` takes its images apart and its posteriors together. Both are held against the best
raw loop on the same engine, precision and cores: threads that run ready made inputs one after
another and throw the outputs away. Which loop is best is found first, in trials of several batches
and thread counts; the best few then take turns with ours, and the ratio is to the fastest of them.
The same for one image at a time, against raw loops that wait for each run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Literal

import runtime
from benchmarks.figures import Bar, Figure, least
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.subjects import NETWORKS, Subject, add_options, opened, random_images
from benchmarks.speed.timing import interleaved, medians, paired_ratio, rate
from runtime.engines.backend import Backend, Setting, Variant
from runtime.engines.cache import cache_folder
from runtime.engines.registry import open_backend
from runtime.machine import cores

PRECISIONS: tuple[Literal["fp32", "auto"], ...] = ("fp32", "auto")
BARS: dict[str, Bar] = {
    **{
        f"{name} sample, {p}": least(0.97)
        for name in NETWORKS
        if name != "vae32"
        for p in PRECISIONS
    },
    **{
        f"vae32 {call}{count}, {p}": least(share)
        for call in ("sample", "encode")
        for count, share in (("", 0.98), (" of one", 0.8))
        for p in PRECISIONS
    },
}
"""Subject -> what `Model` must reach of the best raw loop."""

IMAGES = 4096
BATCHES = (16, 32, 64, 128)
_FINALISTS = 2


@dataclass(frozen=True)
class Loop:
    """A raw loop: so many threads, each with its runs of so many images on so many cores."""

    loops: int
    threads: int
    batch: int

    def __str__(self) -> str:
        runs = f"{self.loops} runs" if self.loops > 1 else "1 run"
        return f"{runs} of {self.batch} images, {self.threads} thread(s) each"


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks inprocess`"""
    options = parser("inprocess", __doc__)
    add_options(options)
    options.add_argument("--rounds", type=int, help="rounds (default 5; 2 with --quick)")
    options.add_argument("--seconds", type=float, help="a turn, at least (3; 0.3 with --quick)")
    options.add_argument("--backend", default="auto", help="engine library (default auto)")
    chosen = options.parse_args(arguments)
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    seconds = chosen.seconds or (0.3 if chosen.quick else 3.0)
    figures: list[Figure] = []
    engines: dict[str, str] = {}
    with opened(chosen, ("vae32",) if chosen.quick else NETWORKS) as subjects:
        for subject in subjects:
            for precision in PRECISIONS[:1] if chosen.quick else PRECISIONS:
                with runtime.load(
                    subject.folder, backend=chosen.backend, precision=precision
                ) as model:
                    engines[f"{subject.name}, {precision}"] = model.engine
                    for graph in graphs_of(subject):
                        with raw_loops(subject, model.variant, graph) as loops:
                            for one in (False, True):
                                name = _name(subject, graph, precision, one=one)
                                call = ours(model, subject, graph, one=one)
                                raw = {k: v for k, v in loops.items() if (k.batch == 1) == one}
                                figures += compare(name, call, raw, rounds, seconds)
    threads = {"cores": cores(), "runners": cores(), "threads a run": 1}
    publish(
        chosen,
        "inprocess",
        "Model against the best raw loop on the same engine",
        figures,
        {**threads, "rounds": rounds, "seconds": seconds, "images": IMAGES, "engines": engines},
    )


def graphs_of(subject: Subject) -> tuple[str, ...]:
    return tuple(subject.manifest.graphs)


def _name(subject: Subject, graph: str, precision: str, *, one: bool) -> str:
    what = "sample" if graph == "decode" else "encode"
    return f"{subject.name} {what}{' of one' if one else ''}, {precision}"


def ours(model: runtime.Model, subject: Subject, graph: str, *, one: bool) -> Callable[[], int]:
    """The call that is measured: `Model.sample`, or `Model.encode` of images made before."""
    count = 1 if one else subject.fewer_if_slow(IMAGES)
    if graph == "decode":
        return lambda: len(model.sample(count, seed=0))
    images = random_images(subject.manifest, count)
    return lambda: len(model.encode(images).mean)


@contextmanager
def raw_loops(
    subject: Subject, variant: Variant, graph: str
) -> Iterator[dict[Loop, Callable[[float], float]]]:
    """Loops over a backend of their own: a run a core, and one run on all cores; and one image at a
    time, on one core and on all."""
    layouts = dict.fromkeys([(cores(), 1), (1, cores())])
    with ExitStack() as stack:
        made: dict[Loop, Callable[[float], float]] = {}
        for loops, threads in layouts:
            setting = Setting(loops, threads, max(BATCHES))
            backend = open_backend(subject.artifact, variant, setting, cache_folder())
            stack.callback(backend.close)
            for batch in BATCHES:
                made[Loop(loops, threads, batch)] = _raw(backend, subject, graph, batch, loops)
            made[Loop(1, threads, 1)] = _raw(backend, subject, graph, 1, 1)
        yield made


def _raw(
    backend: Backend, subject: Subject, graph: str, batch: int, loops: int
) -> Callable[[float], float]:
    inputs = subject.inputs(graph, batch)

    def one() -> int:
        backend.run(graph, inputs)
        return batch

    return lambda seconds: rate(one, seconds, loops)


def compare(
    name: str,
    call: Callable[[], int],
    loops: dict[Loop, Callable[[float], float]],
    rounds: int,
    seconds: float,
) -> list[Figure]:
    """Ours and the best raw loops, in turns."""
    for measure in loops.values():
        measure(0.0)  # one run of each untimed
    trial = medians(interleaved({str(k): partial(v, seconds / 4) for k, v in loops.items()}, 2))
    best = sorted(loops, key=lambda loop: -trial[str(loop)])[:_FINALISTS]
    call()
    variants = {"ours": lambda: rate(call, seconds)}
    variants |= {str(loop): partial(loops[loop], seconds) for loop in best}
    found = interleaved(variants, rounds)
    ranked = sorted(map(str, best), key=lambda loop: -median(found[loop]))
    names = ("ours", "best raw loop", *("next raw loop" for _ in ranked[1:]))
    return [
        Figure(
            name,
            shown,
            median(found[variant]),
            "images/s",
            paired_ratio(found[variant], found[ranked[0]]),
            "best raw loop",
            BARS.get(name) if variant == "ours" else None,
            "" if variant == "ours" else variant,
            rounds=found[variant],
        )
        for shown, variant in zip(names, ("ours", *ranked), strict=True)
    ]
