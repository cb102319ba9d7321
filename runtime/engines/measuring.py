"""How fast each variant runs an artifact here, and how far its pixels are from the reference's.

Pixels first: a fast variant outside the tolerance is not acceptable. Variants are timed as they
will be used, `runners` runs at once at the largest batch, and with one image at a time.
"""

import logging
import math
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from runtime.artifact.golden import within_tolerance
from runtime.artifact.reading import Artifact
from runtime.artifact.size import Size
from runtime.engines.backend import REFERENCE, Backend, Setting, Tensors, Variant
from runtime.errors import EngineError
from runtime.images import UInt8Array
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

logger = logging.getLogger(__name__)

REVISION = 4
"""Counts changes of how variants are measured: what was chosen before is measured again."""

_ROUNDS = 3
_ALONE = Setting(runners=1, threads=1, batch=1)
_SHARE_OF_ONE = 0.3
"""Of a turn of batches: so long is a turn of single images, whose runs are short."""
_SEED = 3
# Limits of `load`: images to compare (`tune`: golden.REDUCED_IMAGES), and about how many seconds
# the reference may take for them; slow networks are compared on fewer.
_LATENTS = 256
_AFFORDED_SECONDS = 0.5
_FEWEST = 8
# A slow image is timed once, at the size that is served by default: an engine may be as fast as
# another on images of 256 x 256, and half or twice as fast on those of 512 x 512. Where that takes
# longer than so many seconds, at the next smaller size.
_SLOW_IMAGE = 2.0
_AFFORDED_IMAGE = 30.0
# Above so many multiply-adds an image, a network is slow.
_LARGE = 4_000_000_000


@dataclass(frozen=True)
class Measured:
    """A variant's speed, and its distance from the reference's images in grey levels."""

    variant: Variant
    images_per_second: float
    """In batches, as many at once as there will be."""
    one_at_a_time: float
    """Images a second of runs of one image, one after another."""
    mean_levels: float
    max_levels: float
    images: int
    is_chosen: bool = False
    """Whether it is the one that runs from now on."""

    @property
    def is_acceptable(self) -> bool:
        precision = self.variant.precision
        return within_tolerance(precision, self.mean_levels, self.max_levels, self.images)

    def __str__(self) -> str:
        rejected = "" if self.is_acceptable else " (pixels outside the tolerance)"
        return f"{self.variant} {self.figures}{rejected}"

    @property
    def figures(self) -> str:
        """Both speeds, in words."""
        return f"{self.images_per_second:.3g} images/s ({self.one_at_a_time:.3g} one at a time)"

    @property
    def speed(self) -> float:
        """Of batches and of single images: the mean of the two in logarithms."""
        return math.sqrt(self.images_per_second * self.one_at_a_time)


def measure(
    artifact: Artifact,
    variants: Sequence[Variant],
    backends: Mapping[Variant, Backend],
    setting: Setting,
    *,
    seconds: float,
    latents: int | None = None,
) -> list[Measured]:
    """Compare each variant's images of `latents` seeded latents with the reference's, then time
    all of them in turns, `seconds` each. Without `latents`, as many as are soon made.

    A variant that fails is left out, and the log says why.
    """
    reference, size, rounds = backends[REFERENCE], artifact.manifest.default_size, _ROUNDS
    if latents is None:
        latents, affordable, each, size = _affordable(artifact, reference, setting)
        rounds = 1 if each > _SLOW_IMAGE else _ROUNDS
        longest = max(seconds, rounds * affordable.batch * each)
        logger.info(
            "measuring %d ways to run %s, about %.0f s",
            len(variants), artifact.manifest.name, len(variants) * longest,
        )  # fmt: skip
        # What is slow on the reference may be quick on a GPU: there, batches stay as they are.
        if not any(variant.device == "cuda" for variant in variants):
            setting = affordable
    there = {variant: backends[variant] for variant in variants if variant in backends}
    distances = _distances(artifact, reference, there, setting, latents)
    batches: dict[Variant, list[float]] = {variant: [] for variant in distances}
    singles: dict[Variant, list[float]] = {variant: [] for variant in distances}
    graph = artifact.manifest.main_graph
    batch = examples_of(artifact, Counter(_SEED, 0, setting.batch), size)
    one = examples_of(artifact, Counter(_SEED, 0, 1), size)
    for _ in range(rounds):
        for variant, measured in batches.items():
            with left_out_if_it_fails(variant):
                backend, turn = there[variant], seconds / rounds
                fast = _speed(backend, graph, batch, setting, turn)
                # Of slow networks, a batch is one image.
                single = fast
                if setting.batch > 1:
                    backend.run(graph, one)  # the first run is not like the others
                    single = _speed(backend, graph, one, _ALONE, turn * _SHARE_OF_ONE)
                measured.append(fast)
                singles[variant].append(single)
    return [
        # The best of the rounds: whatever else the machine does only ever slows one down.
        Measured(variant, max(batches[variant]), max(singles[variant]), *distance, latents)
        for variant, distance in distances.items()
        if len(batches[variant]) == rounds
    ]


