"""A second engine for one image on an idle model: the same, with all cores to itself.

Runs side by side, each on a core, make the most images a second. But then whoever asks for one
image alone waits for one core while the others idle.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from runtime.artifact.golden import check_golden
from runtime.artifact.reading import Artifact
from runtime.engines.backend import WORTH_SHARING, Backend, Place, Setting, Variant
from runtime.engines.cache import CHOICES, alone, recall, remember
from runtime.engines.choice import PATIENCE_SECONDS, choice_subject
from runtime.engines.library import EngineRequest
from runtime.engines.measuring import left_out_if_it_fails, speed_of_one
from runtime.engines.registry import open_backend

_GAIN = 1.2
"""All cores must be so much faster than one: the second engine takes memory."""
_ROUNDS, _SECONDS = 3, 0.05


def open_solo(
    artifact: Artifact,
    variant: Variant,
    backend: Backend,
    settings: Callable[[Place], Setting],
    cache: Path,
) -> Backend | None:
    """`variant` on all cores, with the right golden images; None where `backend`, which runs it
    side by side, is about as fast, where an image takes no time, and where it fails. Measured the
    first time, then remembered."""
    setting = settings(variant.device)
    own = Setting(1, setting.runners * setting.threads, 1)
    if variant.device != "cpu" or own.threads == setting.threads:
        return None
    request = EngineRequest(variant.engine, variant.precision, variant.device)
    subject = choice_subject(artifact, request, settings, cache) | {"solo": vars(variant)}
    with alone(cache, CHOICES, subject, PATIENCE_SECONDS), left_out_if_it_fails(variant):
        known = recall(cache, CHOICES, subject)
        if known is not None and not known.get("pays"):
            return None
        with ExitStack() as stack:
            solo = open_backend(artifact, variant, own, cache)
            stack.callback(solo.close)
            pays = known is not None or _pays(artifact, backend, solo)
            if pays:
                check_golden(artifact, solo, variant.precision)
            if known is None:
                remember(cache, CHOICES, subject, {"pays": pays})
            if pays:
                stack.pop_all()
                return solo
    return None


def _pays(artifact: Artifact, backend: Backend, solo: Backend) -> bool:
    """By the best of some turns each: whatever else the machine does only ever slows one down."""
    turns = [
        [speed_of_one(artifact, each, _SECONDS) for each in (backend, solo)] for _ in range(_ROUNDS)
    ]
    one, all_cores = map(max, zip(*turns, strict=True))
    return one * WORTH_SHARING < 1 and all_cores > _GAIN * one
