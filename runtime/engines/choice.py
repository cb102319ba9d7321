"""Which engine, arithmetic and graph form run an artifact here: measured once, then remembered.

No rule knows this beforehand: it depends on the network, the processor, its instruction sets and
the libraries' versions. So each variant that this machine can run is held against the reference
(pixels first: a fast variant outside the tolerance is not chosen) and timed as it will be used,
`runners` runs at once at the largest batch.
"""

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from runtime.artifact.golden import REDUCED_IMAGES, within_tolerance
from runtime.artifact.manifest import Precision
from runtime.artifact.reading import Artifact
from runtime.engines.backend import (
    ENGINES,
    REFERENCE,
    Backend,
    Device,
    Engine,
    Setting,
    Tensors,
    Variant,
)
from runtime.engines.cache import forget, recall, remember
from runtime.engines.nvidia import devices, tensorrt
from runtime.engines.nvidia.plans import names
from runtime.engines.nvidia.tensorrt import FLAVORS
from runtime.engines.opening import open_backend
from runtime.engines.rewrites import REVISION, Form
from runtime.engines.variants import candidates
from runtime.errors import EngineError
from runtime.images import UInt8Array
from runtime.machine import installed_version, machine
from runtime.requests.sample import Sample

logger = logging.getLogger(__name__)

# A variant must be so much faster to be taken before a simpler one.
_MARGIN = 1.05
_DEVICES: tuple[Literal["cpu", "cuda"], ...] = ("cpu", "cuda")
_ROUNDS = 3
_SEED = 3
# What `load` affords: images to compare (`tune`: golden.REDUCED_IMAGES), and about how many seconds
# of the reference's own running; slow networks are compared on fewer.
_LATENTS = 256
_AFFORDED_SECONDS = 0.5
_FEWEST = 8


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


def choose(
    artifact: Artifact,
    *,
    backend: str,
    precision: Precision | Literal["auto"],
    device: Device,
    setting: Setting,
    cache: Path,
) -> tuple[Variant, str]:
    """The variant to run, and why: the only one there is, or the fastest measured here.

    `backend` and `precision` narrow the choice (`auto` does not). Raises InputError for names
    that mean nothing, EngineError where nothing can run what is asked for.
    """
    subject = _subject(artifact, backend, precision, device, setting, cache)
    chosen = _recalled(recall(cache, "choices", subject))
    if chosen is not None:
        # Nothing else need be known, and no engine be imported to find out what it can do.
        return chosen, "the fastest when measured here earlier"
    variants = candidates(artifact, backend, precision, device, cache)
    if len(variants) == 1 and (variants[0].precision == "fp32" or variants[0].engine in FLAVORS):
        return variants[0], "nothing else fits"  # and plans have been verified
    logger.info("measuring %d ways to run %s", len(variants), artifact.manifest.name)
    measured = measure(artifact, variants, setting, cache, seconds=0.1)
    return _decide(measured, variants, subject, cache)


def choose_anew(
    artifact: Artifact,
    *,
    backend: str,
    precision: Precision | Literal["auto"],
    device: Device,
    setting: Setting,
    cache: Path,
    latents: int = REDUCED_IMAGES,
) -> list[Measured]:
    """Measure again, thoroughly, and remember the choice for every later `load`."""
    variants = candidates(artifact, backend, precision, device, cache)
    measured = measure(artifact, variants, setting, cache, latents=latents, seconds=1.0)
    _decide(
        measured, variants, _subject(artifact, backend, precision, device, setting, cache), cache
    )
    return measured


def measure(
    artifact: Artifact,
    variants: Sequence[Variant],
    setting: Setting,
    cache: Path,
    *,
    seconds: float,
    latents: int | None = None,
) -> list[Measured]:
    """Hold each variant's images of `latents` seeded latents against the reference's, then time
    all of them in turns, `seconds` each. Without `latents`, as many as are soon made.

    A variant that fails is left out, and the log says why.
    """
    reference = open_backend(artifact, REFERENCE, setting, cache)
    opened = {REFERENCE: reference} if REFERENCE in variants else {}
    try:
        if latents is None:
            latents, affordable = _affordable(artifact, reference, setting)
            # What is slow on the reference may be quick on a GPU: there, batches stay as they are.
            if not any(variant.device == "cuda" for variant in variants):
                setting = affordable
        for variant in variants:
            with _left_out_if_it_fails(variant):
                opened[variant] = opened.get(variant) or open_backend(
                    artifact, variant, setting, cache
                )
        distances = _distances(artifact, reference, opened, setting, latents)
        speeds: dict[Variant, list[float]] = {variant: [] for variant in distances}
        batch = _inputs(artifact, 0, setting.batch)
        for _ in range(_ROUNDS):
            for variant, rounds in speeds.items():
                with _left_out_if_it_fails(variant):
                    rounds.append(_speed(opened[variant], batch, setting, seconds / _ROUNDS))
    finally:
        for backend in {reference, *opened.values()}:
            backend.close()
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
    few = _inputs(artifact, 0, _FEWEST)
    reference.run("decode", few)  # the first run is not like the others
    began = time.perf_counter()
    reference.run("decode", few)
    afforded = int(_FEWEST * _AFFORDED_SECONDS / (time.perf_counter() - began)) + 1
    latents = min(_LATENTS, max(_FEWEST, afforded))
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
    for start in range(0, latents, step):
        inputs = _inputs(artifact, start, min(start + step, latents))
        expected = _images(reference, inputs, setting)
        for variant in list(sums):
            with _left_out_if_it_fails(variant):
                found = _images(opened[variant], inputs, setting)
                levels = np.abs(found.astype(np.int16) - expected)
                largest[variant] = max(largest[variant], float(levels.max()))
                sums[variant] += float(levels.mean()) * len(levels)
                continue
            del sums[variant]  # only a failure comes here
    return {variant: (total / latents, largest[variant]) for variant, total in sums.items()}


