"""The models of the service: the highest version of every artifact in one folder, side by side.

The folder is looked at again while the service runs. A new version is loaded beside the old one,
verified, and takes its place; requests that have begun with the old one end with it. A version
that fails is told and changes nothing.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bento.errors import RequestError
from bento.settings import Settings
from runtime import (
    ArtifactError,
    InputError,
    LatentServeError,
    Limits,
    Model,
    Observer,
    load,
)
from runtime.artifact.reading import artifact_folders, numbered_versions
from runtime.batching.jobs import Job
from runtime.requests import answered, answers
from runtime.requests.encode import takes_noise
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

logger = logging.getLogger(__name__)

Contents = tuple[tuple[str, int, int], ...]
Look = tuple[int, Contents]
"""A version, and what its folder looks like from outside."""

_FAILURES = 3
"""Engine runs that must fail one after another before a model counts as broken."""
_PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class Failed:
    """An artifact that could not be loaded, and why, without paths of the server."""

    name: str
    version: int
    error: str


class Models:
    """Loaded models by name. Empty until `load`; one bad artifact does not stop the others.

    `observer(name)` makes the observer of a model.
    """

    def __init__(
        self, settings: Settings, observer: Callable[[str], Observer] | None = None
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._models: dict[str, Model] = {}
        self._failed: dict[str, Failed] = {}
        # Each artifact's highest version: the one served, the one tried last, the one seen last.
        self._served: dict[str, Look] = {}
        self._tried: dict[str, Look] = {}
        self._seen: dict[str, Look] = {}
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def failed(self) -> tuple[Failed, ...]:
        """What is in the folder but could not be loaded, by name."""
        return tuple(self._failed.values())

    def load(self) -> None:
        """Verify, golden-check and warm up the highest version of every artifact in the folder."""
        root = self._settings.artifacts.resolve()
        for folder in artifact_folders(root):
            self._try(folder, max(numbered_versions(folder)))
        if not self._models:
            logger.error("no model is served: no loadable artifact in %s", root)

    def refresh(self) -> None:
        """Load what is new in the folder since `load` or the last call.

        A folder that still changes from one call to the next is being copied: it is left alone.
        What disappears from the folder stays served, unless a lower version takes its place.
        """
        seen: dict[str, Look] = {}
        for folder in artifact_folders(self._settings.artifacts.resolve()):
            name, version = folder.name, max(numbered_versions(folder), default=0)
            look = seen[name] = (version, _contents(folder / str(version)))
            if look == self._served.get(name):
                self._failed.pop(name, None)  # a later version that failed is gone
            elif version and look == self._seen.get(name) and look != self._tried.get(name):
                self._try(folder, version)
        self._seen = seen
        self._failed = {name: failed for name, failed in self._failed.items() if name in seen}

    def watch(self) -> None:
        """Call `refresh` every `settings.reload_seconds`, in a thread, until `close`."""
        if self._settings.reload_seconds:
            self._watcher = threading.Thread(
                target=self._watch, name="latentserve-reload", daemon=True
            )
            self._watcher.start()

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.reload_seconds):
            try:
                self.refresh()
            except Exception:  # the folder may be away for a while
                logger.exception("cannot look for new artifacts")

    def _try(self, folder: Path, version: int) -> None:
        name = folder.name
        look = self._tried[name] = (version, _contents(folder / str(version)))
        try:
            model = self._load_one(folder, version)
        except Exception as error:  # an artifact is input: no form of it may stop the service
            served = f"; {full_name(self._models[name])} stays" if name in self._models else ""
            if isinstance(error, LatentServeError):
                reason = self._public(str(error), folder)
                logger.error("cannot serve %s@%d: %s%s", name, version, error, served)
            else:
                reason = type(error).__name__
                logger.exception("cannot serve %s@%d%s", name, version, served)
            self._failed[name] = Failed(name, version, reason)
            return
        self._failed.pop(name, None)
        self._served[name] = look
        old = self._models.get(name)
        # A new dict: whoever goes through the models now is not disturbed.
        self._models = dict(sorted({**self._models, name: model}.items()))
        if old is not None:
            logger.info("%s takes the place of %s", full_name(model), full_name(old))
            old.close_when_unused()

    def _public(self, text: str, folder: Path) -> str:
        """`text` without where on the server the artifacts are."""
        for prefix in (f"{folder}/", str(folder.parent), f"{self._settings.artifacts.absolute()}"):
            text = text.replace(prefix, "")
        if self._settings.signed_by is not None:
            text = text.replace(str(self._settings.signed_by), "the service's key file")
        return text

    def _load_one(self, folder: Path, version: int) -> Model:
        settings = self._settings
        model = load(
            folder / str(version),
            backend=settings.backend,
            precision=settings.precision,
            device=settings.device,
            limits=Limits(queue_images=settings.queue_images),
            observer=self._observer and self._observer(folder.name),
            cache=settings.cache,
            signed_by=settings.signed_by,
        )
        try:
            if model.manifest.name != folder.name:
                raise ArtifactError(
                    folder, f"expected its folder's name inside, found {model.manifest.name!r}"
                )
            model.warm()
        except BaseException:
            model.close()
            raise
        return model

    async def are_ready(self) -> bool:
        """Whether there are models and the engine of each works.

        One whose engine failed again and again is asked for an image: it may have recovered.
        """
        broken = [model for model in self if model.failures >= _FAILURES]
        found = await asyncio.gather(*(_works(model) for model in broken))
        return len(self) > 0 and all(found)

    def close(self) -> None:
        """Finish what is queued and release the engines."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        for model in self:
            model.close()
        self._models = {}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def get(self, name: str | None, request: str | None = None) -> Model:
        """A model by `name` or `name@version`, one that answers a request; None is the first by
        name.

        503 while no model is loaded, InputError listing the names of those that will do.
        """
        models = self._models
        if not models:
            raise RequestError(503, "not ready: no model is loaded, /models says why")
        fitting = {
            n: m for n, m in models.items() if request is None or answers(m.manifest, request)
        }
        bare, _, version = (name or next(iter(fitting), "none")).partition("@")
        model = fitting.get(bare)
        if model is None or version not in ("", str(model.manifest.version)):
            names = [full_name(model) for model in fitting.values()]
            raise InputError("model", f"one of {names} (those that can {request})", repr(name))
        return model