def speed_of_one(artifact: Artifact, backend: Backend, seconds: float) -> float:
    """Images a second of one run after another, of one image of the default size each."""
    manifest = artifact.manifest
    inputs = examples_of(artifact, Counter(_SEED, 0, 1), manifest.default_size)
    backend.run(manifest.main_graph, inputs)  # the first run is not like the others
    return _speed(backend, manifest.main_graph, inputs, _ALONE, seconds)


@contextmanager
def left_out_if_it_fails(variant: Variant) -> Generator[None]:
    """Log the EngineError of what a variant could not do, and go on without it."""
    try:
        yield
    except EngineError as error:
        logger.warning("%s is left out: %s", variant, error)


def _affordable(
    artifact: Artifact, reference: Backend, setting: Setting
) -> tuple[int, Setting, float, Size]:
    """How many latents to compare, the setting with a batch to time, the seconds of one image of
    it, and the images' size, so that even a slow network is measured within seconds."""
    manifest, smallest = artifact.manifest, artifact.manifest.smallest_size
    fewest = 1 if _multiply_adds(artifact, smallest) > _LARGE else _FEWEST
    few = _inputs(artifact, reference, 0, fewest)
    reference.run(manifest.main_graph, few)  # the first run is not like the others
    began = time.perf_counter()
    reference.run(manifest.main_graph, few)
    each = (time.perf_counter() - began) / fewest
    latents = min(_LATENTS, max(fewest, int(_AFFORDED_SECONDS / each) + 1))
    size = manifest.default_size
    if _is_large(artifact):
        pace = each / max(1, _multiply_adds(artifact, smallest))
        while size != smallest and pace * _multiply_adds(artifact, size) > _AFFORDED_IMAGE:
            size = tuple((name, manifest.axes[name].nearest(value // 2)) for name, value in size)
        each = pace * _multiply_adds(artifact, size)
    batch = min(setting.batch, int(_AFFORDED_SECONDS / each) + 1)
    return latents, replace(setting, batch=batch), each, size


def _distances(
    artifact: Artifact,
    reference: Backend,
    opened: Mapping[Variant, Backend],
    setting: Setting,
    latents: int,
) -> dict[Variant, tuple[float, float]]:
    """Mean and largest difference of each variant's images from the reference's, in grey levels;
    in memory are the images of one batch a run."""
    sums = dict.fromkeys(opened, 0.0)
    largest = dict.fromkeys(opened, 0.0)
    step = setting.runners * setting.batch
    graph = artifact.manifest.main_graph
    for start in range(0, latents, step):
        inputs = _inputs(artifact, reference, start, min(start + step, latents))
        expected = _images(reference, graph, inputs, setting)
        for variant in list(sums):
            with left_out_if_it_fails(variant):
                found = _images(opened[variant], graph, inputs, setting)
                levels = np.abs(found.astype(np.int16) - expected)
                largest[variant] = max(largest[variant], float(levels.max()))
                sums[variant] += float(levels.mean()) * len(levels)
                continue
            del sums[variant]  # only a failure comes here
    return {variant: (total / latents, largest[variant]) for variant, total in sums.items()}


def _inputs(artifact: Artifact, reference: Backend, start: int, stop: int) -> dict[str, Any]:
    """Seeded inputs of the main graph; small images stand for a large network's. A decoder with a
    codebook is given latents of its encoder: where others lie between two entries, rounding would
    choose, and an engine that rounds otherwise would seem to be wrong."""
    manifest, counter = artifact.manifest, Counter(_SEED, start, stop - start)
    size = manifest.smallest_size if _is_large(artifact) else manifest.default_size
    inputs = examples_of(artifact, counter, size)
    latents = manifest.graphs[manifest.main_graph].input("latents")
    for graph, spec in manifest.graphs.items():
        entries = spec.output("latents")
        if latents is not None and entries is not None and spec.output("codes") is not None:
            pictures = examples_of(artifact, counter, size, graph=graph)
            inputs[latents.name] = reference.run(graph, pictures)[entries.name]
    return inputs


def _is_large(artifact: Artifact) -> bool:
    manifest = artifact.manifest
    return _multiply_adds(artifact, manifest.default_size) > _LARGE


def _multiply_adds(artifact: Artifact, size: Size) -> int:
    bounds = artifact.bounds.get(artifact.manifest.main_graph)
    return 0 if bounds is None else bounds.cost(1, size).multiply_adds


def _images(backend: Backend, graph: str, inputs: Tensors, setting: Setting) -> UInt8Array:
    """All images, in batches, `runners` at once."""
    starts = range(0, len(next(iter(inputs.values()))), setting.batch)

    def run(start: int) -> UInt8Array:
        part = {name: a[start : start + setting.batch] for name, a in inputs.items()}
        return next(iter(backend.run(graph, part).values()))

    with ThreadPoolExecutor(setting.runners) as pool:
        return np.concatenate(list(pool.map(run, starts)))


def _speed(backend: Backend, graph: str, batch: Tensors, setting: Setting, seconds: float) -> float:
    """Images a second of `runners` threads that run one batch after another."""
    began = time.perf_counter()

    def runs(_: int) -> int:
        count = 0
        while count == 0 or time.perf_counter() - began < seconds:
            backend.run(graph, batch)
            count += 1
        return count

    with ThreadPoolExecutor(setting.runners) as pool:
        total = sum(pool.map(runs, range(setting.runners)))
    return total * len(next(iter(batch.values()))) / (time.perf_counter() - began)
