"""Which engine, arithmetic and graph form run an artifact here: measured once, then remembered.

No rule knows this beforehand: it depends on the network, the processor, its instruction sets and
the libraries' versions. So each variant that this machine can run is held against the reference
(pixels first: a fast variant outside the tolerance is not chosen) and timed as it will be used,
`runners` runs at once at the largest batch.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import numpy as np

from runtime.artifact import Artifact
from runtime.backends import (
    ENGINES,
    REFERENCE,
    Backend,
    Device,
    Engine,
    Tensors,
    Variant,
    open_backend,
)
from runtime.backends.onnxruntime import uses_cuda
from runtime.cache import machine, recall, remember
from runtime.errors import EngineError
from runtime.golden import within_tolerance
from runtime.images import UInt8Array
from runtime.manifest import Precision
from runtime.requests import Sample
from runtime.rewrites import Form
from runtime.variants import candidates

logger = logging.getLogger(__name__)

# A variant must be so much faster to be taken before a simpler one.
_MARGIN = 1.05
_ROUNDS = 3
_SEED = 3


@dataclass(frozen=True)
class Setting:
    """How a model will be run: device, runs at once, cores a run, images a run."""

    device: Device
    runners: int
    threads: int
    batch: int


@dataclass(frozen=True)
class Measured:
    """A variant's speed, and its distance from the reference's images in grey levels."""

    variant: Variant
    images_per_second: float
    mean_levels: float
    max_levels: float

    @property
    def is_acceptable(self) -> bool:
        return within_tolerance(self.variant.precision, self.mean_levels, self.max_levels)

    def __str__(self) -> str:
        rejected = "" if self.is_acceptable else " (pixels outside the tolerance)"
        return f"{self.variant} {self.images_per_second:.0f} images/s{rejected}"


def choose(
    artifact: Artifact,
    *,
    backend: str,
    precision: Precision | Literal["auto"],
    setting: Setting,
    cache: Path,
) -> tuple[Variant, str]:
    """The variant to run, and why: the only one there is, or the fastest measured here.

    `backend` and `precision` narrow the choice (`auto` does not). Raises InputError for names
    that mean nothing, EngineError where nothing can run what is asked for.
    """
    subject = _subject(artifact, backend, precision, setting)
    chosen = _recalled(recall(cache, "choices", subject))
    if chosen is not None:
        # Nothing else need be known, and no engine be imported to find out what it can do.
        return chosen, "the fastest when measured here earlier"
    variants = candidates(artifact, backend, precision, setting.device)
    if [variant.precision for variant in variants] == ["fp32"]:
        return variants[0], "nothing else fits"
    measured = measure(artifact, variants, setting, latents=2 * setting.batch, seconds=0.1)
    return _decide(measured, subject, cache)


def choose_anew(
    artifact: Artifact,
    *,
    backend: str,
    precision: Precision | Literal["auto"],
    setting: Setting,
    cache: Path,
    latents: int = 10_000,
) -> list[Measured]:
    """Measure again, thoroughly, and remember the choice for every later `load`."""
    variants = candidates(artifact, backend, precision, setting.device)
    measured = measure(artifact, variants, setting, latents=latents, seconds=1.0)
    _decide(measured, _subject(artifact, backend, precision, setting), cache)
    return measured


def measure(
    artifact: Artifact,
    variants: Sequence[Variant],
    setting: Setting,
    *,
    latents: int,
    seconds: float,
) -> list[Measured]:
    """Hold each variant's images of `latents` seeded latents against the reference's, then time
    all of them in turns, `seconds` each. One that fails is left out, and the log says why."""
    request = Sample(latents, seed=_SEED)
    inputs: dict[str, Any] = {"latents": request.latents(artifact.manifest)}
    labels = request.chosen_labels(artifact.manifest)
    if labels is not None:
        inputs["labels"] = labels
    on_cpu = Setting("cpu", setting.runners, setting.threads, setting.batch)
    reference = _open(artifact, REFERENCE, on_cpu)
    opened = {REFERENCE: reference} if REFERENCE in variants else {}
    found: dict[Variant, tuple[float, float]] = {}
    try:
        expected = _images(reference, inputs, setting)
        for variant in variants:
            try:
                backend = opened.get(variant) or _open(artifact, variant, setting)
                opened[variant] = backend
                found[variant] = _distance(_images(backend, inputs, setting), expected)
            except EngineError as error:
                logger.warning("%s is left out: %s", variant, error)
        speeds: dict[Variant, list[float]] = {variant: [] for variant in found}
        batch = {name: array[: setting.batch] for name, array in inputs.items()}
        for _ in range(_ROUNDS):
            for variant, rounds in speeds.items():
                rounds.append(_speed(opened[variant], batch, setting, seconds / _ROUNDS))
    finally:
        for backend in {reference, *opened.values()}:
            backend.close()
    return [Measured(v, median(speeds[v]), *found[v]) for v in found]


def _open(artifact: Artifact, variant: Variant, setting: Setting) -> Backend:
    return open_backend(
        artifact,
        variant,
        device=setting.device,
        runners=setting.runners,
        threads=setting.threads,
    )


def _images(backend: Backend, inputs: Tensors, setting: Setting) -> UInt8Array:
    """All images, in batches, `runners` at once."""
    starts = range(0, len(inputs["latents"]), setting.batch)

    def run(start: int) -> UInt8Array:
        part = {name: a[start : start + setting.batch] for name, a in inputs.items()}
        return backend.run("decode", part)["images"]

    with ThreadPoolExecutor(setting.runners) as pool:
        return np.concatenate(list(pool.map(run, starts)))


def _distance(found: UInt8Array, expected: UInt8Array) -> tuple[float, float]:
    """Mean and largest difference in grey levels."""
    levels = np.abs(found.astype(np.int16) - expected)
    return float(levels.mean()), float(levels.max())


def _speed(backend: Backend, batch: Tensors, setting: Setting, seconds: float) -> float:
    """Images a second of `runners` threads that run one batch after another."""
    runs: list[int] = []
    began = time.perf_counter()

    def work() -> None:
        count = 0
        while count == 0 or time.perf_counter() - began < seconds:
            backend.run("decode", batch)
            count += 1
        runs.append(count)

    threads = [threading.Thread(target=work) for _ in range(setting.runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(runs) * len(batch["latents"]) / (time.perf_counter() - began)


def _decide(
    measured: Sequence[Measured], subject: dict[str, Any], cache: Path
) -> tuple[Variant, str]:
    good = [m for m in measured if m.is_acceptable]
    if not good:
        told = "; ".join(map(str, measured)) or "none could be run"
        raise EngineError(f"no way to run this artifact here gives the right pixels: {told}")
    best = max(m.images_per_second for m in good)
    chosen = next(m for m in good if m.images_per_second * _MARGIN >= best)
    others = ", ".join(str(m) for m in measured if m is not chosen)
    value = {"chosen": vars(chosen.variant), "measured": [str(m) for m in measured]}
    remember(cache, "choices", subject, value)
    return chosen.variant, f"measured {chosen.images_per_second:.0f} images/s, against {others}"


def _subject(artifact: Artifact, backend: str, precision: str, setting: Setting) -> dict[str, Any]:
    """All that the choice depends on, as JSON."""
    graphs = (*artifact.manifest.decode, *artifact.manifest.encode)
    return {
        "graphs": {g.file: hashlib.sha256(artifact.files[g.file]).hexdigest() for g in graphs},
        "asked": [backend, precision],
        "setting": vars(setting),
        "machine": machine() | {"cuda": uses_cuda(setting.device)},
        "versions": {engine: _version(engine) for engine in ENGINES},
    }


def _version(engine: Engine) -> str | None:
    for distribution in (engine, f"{engine}-gpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _recalled(value: dict[str, Any] | None) -> Variant | None:
    """The remembered variant, where the record makes sense."""
    chosen = (value or {}).get("chosen")
    for engine, precision, form in product(ENGINES, get_args(Precision), get_args(Form)):
        variant = Variant(engine, precision, form)
        if vars(variant) == chosen:
            return variant
    return None
