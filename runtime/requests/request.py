"""A request: typed arguments that validate themselves once and become a job for the queue."""

from typing import Protocol, TypeVar

from runtime.artifact.manifest import Manifest
from runtime.artifact.prior import Mixture
from runtime.artifact.tensors import Signature
from runtime.batching.jobs import Job
from runtime.engines.backend import Tensors
from runtime.errors import InputError
from runtime.images import UInt8Array

T = TypeVar("T")


class Described(Protocol):
    """What a request must know of a model. An artifact and a loaded model have it."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def prior(self) -> Mixture | None:
        """The mixture that latents are drawn from; None for N(0, I)."""
        ...


class Request(Protocol[T]):
    """A request that a model answers; `job` validates it against the model."""

    def job(self, model: Described) -> Job[T]: ...


def graph_of(manifest: Manifest, name: str) -> Signature:
    """The signature of a graph; InputError where the artifact has no such graph."""
    graph = manifest.graphs.get(name)
    if graph is None:
        expected = {"decode": "one with a decoder", "encode": "one with an encoder"}
        raise InputError(
            "model", expected.get(name, f"one that can {name}"), f"{manifest.name}, which has none"
        )
    return graph


def images_of(outputs: Tensors, start: int = 0) -> UInt8Array:
    """The one output of a graph that gives images."""
    (images,) = outputs.values()
    return images
