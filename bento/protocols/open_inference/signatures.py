"""What a model of the Open Inference Protocol takes and gives: a graph of an artifact, by the names
of its own tensors, or `sample`, which the prior's latents are drawn for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime import Decode, Encode, InputError, Manifest, Model, Sample, Translate
from runtime.artifact.size import SIZE_AXES
from runtime.artifact.tensors import SIGNATURES, Role, TensorSpec
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs
from runtime.requests import answers
from runtime.requests.encode import Encoded, takes_noise
from runtime.requests.pictures import image_shape
from runtime.requests.request import graph_of
from runtime.requests.sample import count_of
from runtime.sampling.posterior import MAX_LATENT

Datatype = Literal["FP32", "INT64", "UINT8"]
Tensors = Mapping[str, NDArray[Any]]

DTYPES: Mapping[Datatype, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
}
_DATATYPES: Mapping[str, Datatype] = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8"}

NAMES = ("sample", *SIGNATURES)

_DEFAULTED: tuple[Role, ...] = ("noise", "truncation", "mixing_latents", "mixing_layer")
"""The roles of a graph's inputs that may be left out: those that no request has to give."""

_TENSOR_OF = {"n": "count", "seeds": "seed", "labels": "label"}
"""The fields of `Sample` whose tensors have other names."""


@dataclass(frozen=True)
class Tensor:
    """One input or output; `shape` has -1 for an axis that is free."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    needed: bool = True


@dataclass(frozen=True)
class Signature:
    """`job(model, given)` is the work on inputs by name; `counted` is the input that says how many
    images it is."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    job: Callable[[Model, Tensors], Job[Any]]
    counted: str

    def arrays(self, result: Any) -> dict[str, NDArray[Any]]:
        """The outputs by name, of what the job gave."""
        several = result.arrays().values() if isinstance(result, Encoded) else [result]
        return dict(zip((tensor.name for tensor in self.outputs), several, strict=True))


def main_of(manifest: Manifest) -> str:
    """The signature of a model that is named without one."""
    return "sample" if answers(manifest, "sample") else manifest.main_graph


def signature_of(manifest: Manifest, name: str) -> Signature:
    """One of `NAMES`, of an artifact that has it."""
    return _sampling(manifest) if name == "sample" else _graph(manifest, name)


def row_shapes(manifest: Manifest, job: Job[Any]) -> list[tuple[int, ...]]:
    """The shapes of a job's outputs, in their order, without the leading axis."""
    return [
        image_shape(manifest, job) if tensor.role == "images" else tensor.at(job.size)
        for tensor in manifest.graphs[job.graph].outputs
    ]


def _tensor(spec: TensorSpec) -> Tensor:
    free = (-1 if isinstance(dim, str) else dim for dim in spec.shape)
    needed = spec.role not in _DEFAULTED
    return Tensor(spec.name, _DATATYPES[spec.dtype], (-1, *free), needed)


def _graph(manifest: Manifest, name: str) -> Signature:
    spec = graph_of(manifest, name)
    inputs = tuple(map(_tensor, spec.inputs))

    def job(model: Model, given: Tensors) -> Job[Any]:
        return _graph_job(model, name, given)

    main = spec.input("latents") or spec.input("images")
    counted = inputs[0].name if main is None else main.name
    return Signature(inputs, tuple(map(_tensor, spec.outputs)), job, counted)


def _graph_job(model: Model, name: str, given: Tensors) -> Job[Any]:
    """The request of that name, its noise and truncation replaced by what is given."""
    manifest = model.manifest
    spec = graph_of(manifest, name)
    # Only noise may occur several times.
    roles: dict[str, Any] = {t.role: given.get(t.name) for t in spec.inputs}
    labels = roles.get("labels")
    if name == "decode":
        request = Decode(roles["latents"], labels, prompt=roles.get("prompt"))
    elif name == "encode":
        request = Encode(roles["images"], labels, 0 if takes_noise(manifest) else None)
    else:
        request = Translate(roles["images"], roles.get("mask"), labels)
    job: Job[Any] = request.job(model)
    own = {
        tensor.name: _checked(tensor, given[tensor.name], job)
        for tensor in spec.inputs
        if tensor.role in _DEFAULTED and tensor.name in given
    }
    if not own:
        return job

    def rows(start: int, stop: int) -> Inputs:
        replaced = {name: array[start:stop] for name, array in own.items()}
        return {**job.rows(start, stop), **replaced}

    return replace(job, rows=rows)


def _checked(tensor: TensorSpec, array: NDArray[Any], job: Job[Any]) -> NDArray[Any]:
    shape = (job.count, *tensor.at(job.size))
    if array.shape != shape:
        raise InputError(tensor.name, f"shape {list(shape)}", str(list(array.shape)))
    if not (np.abs(array) <= MAX_LATENT).all():
        raise InputError(tensor.name, f"finite values of at most {MAX_LATENT:g}", "others")
    return np.require(array, requirements="A")  # in the body of a request it may lie anywhere


def _sampling(manifest: Manifest) -> Signature:
    inputs = [
        Tensor("seed", "INT64", (-1,)),
        Tensor("count", "INT64", (1,), needed=False),
        Tensor("offset", "INT64", (1,), needed=False),
        Tensor("truncation", "FP32", (1,), needed=False),
    ]
    if manifest.labels is not None:
        inputs.append(Tensor("label", "INT64", (-1,), needed=False))
    if (words := manifest.vocabulary) is not None:
        inputs.append(Tensor("prompt", "INT64", (-1, words.length), needed=False))
    if any(name in manifest.axes for name in SIZE_AXES):
        inputs.append(Tensor("size", "INT64", (2,), needed=False))
    outputs = map(_tensor, graph_of(manifest, "decode").outputs)
    return Signature(tuple(inputs), tuple(outputs), _sample_job, "count")


def _sample_job(model: Model, given: Tensors) -> Job[Any]:
    """Images `offset`.. of one seed, or image 0 of each of several."""
    values: dict[str, list[Any]] = {name: array.tolist() for name, array in given.items()}
    seeds, labels = values["seed"], values.get("label")
    (count,), (offset,) = values.get("count", [None]), values.get("offset", [0])
    (truncation,) = values.get("truncation", [None])
    seed = None
    if len(seeds) == 1:
        (seed,) = seeds
        count = count_of(labels, given.get("prompt")) if count is None else count
    several = seeds if seed is None else None
    size, prompt = values.get("size"), given.get("prompt")
    request = Sample(count, seed, offset, several, labels, truncation, size, prompt=prompt)
    try:
        return request.job(model)
    except InputError as error:
        field, bracket, rest = error.field.partition("[")
        name = _TENSOR_OF.get(field, field) + bracket + rest
        raise InputError(name, error.expected, error.found) from None