def _inputs(artifact: Artifact, start: int, stop: int) -> dict[str, Any]:
    return Sample(stop - start, seed=_SEED, offset=start).inputs(artifact)


def _images(backend: Backend, inputs: Tensors, setting: Setting) -> UInt8Array:
    """All images, in batches, `runners` at once."""
    starts = range(0, len(inputs["latents"]), setting.batch)

    def run(start: int) -> UInt8Array:
        part = {name: a[start : start + setting.batch] for name, a in inputs.items()}
        return backend.run("decode", part)["images"]

    with ThreadPoolExecutor(setting.runners) as pool:
        return np.concatenate(list(pool.map(run, starts)))


def _speed(backend: Backend, batch: Tensors, setting: Setting, seconds: float) -> float:
    """Images a second of `runners` threads that run one batch after another."""
    began = time.perf_counter()

    def runs(_: int) -> int:
        count = 0
        while count == 0 or time.perf_counter() - began < seconds:
            backend.run("decode", batch)
            count += 1
        return count

    with ThreadPoolExecutor(setting.runners) as pool:
        total = sum(pool.map(runs, range(setting.runners)))
    return total * len(batch["latents"]) / (time.perf_counter() - began)


def _decide(
    measured: Sequence[Measured],
    variants: Sequence[Variant],
    subject: dict[str, Any],
    cache: Path,
) -> tuple[Variant, str]:
    forget(cache, "choices", subject)
    good = [m for m in measured if m.is_acceptable]
    if not good:
        told = "; ".join(map(str, measured)) or "none could be run"
        raise EngineError(f"no way to run this artifact here gives the right pixels: {told}")
    best = max(m.images_per_second for m in good)
    chosen = next(m for m in good if m.images_per_second * _MARGIN >= best)
    others = ", ".join(str(m) for m in measured if m is not chosen)
    # What failed now may run the next time.
    if len(measured) == len(variants):
        value = {"chosen": vars(chosen.variant), "measured": [str(m) for m in measured]}
        remember(cache, "choices", subject, value)
    return chosen.variant, f"measured {chosen.images_per_second:.0f} images/s, against {others}"


def _subject(
    artifact: Artifact,
    backend: str,
    precision: str,
    device: Device,
    setting: Setting,
    cache: Path,
) -> dict[str, Any]:
    """All that the choice depends on, as JSON."""
    specs = (*artifact.manifest.decode, *artifact.manifest.encode)
    graphs = {spec.file: artifact.manifest.files[spec.file] for spec in specs}
    there = () if device == "cpu" else devices.gpus()
    return {
        "graphs": graphs,
        "asked": [backend, precision, device],
        "setting": vars(setting),
        "machine": machine() | {"gpus": [f"{gpu.name} {gpu.capability}" for gpu in there]},
        "plans": [name for onnx in graphs.values() for name in names(cache, onnx)] if there else [],
        "versions": {engine: _version(engine) for engine in ENGINES},
        "rewrites": REVISION,
    }


def _version(engine: Engine) -> str | None:
    if engine == "tensorrt" or engine == "tensorrt-rtx":
        return tensorrt.version(engine)
    return installed_version(engine, f"{engine}-gpu")


def _recalled(value: dict[str, Any] | None) -> Variant | None:
    """The remembered variant, where the record makes sense."""
    chosen = (value or {}).get("chosen")
    axes = (ENGINES, get_args(Precision), get_args(Form), _DEVICES)
    for engine, precision, form, device in product(*axes):
        variant = Variant(engine, precision, form, device)
        if vars(variant) == chosen:
            return variant
    return None
