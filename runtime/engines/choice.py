"""Which engine, arithmetic and graph form run an artifact here: measured once, then remembered.

No rule knows this beforehand: it depends on the network, the processor, its instruction sets and
the libraries' versions. So each variant that this machine can run is measured
(`runtime.engines.measuring`), and the fastest of those with the right pixels is taken: one for
batches and for single images, or an image would depend on how many are made with it.
"""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from runtime.artifact.golden import REDUCED_IMAGES
from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import Precision
from runtime.engines import measuring
from runtime.engines.backend import (
    REFERENCE,
    Backend,
    Place,
    Setting,
    Variant,
    graph_specs,
)
from runtime.engines.cache import CHOICES, alone, forget, recall, remember
from runtime.engines.library import EngineRequest
from runtime.engines.measuring import Measured, left_out_if_it_fails, measure
from runtime.engines.nvidia import devices
from runtime.engines.registry import candidates, engines, on_gpu, open_backend, requested
from runtime.engines.rewrites import REVISION, Form
from runtime.errors import EngineError
from runtime.machine import machine

logger = logging.getLogger(__name__)

_MARGIN = 1.03
"""A variant must be so much faster to be taken before a simpler one."""
_NEAR = 0.9
"""Of the best speed of batches: variants that have as much are compared on single images too. Some
libraries take three times as long as others for one image of a small network, and are as fast, or
seem so while the machine does other work, with 64."""
SECONDS = 0.1
"""For which `load` times each variant."""
PATIENCE_SECONDS = 60.0
"""For another process that measures the same artifact."""


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
    subject = choice_subject(artifact, request, settings, cache)

    # Nothing else need be known, and no engine be imported to find out what it can do.
    remembered = _remembered(artifact, request, settings, cache, subject)
    if remembered is not None:
        return remembered
    variants = candidates(artifact, request, cache)
    if len(variants) == 1 and _is_verified(variants[0]):
        return take(artifact, variants[0], settings, cache, "nothing else fits")
    with alone(cache, CHOICES, subject, PATIENCE_SECONDS):
        # Another process may have measured it meanwhile; two at once would disturb each other.
        remembered = _remembered(artifact, request, settings, cache, subject)
        if remembered is not None:
            return remembered
        logger.info("opening %d ways to run %s", len(variants), artifact.manifest.name)
        setting = settings(variants[0].device)
        with _opened(artifact, variants, setting, cache) as backends:
            measured = measure(artifact, variants, backends, setting, seconds=SECONDS)
            best, reason = _decide(measured, variants, subject, cache)
            return Chosen(backends.pop(best), best, setting, reason)


def _remembered(
    artifact: Artifact,
    request: EngineRequest,
    settings: Callable[[Place], Setting],
    cache: Path,
    subject: Mapping[str, Any],
) -> Chosen | None:
    """The variant that was measured here earlier, opened; None where that does not work."""
    recalled = recalled_variant(cache, CHOICES, subject, request)
    if recalled is not None:
        with left_out_if_it_fails(recalled):
            reason = "the fastest when measured here earlier"
            return take(artifact, recalled, settings, cache, reason)
    return None


def take(
    artifact: Artifact,
    variant: Variant,
    settings: Callable[[Place], Setting],
    cache: Path,
    reason: str = "chosen when measured here",
) -> Chosen:
    """A variant, opened without being measured; EngineError where it cannot be."""
    setting = settings(variant.device)
    return Chosen(open_backend(artifact, variant, setting, cache), variant, setting, reason)


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
    name = artifact.manifest.name
    logger.info("measuring %d ways to run %s over %d latents", len(variants), name, latents)
    with _opened(artifact, variants, setting, cache) as backends:
        measured = measure(artifact, variants, backends, setting, latents=latents, seconds=1.0)
    subject = choice_subject(artifact, request, settings, cache)
    best, _ = _decide(measured, variants, subject, cache)
    return [replace(each, is_chosen=each.variant == best) for each in measured]


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
                with left_out_if_it_fails(variant):
                    backends[variant] = open_backend(artifact, variant, setting, cache)
        yield backends
    finally:
        for backend in backends.values():
            backend.close()


def _decide(
    measured: Sequence[Measured],
    variants: Sequence[Variant],
    subject: dict[str, Any],
    cache: Path,
) -> tuple[Variant, str]:
    forget(cache, CHOICES, subject)
    good = [m for m in measured if m.is_acceptable]
    if not good:
        found = "; ".join(map(str, measured)) or "none could be run"
        raise EngineError(f"no way to run this artifact here gives the right pixels: {found}")
    least = _NEAR * max(m.images_per_second for m in good)
    near = [m for m in good if m.images_per_second >= least]
    best = max(m.speed for m in near)
    chosen = next(m for m in near if m.speed * _MARGIN >= best)
    others = ", ".join(str(m) for m in measured if m is not chosen)
    # What failed now may run the next time.
    if len(measured) == len(variants):
        said = {"measured": [str(m) for m in measured]}
        remember_variant(cache, CHOICES, subject, chosen.variant, said)
    return chosen.variant, f"measured {chosen.figures}, against {others}"


def choice_subject(
    artifact: Artifact, request: EngineRequest, settings: Callable[[Place], Setting], cache: Path
) -> dict[str, Any]:
    """All that the choice depends on, as JSON. The artifact's manifest is enough."""
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
        "measuring": measuring.REVISION,
    }


def remember_variant(
    cache: Path,
    kind: str,
    subject: Mapping[str, Any],
    variant: Variant,
    said: Mapping[str, Any] | None = None,
) -> None:
    """Keep the variant that was chosen for `subject`, and what else is to be said of it."""
    remember(cache, kind, subject, {"chosen": vars(variant), **(said or {})})


def recalled_variant(
    cache: Path, kind: str, subject: Mapping[str, Any], request: EngineRequest
) -> Variant | None:
    """The variant that was remembered; None unless it is one, and fits the request."""
    stated = (recall(cache, kind, subject) or {}).get("chosen")
    variant = variant_of(stated)
    fits = variant is not None and (
        request.backend in ("auto", variant.engine)
        and request.precision in ("auto", variant.precision)
        and request.device in ("auto", variant.device)
    )
    return variant if fits else None


def variant_of(stated: Any) -> Variant | None:
    """The variant that a JSON object states, where the object makes sense."""
    try:
        variant = Variant(**stated)
        known = (
            variant.device in engines()[variant.engine].places
            and variant.precision in get_args(Precision)
            and variant.form in get_args(Form)
        )
        return variant if known else None
    except (KeyError, TypeError):
        return None
