"""Which engine, arithmetic and graph form run an artifact here: measured once, then remembered.

No rule knows this beforehand: it depends on the network, the processor, its instruction sets and
the libraries' versions. So each variant that this machine can run is compared with the reference
(pixels first: a fast variant outside the tolerance is not chosen) and timed as it will be used,
`runners` runs at once at the largest batch.
"""

import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from runtime.artifact.golden import REDUCED_IMAGES, within_tolerance
from runtime.artifact.graphs import Precision
from runtime.artifact.reading import Artifact
from runtime.artifact.size import Size
from runtime.engines.backend import (
    REFERENCE,
    Backend,
    Place,
    Setting,
    Tensors,
    Variant,
    graph_specs,
)
from runtime.engines.cache import forget, recall, remember
from runtime.engines.library import EngineRequest
from runtime.engines.nvidia import devices
from runtime.engines.registry import candidates, engines, on_gpu, open_backend, requested
from runtime.engines.rewrites import REVISION, Form
from runtime.errors import EngineError
from runtime.images import UInt8Array
from runtime.machine import machine
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

logger = logging.getLogger(__name__)

# A variant must be so much faster to be taken before a simpler one.
_MARGIN = 1.05
_ROUNDS = 3
_SEED = 3
# What `load` affords: images to compare (`tune`: golden.REDUCED_IMAGES), and about how many seconds
# of the reference's own running; slow networks are compared on fewer.
_LATENTS = 256
_AFFORDED_SECONDS = 0.5
_FEWEST = 8
# Above so many multiply-adds an image, a network is slow.
_LARGE = 4_000_000_000


@dataclass(frozen=True)
class Measured:
    """A variant's speed, and its distance from the reference's images in grey levels."""

    variant: Variant
    images_per_second: float
    mean_levels: float
    max_levels: float
    images: int

    @property
    def is_acceptable(self) -> bool:
        precision = self.variant.precision
        return within_tolerance(precision, self.mean_levels, self.max_levels, self.images)

    def __str__(self) -> str:
        rejected = "" if self.is_acceptable else " (pixels outside the tolerance)"
        return f"{self.variant} {self.images_per_second:.0f} images/s{rejected}"


@dataclass(frozen=True)
class Chosen:
    """The variant to run, open, and why it was chosen."""

    backend: Backend
    variant: Variant
    setting: Setting
    reason: str


def choose(
    artifact: Artifact,
    request: EngineRequest,
    settings: Callable[[Place], Setting],
    cache: Path,
) -> Chosen:
    """The only variant that fits the request, or the fastest measured here, opened.

    `settings` gives the setting on a device. Raises InputError for a request that nothing here can
    mean, EngineError where nothing can run it.
    """
    subject = _subject(artifact, request, settings, cache)

    def opened(variant: Variant, reason: str) -> Chosen:
        setting = settings(variant.device)
        return Chosen(open_backend(artifact, variant, setting, cache), variant, setting, reason)

    recalled = _recalled(recall(cache, "choices", subject))
    if recalled is not None:
        # Nothing else need be known, and no engine be imported to find out what it can do.
        return opened(recalled, "the fastest when measured here earlier")
    variants = candidates(artifact, request, cache)
    if len(variants) == 1 and _is_verified(variants[0]):
        return opened(variants[0], "nothing else fits")
    logger.info("measuring %d ways to run %s", len(variants), artifact.manifest.name)
    setting = settings(variants[0].device)
    with _opened(artifact, variants, setting, cache) as backends:
        measured = measure(artifact, variants, backends, setting, seconds=0.1)
        best, reason = _decide(measured, variants, subject, cache)
        return Chosen(backends.pop(best), best, setting, reason)


def choose_anew(
    artifact: Artifact,
    request: EngineRequest,
    settings: Callable[[Place], Setting],
    cache: Path,
    latents: int = REDUCED_IMAGES,
) -> list[Measured]:
    """Measure again, thoroughly, and remember the choice for every later `load`."""
    variants = candidates(artifact, request, cache)
    setting = settings(variants[0].device)
    with _opened(artifact, variants, setting, cache) as backends:
        measured = measure(artifact, variants, backends, setting, latents=latents, seconds=1.0)
    _decide(measured, variants, _subject(artifact, request, settings, cache), cache)
    return measured


def _is_verified(variant: Variant) -> bool:
    """Whether its pixels need no comparison: exact arithmetic, or a plan verified when built."""
    return variant.precision == "fp32" or "cpu" not in engines()[variant.engine].places


