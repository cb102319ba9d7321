"""A request: typed arguments that validate themselves once and become a job for the queue."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.prior import Mixture
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs, Tensors
from runtime.errors import NotFiniteError
from runtime.images import UInt8Array
from runtime.sampling.streams import Draws

T = TypeVar("T")


class Described(Protocol):
    """What a request must know of a model: an artifact or a loaded model tells it."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def prior(self) -> Mixture | None:
        """None: N(0, I)."""
        ...


class Request(Protocol[T]):
    """Something a model can be asked for; `job` validates it against the model."""

    def job(self, model: Described) -> Job[T]: ...


def rows_of(inputs: Inputs) -> Callable[[int, int], dict[str, NDArray[Any] | Draws]]:
    return lambda start, stop: {name: array[start:stop] for name, array in inputs.items()}


def images_of(outputs: Tensors, start: int) -> UInt8Array:
    return outputs["images"]


def finite(values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise NotFiniteError("encode gave values that are not finite")
    return values
