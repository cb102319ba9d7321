"""What the service tells of its models: the list, one model, its sheet of samples."""

import json
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bento.errors import RequestError
from bento.exchange.bodies import query_options
from bento.exchange.caching import cache_control, is_known
from bento.exchange.schemas import from_strings
from bento.exchange.streaming import Lifetime
from bento.repository.models import Models
from bento.settings import Settings
from runtime import Manifest, Model
from runtime.artifact.figures import explained
from runtime.artifact.manifest import SHEET
from runtime.errors import InputError
from runtime.images.meshes import check_volume
from runtime.requests import answered, answers
from runtime.requests.encode import takes_noise


class ListOptions(BaseModel):
    """What the list says of each model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    full: bool = Field(default=False, description="1: all that is known of each model.")


class Listing:
    """The handlers of `/models` and of the paths below it."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings, self.models = settings, models

    async def all(self, request: Request, life: Lifetime) -> Response:
        """The models served, artifacts that are being loaded, and those that failed."""
        options = from_strings(ListOptions, query_options(request), self.settings.max_images)
        entry = full_entry if options.full else short_entry
        body = {
            "models": [entry(model) for model in self.models],
            "loading": [vars(entry) for entry in self.models.loading],
            "failed": [vars(entry) for entry in self.models.failed],
        }
        return JSONResponse(body)

    async def one(self, request: Request, life: Lifetime) -> Response:
        """All that is known of the model that the path names."""
        return JSONResponse(full_entry(self._named(request)))

    async def sheet(self, request: Request, life: Lifetime) -> Response:
        """The artifact's own sheet of samples, as it was verified."""
        model = self._named(request)
        if model.sheet is None:
            raise RequestError(404, f"{model.manifest.full_name} has no sheet of samples")
        tag = f'"{model.manifest.files[SHEET]}"'
        pinned = _name(request) == model.manifest.full_name
        headers = {
            "X-Model": model.manifest.full_name,
            "X-Content-Type-Options": "nosniff",
            "ETag": tag,
            "Cache-Control": cache_control(
                pinned=pinned, private=self.settings.api_key is not None
            ),
        }
        if is_known(tag, request.headers.get("if-none-match")):
            return Response(None, 304, headers)
        return Response(model.sheet, 200, headers, "image/png")

    def _named(self, request: Request) -> Model:
        """The model that the path names; 404 where there is none."""
        return self.models.named(_name(request))


def _name(request: Request) -> str:
    return request.scope["path"].split("/")[2]


def _volume(manifest: Manifest) -> list[int | str] | None:
    """[depth, height, width, 1] of the volumes that a model makes; None where it makes none."""
    decoder = manifest.graphs.get("decode")
    made = None if decoder is None else decoder.output("volume")
    return None if made is None else list(made.shape)


def _has_meshes(manifest: Manifest) -> bool:
    """Whether a model's results can be had as GLB: volumes, where what writes it is installed."""
    volume = _volume(manifest)
    try:
        check_volume(() if volume is None else tuple(map(int, volume)))
    except InputError:
        return False
    return True


def short_entry(model: Model) -> dict[str, Any]:
    """What a client needs to ask a model something. Shapes are [height, width, channels]."""
    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "image": list(manifest.image().shape),
        "latent": None if manifest.latent is None else list(manifest.latent.shape),
        "labels": None if manifest.labels is None else list(manifest.labels),
        "prompts": manifest.vocabulary is not None,
        "requests": answered(manifest),
        "axes": {name: axis.model_dump() for name, axis in manifest.axes.items()},
        "engine": model.engine,
        "images_per_second": model.images_per_second,
        "licence": manifest.licence,
    }


def full_entry(model: Model) -> dict[str, Any]:
    """All that is known of a model. `sheet`: its path, from the service's root on."""
    manifest = model.manifest
    sheet = None if model.sheet is None else f"models/{model.manifest.full_name}/{SHEET}"
    return {
        **short_entry(model),
        "vocabulary": None if manifest.vocabulary is None else manifest.vocabulary.model_dump(),
        "volume": _volume(manifest),
        "glb": _has_meshes(manifest),
        "prior": manifest.prior,
        "can_encode": answers(manifest, "encode"),
        "encoder_takes_noise": takes_noise(manifest),
        "takes": {
            name: [tensor.role for tensor in graph.spec().inputs]
            for name, graph in manifest.graphs.items()
        },
        "tiling": {
            name: None if graph.tiling is None else graph.tiling.model_dump()
            for name, graph in manifest.graphs.items()
        },
        "batches": list(manifest.batches),
        "max_batch": model.max_batch,
        "queued": model.queued,
        "figures": [asdict(figure) for figure in explained(manifest.provenance.figures)],
        # Numbers that JSON does not have become null.
        "provenance": json.loads(manifest.provenance.model_dump_json()),
        "sheet": sheet,
    }
