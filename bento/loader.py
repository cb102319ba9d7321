"""Loading one artifact into the service: tried first, in a process of its own, if it is new here.

A trial that an artifact passed is remembered with what is measured on this machine, for all that
its outcome depends on: the next start loads the artifact at once, in the way that was chosen.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bento.settings import Settings
from bento.trials import Order, Trial
from runtime import ArtifactError, EngineError, Limits, Model, Observer, load
from runtime.artifact.reading import Artifact, read_artifact, read_head
from runtime.engines.backend import Variant
from runtime.engines.cache import cache_folder, forget
from runtime.engines.choice import choice_subject, recalled_variant, remember_variant
from runtime.engines.library import EngineRequest
from runtime.machine import installed_version

_TRIALS = "trials"
_PATIENCE_SECONDS = 5.0


class Loader:
    """Loads artifacts, from several threads at once.

    Trials measure, so one takes place at a time; what takes long is no longer waited for.
    """

    def __init__(
        self, settings: Settings, observer: Callable[[str], Observer] | None = None
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._cache = settings.cache or cache_folder()
        self._request = EngineRequest(settings.backend, settings.precision, settings.device)
        self._lock = threading.Lock()
        self._trials: set[Trial] = set()
        self._closed = False
        self._turn = threading.Semaphore()
        self._holder: Trial | None = None

    def load(self, folder: Path, version: int) -> Model:
        """A version of an artifact, verified and warmed up. Raises as `runtime.load`, and
        EngineError beyond the limits of a load."""
        head = read_head(folder / str(version), signed_by=self._settings.signed_by)
        if head.manifest.name != folder.name:
            raise ArtifactError(
                folder, f"expected its folder's name inside, found {head.manifest.name!r}"
            )
        if not self._settings.load_seconds:
            return self._open(head, self._settings.backend)
        subject = self._subject(head)
        tried = recalled_variant(self._cache, _TRIALS, subject, self._request)
        if tried is not None:
            try:
                return self._open(head, tried)
            except EngineError:
                forget(self._cache, _TRIALS, subject)
        variant = self._try(head)
        remember_variant(self._cache, _TRIALS, subject, variant)
        return self._open(head, variant)

    def close(self) -> None:
        """End the trials under way, and begin no others."""
        with self._lock:
            self._closed = True
            for trial in self._trials:
                trial.end()

    def _subject(self, head: Artifact) -> Mapping[str, Any]:
        """All that a trial depends on, as JSON."""
        setting = partial(Limits().setting, head.manifest)
        return {
            **choice_subject(head, self._request, setting, self._cache),
            "manifest": _digest(head),
            "limits": [self._settings.load_seconds, self._settings.load_bytes],
            "ours": [installed_version(name) for name in ("latentserve", "onnx", "numpy")],
        }

    def _try(self, head: Artifact) -> Variant:
        settings = self._settings
        order = Order(
            artifact=str(head.folder),
            manifest=_digest(head),
            backend=settings.backend,
            precision=settings.precision,
            device=settings.device,
            cache=str(self._cache),
            signed_by=None if settings.signed_by is None else str(settings.signed_by),
            bytes=settings.load_bytes,
        )
        with self._lock:
            if self._closed:
                raise EngineError("the service ends")
            trial = Trial(order)
            self._trials.add(trial)
        try:
            # The one that has had the turn for so long goes on beside this one.
            self._turn.acquire(timeout=_PATIENCE_SECONDS)
            self._holder = trial
            return trial.verdict(settings.load_seconds)
        finally:
            if self._holder is trial:
                self._turn.release()
            with self._lock:
                self._trials.discard(trial)
                trial.end()

    def _open(self, head: Artifact, backend: str | Variant) -> Model:
        settings = self._settings
        artifact = read_artifact(head.folder, signed_by=settings.signed_by)
        if artifact.manifest_bytes != head.manifest_bytes:
            raise ArtifactError(head.folder, "changed while it was loaded: try again")
        name = head.manifest.name
        model = load(
            artifact,
            backend=backend,
            precision=settings.precision,
            device=settings.device,
            limits=Limits(queue_images=settings.queue_images),
            observer=self._observer and self._observer(name),
            cache=self._cache,
        )
        try:
            model.warm()
        except BaseException:
            model.close()
            raise
        return model


def _digest(head: Artifact) -> str:
    return hashlib.sha256(head.manifest_bytes).hexdigest()
