"""The signatures of an artifact's graphs: tensors with roles, and the graphs we know.

Which requests an artifact answers follows from the names of its graphs.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt

from runtime.artifact.size import SIZE_AXES, Dim, Size, evaluate, parse
from runtime.images.volumes import MAX_VOLUME_SIDE

Dtype = Literal["float32", "int64", "uint8"]
Precision = Literal["fp32", "fp16", "bf16"]
Role = Literal[
    "latents",
    "noise",
    "labels",
    "prompt",
    "truncation",
    "mixing_latents",
    "mixing_layer",
    "images",
    "mask",
    "mean",
    "log_variance",
    "log_density",
    "codes",
    "volume",
]


_LARGEST_DIM = 1 << 20


def _check_dim(dim: Dim) -> Dim:
    if isinstance(dim, str):
        parse(dim)
    elif dim < 1:
        raise ValueError(f"expected a number greater than or equal to 1, found {dim}")
    elif dim > _LARGEST_DIM:
        raise ValueError(f"expected a number of at most {_LARGEST_DIM}, found {dim}")
    return dim


CheckedDim = Annotated[StrictInt | str, AfterValidator(_check_dim)]


class Frozen(BaseModel):
    """Base of the manifest's parts: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorSpec(Frozen):
    """One input or output of a graph. `shape` leaves out the leading batch axis; a dimension is a
    number or an expression of a named axis (`runtime.artifact.size`)."""

    name: str = Field(min_length=1, max_length=200)
    role: Role
    dtype: Dtype
    shape: tuple[CheckedDim, ...] = Field(max_length=6)

    def at(self, size: Size = ()) -> tuple[int, ...]:
        """The shape of one row at a size."""
        return evaluate(self.shape, size)

    def values(self, size: Size = ()) -> int:
        """The number of values in one row at a size."""
        return math.prod(self.at(size))


