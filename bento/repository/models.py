"""The models of the service: the highest version of every artifact in one folder, side by side.

The folder is looked at again while the service runs. A new version is loaded beside the old one,
verified, and takes its place; requests that have begun with the old one end with it. A version
that fails is told and changes nothing.

Loading goes on beside serving: in threads, and what is unknown yet in processes
(`bento.repository.loader`).
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bento.errors import RequestError
from bento.repository.loader import Loader
from bento.settings import Settings
from runtime import InputError, LatentServeError, Model, Observer
from runtime.artifact.reading import artifact_folders, numbered_versions
from runtime.batching.jobs import Job
from runtime.machine import cores
from runtime.requests import answers
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

logger = logging.getLogger(__name__)

Contents = tuple[tuple[str, int, int], ...]
Look = tuple[int, Contents]
"""A version, and what its folder looks like from outside."""

_FAILURES = 3
"""Engine runs that must fail one after another before a model counts as broken."""
_PROBE_SECONDS = 10.0
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Failed:
    """An artifact that could not be loaded, and why, without paths of the server."""

    name: str
    version: int
    error: str


@dataclass(frozen=True)
class Loading:
    """An artifact that is being loaded, and what is being done for it."""

    name: str
    version: int
    doing: str = "waiting for its turn"


class Models:
    """Loaded models by name. Empty until `load`; one bad artifact does not stop the others.

    `observer(name)` makes the observer of a model. `others` says what is missing elsewhere, in
    further processes of the service.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Callable[[str], Observer] | None = None,
        others: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._others = others
        self._loader = Loader(settings, observer)
        # Guards what follows; each is a new dict after a change, so that whoever goes through one
        # is not disturbed.
        self._lock = threading.Lock()
        self._models: dict[str, Model] = {}
        self._failed: dict[str, Failed] = {}
        self._loading: dict[str, Loading] = {}
        # Each artifact's highest version: the one served, the one tried last, the one seen last.
        self._served: dict[str, Look] = {}
        self._tried: dict[str, Look] = {}
        self._seen: dict[str, Look] = {}
        self._loaded = False
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def failed(self) -> tuple[Failed, ...]:
        """What is in the folder but could not be loaded, by name."""
        return tuple(self._failed.values())

    @property
    def loading(self) -> tuple[Loading, ...]:
        """What is being loaded, or waits for it, by name."""
        return tuple(self._loading.values())

    def load(self) -> None:
        """Verify, golden-check and warm up the highest version of every artifact in the folder."""
        root = self._settings.artifacts.resolve()
        self._try_all([(f, max(numbered_versions(f), default=0)) for f in artifact_folders(root)])
        self._loaded = True
        if not self._models and not self._stop.is_set():
            logger.error("no model is served: no loadable artifact in %s", root)

    def refresh(self) -> None:
        """Load what is new in the folder since `load` or the last call.

        A folder that still changes from one call to the next is being copied: it is left alone.
        What disappears from the folder stays served, unless a lower version takes its place.
        """
        seen: dict[str, Look] = {}
        wanted: list[tuple[Path, int]] = []
        for folder in artifact_folders(self._settings.artifacts.resolve()):
            name, version = folder.name, max(numbered_versions(folder), default=0)
            look = seen[name] = (version, _contents(folder / str(version)))
            if look == self._served.get(name):
                self._note_failed(name, None)  # a later version that failed is gone
            elif version and look == self._seen.get(name) and look != self._tried.get(name):
                wanted.append((folder, version))
        self._try_all(wanted)
        self._seen = seen
        for name in self._failed.keys() - seen.keys():
            self._note_failed(name, None)

    def start(self, loaded: Callable[[], None] = lambda: None) -> None:
        """`load`, call `loaded`, and then `refresh` every `settings.reload_seconds`, all in a
        thread, until `close`."""
        # A daemon, like those that it starts: an engine's call cannot be stopped from here.
        self._watcher = threading.Thread(
            target=self._watch, args=(loaded,), name="latentserve-reload", daemon=True
        )
        self._watcher.start()

    def _watch(self, loaded: Callable[[], None]) -> None:
        self._look(self.load)
        self._loaded = True
        loaded()
        seconds = self._settings.reload_seconds
        while seconds and not self._stop.wait(seconds):
            self._look(self.refresh)

    def _look(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception:  # the folder may be away for a while
            logger.exception("cannot look for new artifacts")

    def _try_all(self, wanted: Sequence[tuple[Path, int]]) -> None:
        """Try to load these, as many at once as there are cores, and two at least: one that takes
        long must not hold up the others."""
        left = deque(wanted)
        self._loading = {f.name: Loading(shown(f.name), version) for f, version in wanted}

        def go() -> None:
            with suppress(IndexError):  # until none is left
                while not self._stop.is_set():
                    self._try(*left.popleft())

        lanes = [
            threading.Thread(target=go, name="latentserve-loading", daemon=True)
            for _ in range(min(len(wanted), max(2, cores())) - 1)
        ]
        for lane in lanes:
            lane.start()
        go()  # one alone is loaded here: each new thread would keep some memory of its own
        for lane in lanes:
            lane.join()
        self._loader.rest()

    def _try(self, folder: Path, version: int) -> None:
        name = folder.name
        look = self._tried[name] = (version, _contents(folder / str(version)))
        try:
            model = self._loader.load(folder, version, partial(self._note_doing, name))
        except Exception as error:  # an artifact is input: no form of it may stop the service
            if not self._stop.is_set():
                self._note_failed(name, self._failure(folder, version, error))
            return
        if self._stop.is_set():
            model.close()
            return
        with self._lock:
            self._served[name] = look
            old = self._models.get(name)
            self._models = dict(sorted({**self._models, name: model}.items()))
        self._note_failed(name, None)
        if old is not None:
            logger.info(
                "%s takes the place of %s", model.manifest.full_name, old.manifest.full_name
            )
            old.close_when_unused()

    def _note_doing(self, name: str, doing: str) -> None:
        with self._lock:
            entry = self._loading.get(name)
            if entry is not None:
                self._loading = {**self._loading, name: replace(entry, doing=doing)}

    def _note_failed(self, name: str, failed: Failed | None) -> None:
        """What is to be said of an artifact that is not being loaded any more."""
        with self._lock:
            self._loading = {n: entry for n, entry in self._loading.items() if n != name}
            others = {n: entry for n, entry in self._failed.items() if n != name}
            self._failed = (
                others if failed is None else dict(sorted({**others, name: failed}.items()))
            )

    def _failure(self, folder: Path, version: int, error: Exception) -> Failed:
        name = shown(folder.name)
        served = f"; {self._models[name].manifest.full_name} stays" if name in self._models else ""
        if isinstance(error, LatentServeError):
            reason = self._public(str(error), folder)
            logger.error("cannot serve %s@%d: %s%s", name, version, reason, served)
        else:
            reason = type(error).__name__
            logger.exception("cannot serve %s@%d%s", name, version, served)
        return Failed(name, version, reason)

    def _public(self, text: str, folder: Path) -> str:
        """`text` without where on the server the artifacts are."""
        for prefix in (f"{folder}/", str(folder.parent), f"{self._settings.artifacts.absolute()}"):
            text = text.replace(prefix, "")
        if self._settings.signed_by is not None:
            text = text.replace(str(self._settings.signed_by), "the service's key file")
        return shown(text)

    async def missing(self) -> str | None:
        """What is missing until all artifacts have been tried, there are models, and the engine of
        each works; None where nothing is.

        One whose engine failed again and again is asked for an image: it may have recovered.
        """
        if not self._loaded:
            return "artifacts are being loaded"
        if not len(self):
            return "no model is loaded, /models says why"
        found = await asyncio.gather(*(works(model) for model in self))
        return self._others() if all(found) else "an engine fails, the log has the details"

    def close(self) -> None:
        """Finish what is queued and release the engines. What is being loaded is given up: a trial
        is ended, an engine's call that goes on is left behind."""
        self._stop.set()
        self._loader.close()
        if self._watcher is not None:
            self._watcher.join(_CLOSE_SECONDS)
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

        503 while no model is loaded or this one is being loaded, InputError listing the names of
        those that will do.
        """
        models = self._models
        fitting = {
            n: m for n, m in models.items() if request is None or answers(m.manifest, request)
        }
        bare, _, version = (name or next(iter(fitting), "")).partition("@")
        awaited = self._awaited(bare, is_first=name is None)
        if awaited is not None:
            error = f"not ready: {shown(awaited)} is being loaded"
            raise RequestError(503, error, headers={"Retry-After": "1"})
        if not models:
            raise RequestError(503, "not ready: no model is loaded, /models says why")
        model = fitting.get(bare)
        if model is None or version not in ("", str(model.manifest.version)):
            names = [model.manifest.full_name for model in fitting.values()]
            which = "" if request is None else f" (those that can {request})"
            raise InputError("model", f"one of {names}{which}", repr(name))
        return model

    def named(self, name: str, request: str | None = None) -> Model:
        """`get`, for the name in a path: RequestError 404 where there is no such model."""
        try:
            return self.get(name, request)
        except InputError as error:
            raise RequestError(
                404,
                f"no such {error}",
                field=error.field,
                expected=error.expected,
                found=error.found,
            ) from None

    def _awaited(self, name: str, *, is_first: bool) -> str | None:
        """What must have been loaded before it is known which model `name` is, the first one of
        those that are there or one that was named."""
        new = [other for other in self._loading if other not in self._models]
        if not is_first:
            return name if name in new else None
        # New artifacts change what is the first once they are there, and not before; but at the
        # start all of them are new.
        return None if self._loaded else next((n for n in new if not name or n < name), None)


def probe(model: Model) -> Job[int]:
    """One row of the main graph, of the smallest size."""
    manifest = model.manifest
    size = manifest.smallest_size
    inputs = examples_of(model, Counter(0, 0, 1), size)
    return Job(manifest.main_graph, 1, lambda a, b: inputs, lambda outputs, start: 1, size=size)


async def works(model: Model) -> bool:
    """Whether the engine works; one that failed again and again is asked for an image."""
    if model.failures < _FAILURES:
        return True
    try:
        future = asyncio.wrap_future(model.submit(probe(model), wait=False))
        await asyncio.wait_for(future, _PROBE_SECONDS)
    except (LatentServeError, TimeoutError) as error:
        logger.error("%s is not ready: %s", model.manifest.full_name, error or "no image in time")
        return False
    return True


def _contents(folder: Path) -> Contents:
    """What a folder looks like from outside: enough to tell that it changed."""
    try:
        stats = [(child.name, child.lstat()) for child in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def shown(text: str) -> str:
    """A name of the file system as text that can be sent and logged."""
    return text.encode("utf-8", "replace").decode()
