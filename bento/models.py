"""The models of the service: every artifact of one folder, loaded side by side."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bento.errors import RequestError
from bento.settings import Settings
from runtime import ArtifactError, InputError, LatentServeError, Limits, Model, Observer, load
from runtime.artifact import artifact_folders

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failed:
    """An artifact that could not be loaded, and why, without paths of the server."""

    name: str
    error: str


class Models:
    """Loaded models by name. Empty until `load`; one bad artifact does not stop the others."""

    def __init__(self, settings: Settings, observer: Observer | None = None) -> None:
        self._settings = settings
        self._observer = observer
        self._models: dict[str, Model] = {}
        self.failed: tuple[Failed, ...] = ()

    def load(self) -> None:
        """Verify, golden-check and warm up the highest version of every artifact in the folder."""
        root = self._settings.artifacts.resolve()
        failed: list[Failed] = []
        for folder in artifact_folders(root):
            try:
                self._models[folder.name] = self._load_one(folder)
            except LatentServeError as error:
                logger.error("cannot serve %s: %s", folder.name, error)
                failed.append(Failed(folder.name, self._public(str(error), folder)))
            except Exception as error:  # an artifact is input: no form of it may stop the service
                logger.exception("cannot serve %s", folder.name)
                failed.append(Failed(folder.name, type(error).__name__))
        self.failed = tuple(failed)
        if not self._models:
            logger.error("no model is served: no loadable artifact in %s", root)

    def _public(self, text: str, folder: Path) -> str:
        """`text` without where on the server the artifacts are."""
        for prefix in (f"{folder}/", str(folder.parent), f"{self._settings.artifacts.absolute()}"):
            text = text.replace(prefix, "")
        return text

    def _load_one(self, folder: Path) -> Model:
        settings = self._settings
        model = load(
            folder,
            backend=settings.backend,
            precision=settings.precision,
            device=settings.device,
            limits=Limits(queue_images=settings.queue_images),
            observer=self._observer,
            cache=settings.cache,
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

    def close(self) -> None:
        """Finish what is queued and release the engines."""
        for model in self._models.values():
            model.close()
        self._models.clear()

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def get(self, name: str | None) -> Model:
        """A model by `name` or `name@version`; None is the first by name.

        503 while no model is loaded, InputError listing the names for an unknown one.
        """
        if not self._models:
            raise RequestError(503, "not ready: no model is loaded, /models says why")
        if name is None:
            return next(iter(self._models.values()))
        bare, _, version = name.partition("@")
        model = self._models.get(bare)
        if model is None or version not in ("", str(model.manifest.version)):
            raise InputError("model", f"one of {[full_name(model) for model in self]}", repr(name))
        return model


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
        "latent": list(manifest.latent.shape),
        "image": list(manifest.image.shape),
        "labels": None if manifest.labels is None else list(manifest.labels),
        "can_encode": bool(manifest.encode),
        "engine": model.engine,
        "batches": list(manifest.batches),
        "max_batch": model.max_batch,
        "queued": model.queued,
        "licence": manifest.licence,
        "provenance": {"source": manifest.provenance.source, **manifest.provenance.figures},
    }