class Signature:
    """What a graph takes and gives, the same in all its files. Every request reads it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, role: Role) -> TensorSpec | None:
        """The first input of a role."""
        return _first(self.inputs, role)

    def output(self, role: Role) -> TensorSpec | None:
        """The first output of a role."""
        return _first(self.outputs, role)

    @property
    def tileable(self) -> bool:
        """Whether its images may be cut into tiles: its main input, and all that it gives, extend
        along height and width."""
        main = self.input("latents") or self.input("images")
        return main is not None and all(map(_extends, (main, *self.outputs)))

    @property
    def gives_pixels(self) -> bool:
        """Whether its outputs are images, or volumes: only these may have reduced precision."""
        return all(tensor.dtype == "uint8" for tensor in self.outputs)


def _extends(tensor: TensorSpec) -> bool:
    named = [parse(dim)[1] for dim in tensor.shape if isinstance(dim, str)]
    return sorted(named) == sorted(SIZE_AXES)


def _first(tensors: tuple[TensorSpec, ...], role: Role) -> TensorSpec | None:
    for tensor in tensors:
        if tensor.role == role:
            return tensor
    return None


@dataclass(frozen=True)
class GraphSpec(Signature):
    """One ONNX file of a graph: its name in the artifact, its arithmetic and its signature."""

    file: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class _Roles:
    """The roles that a graph of some name takes and gives."""

    needs: Role
    may_take: tuple[Role, ...]
    gives: tuple[tuple[Role, ...], ...]


SIGNATURES: dict[str, _Roles] = {
    "decode": _Roles(
        "latents",
        ("labels", "prompt", "truncation", "mixing_latents", "mixing_layer", "noise"),
        (("images",), ("volume",)),
    ),
    "encode": _Roles(
        "images",
        ("labels", "noise"),
        (
            ("mean", "log_variance"),
            ("latents", "log_density"),
            ("latents",),
            ("latents", "codes"),
        ),
    ),
    "translate": _Roles("images", ("mask", "labels", "truncation", "noise"), (("images",),)),
}
"""The graphs that the runtime knows. Only noise may occur several times."""

_DTYPES: dict[Role, Dtype] = {
    "labels": "int64",
    "prompt": "int64",
    "images": "uint8",
    "mask": "uint8",
    "codes": "int64",
    "volume": "uint8",
}
_SCALARS: tuple[Role, ...] = ("labels", "truncation", "mixing_layer", "log_density")


def check_signature(graph: str, spec: Signature) -> None:
    """ValueError unless the tensors of a graph are of the roles that its name promises."""
    known = SIGNATURES.get(graph)
    if known is None:
        raise ValueError(f"{graph}: expected a graph named one of {list(SIGNATURES)}")
    tensors = (*spec.inputs, *spec.outputs)
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise ValueError(f"{graph}: expected distinct names of tensors, found {names}")
    taken = [tensor.role for tensor in spec.inputs]
    once = [role for role in taken if role != "noise"]
    if known.needs not in taken or len(set(once)) != len(once):
        raise ValueError(
            f"{graph}: expected one input of each role, {known.needs} among them, "
            f"and any number of noise, found {taken}"
        )
    unknown = sorted({*taken} - {known.needs, *known.may_take})
    if unknown:
        raise ValueError(
            f"{graph}: expected inputs {[known.needs, *known.may_take]}, found {unknown}"
        )
    given = tuple(tensor.role for tensor in spec.outputs)
    if given not in known.gives:
        raise ValueError(
            f"{graph}: expected outputs {' or '.join(map(str, known.gives))}, found {given}"
        )
    if graph == "encode" and ("noise" in taken) != ("log_density" in given):
        raise ValueError(
            f"{graph}: expected noise where, and only where, it gives latents and log_density, "
            f"found inputs {taken} and outputs {given}"
        )
    _check_mixing(graph, spec)
    for tensor in tensors:
        _check_tensor(graph, tensor)


def _check_mixing(graph: str, spec: Signature) -> None:
    """A decoder that mixes styles takes a second latent, and the first layer that has its style."""
    latents, layer = spec.input("mixing_latents"), spec.input("mixing_layer")
    if (latents is None) != (layer is None):
        raise ValueError(f"{graph}: expected mixing_latents and mixing_layer, found one of them")
    own = spec.input("latents")
    if latents is not None and (own is None or own.shape != latents.shape):
        raise ValueError(
            f"{graph}: mixing_latents: expected the shape of latents, found {list(latents.shape)}"
        )


def _check_tensor(graph: str, tensor: TensorSpec) -> None:
    dtype = _DTYPES.get(tensor.role, "float32")
    rank = {"images": 3, "mask": 3, "prompt": 1, "volume": 4}.get(tensor.role, len(tensor.shape))
    if tensor.role in _SCALARS:
        rank = 0
    if tensor.dtype != dtype or len(tensor.shape) != rank:
        raise ValueError(
            f"{graph}: {tensor.name} ({tensor.role}): expected {dtype} with {rank} axes beside the "
            f"batch, found {tensor.dtype} {list(tensor.shape)}"
        )
    channels = {"images": (1, 2, 3, 4), "mask": (1,), "volume": (1,)}.get(tensor.role)
    if channels is not None and tensor.shape[-1] not in channels:
        raise ValueError(
            f"{graph}: {tensor.name}: expected {' or '.join(map(str, channels))} channels, last, "
            f"found {list(tensor.shape)}"
        )
    sides = tensor.shape[:-1] if tensor.role == "volume" else ()
    if any(not isinstance(side, int) or side > MAX_VOLUME_SIDE for side in sides):
        raise ValueError(
            f"{graph}: {tensor.name}: expected a volume of at most {MAX_VOLUME_SIDE} voxels a "
            f"side, found {list(tensor.shape)}"
        )
    if tensor.role in ("latents", "noise") and not tensor.shape:
        raise ValueError(
            f"{graph}: {tensor.name}: expected a shape with at least one axis beside the batch"
        )
