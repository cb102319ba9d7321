"""The artifact's description of itself: `manifest.json` as frozen, closed pydantic models."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from runtime.artifact.size import Size, axes_of
from runtime.artifact.tensors import (
    Frozen,
    GraphSpec,
    Precision,
    Role,
    Signature,
    TensorSpec,
    check_signature,
)
from runtime.artifact.vocabulary import Vocabulary
from runtime.images import ImageSpec
from runtime.images.volumes import picture_shape

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
PRIOR = "prior.npz"
SHEET = "samples.png"
"""A picture of samples, where the artifact has one."""

Reduced = Literal["fp16", "bf16"]
REDUCED: tuple[Reduced, ...] = ("fp16", "bf16")
Prior = Literal["standard_normal", "truncated_normal", "gaussian_mixture", "none"]

_PIXELS: tuple[Role, ...] = ("images", "volume")
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> str:
    """A model's name: lower-case letters, digits and single `-`, `_`, `.` between them."""
    if len(name) > 100 or not _NAME.fullmatch(name):
        raise ValueError(
            f"expected a name of lower-case letters, digits and - _ . between them, found {name!r}"
        )
    return name


def _check_file(file: str) -> str:
    if len(file) > 100 or not _FILE.fullmatch(file):
        raise ValueError(f"expected a plain file name inside the artifact, found {file!r}")
    return file


FileName = Annotated[str, AfterValidator(_check_file)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Axis(Frozen):
    """A named axis: the values that a request may choose for it."""

    min: int = Field(ge=1, le=1 << 14)
    max: int = Field(ge=1, le=1 << 14)
    multiple_of: int = Field(default=1, ge=1, le=1 << 14)
    default: int
    """The value of a request that names no size."""

    @model_validator(mode="after")
    def _consistent(self) -> "Axis":
        for name in ("min", "max", "default"):
            if getattr(self, name) % self.multiple_of or not self.min <= self.default <= self.max:
                raise ValueError(
                    f"expected min <= default <= max, each a multiple of {self.multiple_of}, "
                    f"found {self.min}, {self.default}, {self.max}"
                )
        return self

    def accepts(self, value: int, *, tiled: bool = False) -> bool:
        """Whether a request may choose this value; above `max` only where images are cut into
        tiles."""
        return self.min <= value <= self._most(tiled) and value % self.multiple_of == 0

    def nearest(self, value: int, *, tiled: bool = False) -> int:
        """The accepted value nearest to another one."""
        rounded = (value + self.multiple_of // 2) // self.multiple_of * self.multiple_of
        return max(self.min, min(self._most(tiled), rounded))

    def described(self, *, tiled: bool = False) -> str:
        """The accepted values in words."""
        step = f", a multiple of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"from {self.min} to {self._most(tiled)}{step}"

    def _most(self, tiled: bool) -> int:
        # What is so large fits into no memory: a request learns that from its bytes.
        return (1 << 20) // self.multiple_of * self.multiple_of if tiled else self.max

    def __str__(self) -> str:
        return self.described()


class Tiling(Frozen):
    """How near the images of overlapping tiles come to the whole image, of a graph whose images may
    be cut (`runtime.requests.tiles`)."""

    exact: bool
    """The network is local: tiles of at least four times `halo` give what the whole image gives."""
    halo: int = Field(ge=0, le=1 << 14)
    """How far around a pixel (or the pixels of a latent value) a local network looks, in pixels of
    its height and width; 0 where it is not local."""
    tile: int | None = None
    """The edge of the tiles with which the difference was measured; None where it was not."""
    max_difference: float | None = None
    """From the whole image, at the default size: in grey levels, or in the outputs' own unit."""
    mean_difference: float | None = None


class Graph(Frozen, Signature):
    """One network of the artifact: what it takes and gives, and an ONNX file a precision."""

    inputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=64)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=16)
    files: dict[Precision, FileName]
    tiling: Tiling | None = None

    def spec(self, precision: Precision = "fp32") -> GraphSpec:
        """The file in a precision; the fp32 one where there is no such file."""
        found = precision if precision in self.files else "fp32"
        return GraphSpec(self.files[found], found, self.inputs, self.outputs)

    @property
    def specs(self) -> tuple[GraphSpec, ...]:
        """All files, fp32 first."""
        return tuple(self.spec(precision) for precision in self.files)


