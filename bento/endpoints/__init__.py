"""The requests over HTTP: one module each, named as its path.

A module's `ENDPOINT` holds all that is particular to its request: the options that it takes, the
handler, the description and the examples. Nothing else names a request.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from bento.exchange.bodies import JSON
from bento.exchange.exchange import Exchange
from bento.exchange.replies import Reply
from runtime import Model

Json = dict[str, Any]

API_VERSION = "1"
"""Counts changes that break clients; the package has a version of its own."""


@dataclass(frozen=True)
class Endpoint:
    """One request over HTTP: how it is answered, and how it is described.

    `reads`: media types of its body. `options`: what the query string or a form may hold; `json`:
    what a JSON body may hold, where that is more. `examples(model)`: titles and options of requests
    that work as they stand, for a model that answers the request. `headers`: what its replies carry
    beside `X-Model`, described. `pictures`: the form's field of picture files; `files`: its other
    files.
    """

    answer: Callable[[Exchange], Awaitable[Response]]
    reads: tuple[str, ...]
    options: type[BaseModel]
    replies: Mapping[str, Reply]
    summary: str
    description: str
    examples: Callable[[Model], dict[str, Json]]
    json: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    pictures: str = "files"
    files: tuple[str, ...] = ()
    about: Callable[[Model], str] | None = None

    @property
    def json_schema(self) -> type[BaseModel] | None:
        """The schema of a JSON body; None where it reads none."""
        return (self.json or self.options) if JSON in self.reads else None

    @property
    def needs_body(self) -> bool:
        """Whether the query string alone is not enough."""
        schema = self.json_schema
        return schema is None or any(f.is_required() for f in schema.model_fields.values())


@cache
def endpoints() -> Mapping[str, Endpoint]:
    """Every endpoint of this package, by name."""
    names = sorted(found.name for found in iter_modules(__path__))
    return {name: import_module(f"{__name__}.{name}").ENDPOINT for name in names}


def some_label(model: Model) -> Json:
    """For an example: a label, where the model has classes."""
    return {} if model.manifest.labels is None else {"labels": model.manifest.labels[0]}


def some_condition(model: Model) -> Json:
    """For an example: a label or a prompt, where the model takes one."""
    words = model.manifest.vocabulary
    return some_label(model) if words is None else {"prompt": words.examples[0]}


def upload_example(model: Model, **options: Any) -> dict[str, Json]:
    """The options of an endpoint that takes pictures, for any picture that the reader has."""
    name = model.manifest.name
    return {name: {"model": name, **options, **some_label(model)}}