@contextmanager
def _opened(
    artifact: Artifact, variants: Sequence[Variant], setting: Setting, cache: Path
) -> Generator[dict[Variant, Backend]]:
    """The reference and each variant that can be opened; closed at the end, except those that were
    taken out."""
    backends: dict[Variant, Backend] = {}
    try:
        backends[REFERENCE] = open_backend(artifact, REFERENCE, setting, cache)
        for variant in variants:
            if variant != REFERENCE:
                with _left_out_if_it_fails(variant):
                    backends[variant] = open_backend(artifact, variant, setting, cache)
        yield backends
    finally:
        for backend in backends.values():
            backend.close()


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
    reference = backends[REFERENCE]
    if latents is None:
        latents, affordable = _affordable(artifact, reference, setting)
        # What is slow on the reference may be quick on a GPU: there, batches stay as they are.
        if not any(variant.device == "cuda" for variant in variants):
            setting = affordable
    there = {variant: backends[variant] for variant in variants if variant in backends}
    distances = _distances(artifact, reference, there, setting, latents)
    speeds: dict[Variant, list[float]] = {variant: [] for variant in distances}
    graph, batch = artifact.manifest.main_graph, _inputs(artifact, 0, setting.batch)
    for _ in range(_ROUNDS):
        for variant, rounds in speeds.items():
            with _left_out_if_it_fails(variant):
                rounds.append(_speed(there[variant], graph, batch, setting, seconds / _ROUNDS))
    return [
        # The best of the rounds: whatever else the machine does only ever slows one down.
        Measured(variant, max(speeds[variant]), *distance, latents)
        for variant, distance in distances.items()
        if len(speeds[variant]) == _ROUNDS
    ]


@contextmanager
def _left_out_if_it_fails(variant: Variant) -> Generator[None]:
    try:
        yield
    except EngineError as error:
        logger.warning("%s is left out: %s", variant, error)


def _affordable(artifact: Artifact, reference: Backend, setting: Setting) -> tuple[int, Setting]:
    """How many latents to compare, and the setting with a batch to time, so that even a slow
    network is measured within seconds."""
    fewest = 1 if _multiply_adds(artifact, artifact.manifest.smallest_size) > _LARGE else _FEWEST
    few = _inputs(artifact, 0, fewest)
    graph = artifact.manifest.main_graph
    reference.run(graph, few)  # the first run is not like the others
    began = time.perf_counter()
    reference.run(graph, few)
    afforded = int(fewest * _AFFORDED_SECONDS / (time.perf_counter() - began)) + 1
    latents = min(_LATENTS, max(fewest, afforded))
    return latents, replace(setting, batch=min(setting.batch, afforded))


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
        inputs = _inputs(artifact, start, min(start + step, latents))
        expected = _images(reference, graph, inputs, setting)
        for variant in list(sums):
            with _left_out_if_it_fails(variant):
                found = _images(opened[variant], graph, inputs, setting)
                levels = np.abs(found.astype(np.int16) - expected)
                largest[variant] = max(largest[variant], float(levels.max()))
                sums[variant] += float(levels.mean()) * len(levels)
                continue
            del sums[variant]  # only a failure comes here
    return {variant: (total / latents, largest[variant]) for variant, total in sums.items()}


def _inputs(artifact: Artifact, start: int, stop: int) -> dict[str, Any]:
    """Seeded inputs of the main graph; small images stand for a large network's."""
    manifest = artifact.manifest
    size = manifest.smallest_size if _is_large(artifact) else manifest.default_size
    return examples_of(artifact, Counter(_SEED, start, stop - start), size)


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


def _decide(
    measured: Sequence[Measured],
    variants: Sequence[Variant],
    subject: dict[str, Any],
    cache: Path,
) -> tuple[Variant, str]:
    forget(cache, "choices", subject)
    good = [m for m in measured if m.is_acceptable]
    if not good:
        found = "; ".join(map(str, measured)) or "none could be run"
        raise EngineError(f"no way to run this artifact here gives the right pixels: {found}")
    best = max(m.images_per_second for m in good)
    chosen = next(m for m in good if m.images_per_second * _MARGIN >= best)
    others = ", ".join(str(m) for m in measured if m is not chosen)
    # What failed now may run the next time.
    if len(measured) == len(variants):
        value = {"chosen": vars(chosen.variant), "measured": [str(m) for m in measured]}
        remember(cache, "choices", subject, value)
    return chosen.variant, f"measured {chosen.images_per_second:.0f} images/s, against {others}"


def _subject(
    artifact: Artifact, request: EngineRequest, settings: Callable[[Place], Setting], cache: Path
) -> dict[str, Any]:
    """All that the choice depends on, as JSON."""
    manifest = artifact.manifest
    specs = [s for p in get_args(Precision) for s in graph_specs(manifest, p).values()]
    there = () if request.device == "cpu" else devices.gpus()
    return {
        "graphs": {spec.file: manifest.files[spec.file] for spec in specs},
        "asked": [request.backend, request.precision, request.device],
        "setting": vars(settings("cuda" if on_gpu(request) else "cpu")),
        "machine": machine() | {"gpus": [f"{gpu.name} {gpu.capability}" for gpu in there]},
        "versions": {e.name: e.version(artifact, cache) for e in requested(request)},
        "rewrites": REVISION,
    }


def _recalled(value: dict[str, Any] | None) -> Variant | None:
    """The remembered variant, where the record makes sense."""
    try:
        variant = Variant(**(value or {})["chosen"])
        known = (
            variant.device in engines()[variant.engine].places
            and variant.precision in get_args(Precision)
            and variant.form in get_args(Form)
        )
        return variant if known else None
    except (KeyError, TypeError):
        return None