class Parity(Frozen):
    """How far a graph was, over seeded inputs, from its `reference`.

    Where the graph gives images, in grey levels, with the standard deviation of the images compared
    (parity on flat images proves little); elsewhere in the outputs' own unit, without it.
    """

    graph: str
    precision: Precision
    batches: tuple[int, ...]
    max_difference: float
    mean_difference: float
    images_std: float | None = None
    images: int | None = None
    """Images compared, where they were many: in reduced precision."""
    sizes: tuple[tuple[int, ...], ...] = ()
    """Values of the named axes that were compared, where there are any."""
    compared_with: str | None = None
    """Where that is neither the torch module that it came from nor, in reduced precision, the fp32
    graph."""

    @property
    def reference(self) -> str:
        """What the graph was compared with."""
        known = "the torch module" if self.precision == "fp32" else "the fp32 graph"
        return self.compared_with or known


class Provenance(Frozen):
    """Where the weights come from; `details` and `figures` depend on the recipe."""

    source: str
    details: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)


def check_choices(batches: Sequence[int], labels: Sequence[str] | None) -> None:
    """ValueError unless the batches ascend from 1 on, and the class names, if any, are distinct."""
    if not batches or batches[0] < 1 or list(batches) != sorted(set(batches)):
        raise ValueError(f"batches: expected ascending sizes, found {tuple(batches)}")
    if labels is not None and (not labels or len(set(labels)) != len(labels)):
        raise ValueError(f"labels: expected distinct class names, found {tuple(labels)}")


def check_axes(graph: str, spec: Signature, axes: Mapping[str, Axis]) -> None:
    """ValueError unless every axis that a signature names is declared, with steps that make all
    its shapes whole."""
    for tensor in (*spec.inputs, *spec.outputs):
        for name, divisor in axes_of(tensor.shape).items():
            if name not in axes:
                raise ValueError(f"{graph}: {tensor.name}: axis {name!r} is not under axes")
            if axes[name].multiple_of % divisor:
                raise ValueError(
                    f"{graph}: {tensor.name}: expected {name} to be a multiple of {divisor}, "
                    f"found steps of {axes[name].multiple_of}"
                )


