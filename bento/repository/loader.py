"""Loading one artifact into the service: tried first, in a process of its own, if it is new here.

A trial that an artifact passed is remembered with what is measured on this machine, for all that
its outcome depends on: the next start loads the artifact at once, in the way that was chosen.
"""

import logging
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bento.repository.trials import Order, Trials
from bento.settings import Settings
from runtime import ArtifactError, EngineError, Limits, Model, Observer, load
from runtime.artifact.reading import Artifact, read_artifact, read_head
from runtime.engines.backend import Variant
from runtime.engines.cache import CHOICES, alone, cache_folder, forget
from runtime.engines.choice import choice_subject, recalled_variant, remember_variant
from runtime.engines.library import EngineRequest
from runtime.machine import installed_version

logger = logging.getLogger(__name__)

_TRIALS = "trials"
_PATIENCE_SECONDS = 10.0
"""So long a trial waits for the one that runs, and at most a quarter of the time that a trial may
take; then both run."""


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
        # Trial processes die with the thread that started them, so this one is kept.
        self._starter = ThreadPoolExecutor(1, "latentserve-trials")
        self._lock = threading.Lock()
        self._working: set[Trials] = set()
        self._idle: list[Trials] = []
        self._closed = False
        self._turn = threading.Semaphore()
        self._holder: object = None

    def load(
        self, folder: Path, version: int, told: Callable[[str], None] = lambda _: None
    ) -> Model:
        """A version of an artifact, verified and warmed up; `told` is called with what is being
        done for it. Raises as `runtime.load`, and
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
        told("waiting for the process that tries artifacts")
        # Another process of the service, or another service, may be about to try it.
        with alone(self._cache, _TRIALS, subject, self._settings.load_seconds):
            variant = recalled_variant(self._cache, _TRIALS, self._subject(head), self._request)
            if variant is None:
                variant = self._try(head, told)
                remember_variant(self._cache, _TRIALS, self._subject(head), variant)
        told("loading it as it was tried")
        return self._open(head, variant)

    def _subject(self, head: Artifact) -> Mapping[str, Any]:
        """All that a trial depends on, as JSON. The trial itself may choose, and change it."""
        setting = partial(Limits().setting, head)
        subject = choice_subject(head, self._request, setting, self._cache)
        # `tune`, or whoever deletes the choice, would change nothing here otherwise.
        chosen = recalled_variant(self._cache, CHOICES, subject, self._request)
        return {
            **subject,
            "chosen": None if chosen is None else vars(chosen),
            "manifest": head.digest,
            "limits": [self._settings.load_seconds, self._settings.load_bytes],
            "ours": [installed_version(name) for name in ("latentserve", "onnx", "numpy")],
        }

    def _try(self, head: Artifact, told: Callable[[str], None]) -> Variant:
        settings = self._settings
        order = Order(
            artifact=str(head.folder),
            manifest=head.digest,
            backend=settings.backend,
            precision=settings.precision,
            device=settings.device,
            cache=str(self._cache),
            signed_by=None if settings.signed_by is None else str(settings.signed_by),
            bytes=settings.load_bytes,
        )
        steps: list[str] = []

        def tell(step: str) -> None:
            steps.append(step)
            told(step)

        with self._trials() as trials:
            variant = trials.verdict(order, settings.load_seconds, tell)
        # What this process says of the loaded model cannot tell: it is not who measured.
        measured = " and measured" if any(step.startswith("measuring ") for step in steps) else ""
        logger.info("%s: tried%s now", head.manifest.full_name, measured)
        return variant

    @contextmanager
    def _trials(self) -> Generator[Trials]:
        """A process for trials, the only one that is at work; unless another one works for long,
        which then goes on beside it."""
        me = object()
        came = self._turn.acquire(timeout=min(_PATIENCE_SECONDS, self._settings.load_seconds / 4))
        with self._lock:
            if came or self._holder is not None:  # the one that works for long gives its turn up
                self._holder = me
        try:
            trials = self._take()
            try:
                yield trials
            finally:
                self._give(trials)
        finally:
            with self._lock:
                if self._holder is me:
                    self._holder = None
                    self._turn.release()

    def _take(self) -> Trials:
        with self._lock:
            if self._closed:
                raise EngineError("the service ends")
            self._idle = [trials for trials in self._idle if not trials.ended]
            trials = self._idle.pop() if self._idle else self._starter.submit(Trials).result()
            self._working.add(trials)
            return trials

    def _give(self, trials: Trials) -> None:
        with self._lock:
            self._working.discard(trials)
            if not trials.ended:
                self._idle.append(trials)

    def rest(self) -> None:
        """End the processes that try nothing."""
        with self._lock:
            while self._idle:
                self._idle.pop().end()

    def close(self) -> None:
        """End the trials under way, and begin no others."""
        with self._lock:
            self._closed = True
            for trials in (*self._working, *self._idle):
                trials.end()
        self._starter.shutdown(wait=False)

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
