"""A request: typed arguments that validate themselves once and become a job for the queue."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from runtime.artifact.graphs import GraphSpec
from runtime.artifact.manifest import Manifest
from runtime.artifact.prior import Mixture
from runtime.artifact.size import Size
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


REQUIRED_GRAPHS: Mapping[str, tuple[str, ...]] = {
    "sample": ("decode",),
    "decode": ("decode",),
    "interpolate": ("decode",),
    "manifold": ("decode",),
    "encode": ("encode",),
    "reconstruct": ("encode", "decode"),
    "translate": ("translate",),
}
"""The graphs that each request runs: a model answers a request where its artifact has them."""


def answers(manifest: Manifest, request: str) -> bool:
    """Whether an artifact has what a request needs."""
    if not set(REQUIRED_GRAPHS[request]) <= set(manifest.graphs):
        return False
    if request == "sample":
        return manifest.prior != "none"
    return request != "manifold" or (manifest.latent is not None and manifest.latent.shape == (2,))


def graph_of(manifest: Manifest, name: str) -> GraphSpec:
    """The signature of a graph; InputError where the artifact has no such graph."""
    graph = manifest.graphs.get(name)
    if graph is None:
        expected = {"decode": "one with a decoder", "encode": "one with an encoder"}
        raise InputError(
            "model", expected.get(name, f"one that can {name}"), f"{manifest.name}, which has none"
        )
    return graph.spec()


_ITEM_BYTES = {"float32": 4, "int64": 8, "uint8": 1}


def row_bytes(spec: GraphSpec, size: Size) -> int:
    """Bytes of one row's inputs and outputs."""
    tensors = (*spec.inputs, *spec.outputs)
    return sum(t.values(size) * _ITEM_BYTES[t.dtype] for t in tensors)


def images_of(outputs: Tensors, start: int = 0) -> UInt8Array:
    """The one output of a graph that gives images."""
    (images,) = outputs.values()
    return images