class Manifest(Frozen):
    """Everything a server must know before it opens a graph."""

    format_version: Literal[2] = FORMAT_VERSION
    name: Annotated[str, AfterValidator(check_name)]
    version: int = Field(ge=1)
    kind: str
    """What the network is, for people."""
    axes: dict[str, Axis] = Field(default_factory=dict[str, Axis], max_length=8)
    graphs: dict[str, Graph] = Field(min_length=1)
    prior: Prior = "standard_normal"
    """What `sample` draws latents from. `gaussian_mixture`: that of `prior.npz`
    (`runtime.artifact.prior`); `truncated_normal`: normals within [-2, 2], times the truncation
    that the graph takes too; `none`: latents that another model makes, never sampled."""
    labels: tuple[str, ...] | None = Field(default=None, min_length=1)
    vocabulary: Vocabulary | None = None
    """The prompts that a graph reads."""
    batches: tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...] = Field(
        default=(1, 4, 16, 64), min_length=1
    )
    parity: tuple[Parity, ...] = ()
    left_out: dict[Precision, str] = Field(default_factory=dict[Precision, str])
    """Precisions that were tried, and why they are not here."""
    provenance: Provenance
    licence: str
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        check_choices(self.batches, self.labels)
        if (PRIOR in self.files) != (self.prior == "gaussian_mixture"):
            raise ValueError(
                f"prior: expected gaussian_mixture with a file {PRIOR} and no other prior, "
                f"found {self.prior} {'with' if PRIOR in self.files else 'without'} it"
            )
        decoder = self.graphs.get("decode")
        if self.prior == "truncated_normal" and not (decoder and decoder.input("truncation")):
            raise ValueError("prior: truncated_normal: expected a decoder that takes a truncation")
        for name, graph in self.graphs.items():
            if "fp32" not in graph.files:
                raise ValueError(f"{name}: expected an fp32 graph, the reference for all others")
            for file in graph.files.values():
                if file not in self.files:
                    raise ValueError(f"{name}: {file} has no checksum under files")
            check_signature(name, graph)
            check_axes(name, graph, self.axes)
        takes_labels = any(graph.input("labels") for graph in self.graphs.values())
        if takes_labels != (self.labels is not None):
            raise ValueError(
                "labels: expected class names where, and only where, a graph takes labels"
            )
        self._check_prompts()
        self._check_agreement()
        return self

    def _check_prompts(self) -> None:
        """A graph that reads prompts reads those of the vocabulary, and takes no labels beside."""
        shapes = {tensor.shape for tensor in self._tensors("prompt")}
        length = None if self.vocabulary is None else self.vocabulary.length
        if shapes != (set() if length is None else {(length,)}):
            raise ValueError(
                "vocabulary: expected one where, and only where, a graph takes a prompt of its "
                f"length, found length {length} for prompts of shapes {sorted(shapes)}"
            )
        if shapes and self.labels is not None:
            raise ValueError("vocabulary: expected labels or prompts, found both")

    def _check_agreement(self) -> None:
        """Latents have one shape in all graphs, and so have the images of a latent."""
        latents = {t.shape for t in self._tensors("latents", "mean", "log_variance")}
        if len(latents) > 1:
            raise ValueError(f"latents: expected one shape in all graphs, found {sorted(latents)}")
        coded = [
            graph
            for graph in self.graphs.values()
            if any(t.role in ("latents", "mean") for t in (*graph.inputs, *graph.outputs))
        ]
        images = {t.shape for g in coded for t in (*g.inputs, *g.outputs) if t.role in _PIXELS}
        if len(images) > 1:
            raise ValueError(f"images: expected one shape in graphs of a latent, found {images}")

    def _tensors(self, *roles: Role) -> Iterable[TensorSpec]:
        for graph in self.graphs.values():
            yield from (t for t in (*graph.inputs, *graph.outputs) if t.role in roles)

    @property
    def full_name(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def main_graph(self) -> str:
        """The graph whose speed and pixels choose the engine: the first that gives images."""
        pixels = (name for name, graph in self.graphs.items() if graph.gives_pixels)
        return next(pixels, next(iter(self.graphs)))

    @property
    def latent(self) -> TensorSpec | None:
        """The latent that users hold; None where no graph has one."""
        return next(iter(self._tensors("latents", "mean")), None)

    @property
    def default_size(self) -> Size:
        """The value of every named axis in a request that names none."""
        return tuple((name, axis.default) for name, axis in self.axes.items())

    @property
    def smallest_size(self) -> Size:
        """The smallest value of every named axis."""
        return tuple((name, axis.min) for name, axis in self.axes.items())

    def image(self, size: Size | None = None) -> ImageSpec:
        """The images that the first graph with any gives, or takes, at a size; of volumes their
        pictures."""
        tensor = next(iter(self._tensors(*_PIXELS)))
        height, width, channels = picture_shape(
            tensor.at(self.default_size if size is None else size)
        )
        return ImageSpec.model_validate({"height": height, "width": width, "channels": channels})

    @property
    def max_batch(self) -> int:
        """The largest batch the graphs were verified at."""
        return self.batches[-1]