def probe(model: Model) -> Job[int]:
    """One row of the main graph, of the smallest size."""
    manifest = model.manifest
    size = manifest.smallest_size
    inputs = examples_of(model, Counter(0, 0, 1), size)
    return Job(manifest.main_graph, 1, lambda a, b: inputs, lambda outputs, start: 1, size=size)


async def _works(model: Model) -> bool:
    try:
        future = asyncio.wrap_future(model.submit(probe(model), wait=False))
        await asyncio.wait_for(future, _PROBE_SECONDS)
    except (LatentServeError, TimeoutError) as error:
        logger.error("%s is not ready: %s", full_name(model), error or "no image in time")
        return False
    return True


def _contents(folder: Path) -> Contents:
    """What a folder looks like from outside: enough to tell that it changed."""
    try:
        stats = [(child.name, child.lstat()) for child in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def full_name(model: Model) -> str:
    """`name@version`, as in the `X-Model` header."""
    return f"{model.manifest.name}@{model.manifest.version}"


def describe(model: Model) -> dict[str, Any]:
    """One entry of `GET /models`."""
    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "latent": None if manifest.latent is None else list(manifest.latent.shape),
        "prior": manifest.prior,
        "image": list(manifest.image().shape),
        "axes": {name: axis.model_dump() for name, axis in manifest.axes.items()},
        "requests": answered(manifest),
        "labels": None if manifest.labels is None else list(manifest.labels),
        "can_encode": answers(manifest, "encode"),
        "encoder_takes_noise": takes_noise(manifest),
        "engine": model.engine,
        "batches": list(manifest.batches),
        "max_batch": model.max_batch,
        "queued": model.queued,
        "licence": manifest.licence,
        "provenance": {"source": manifest.provenance.source, **manifest.provenance.figures},
    }
