"""The artifact's description of itself: `manifest.json` as frozen, closed pydantic models."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from runtime.images import ImageSpec

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
PRIOR = "prior.npz"

Dtype = Literal["float32", "int64", "uint8"]
Precision = Literal["fp32", "fp16", "bf16"]
Reduced = Literal["fp16", "bf16"]
REDUCED: tuple[Reduced, ...] = ("fp16", "bf16")
GraphName = Literal["decode", "encode"]

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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorSpec(_Frozen):
    """One input or output of a graph. `shape` leaves out the leading batch axis."""

    name: str
    dtype: Dtype
    shape: tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...]


class LatentSpec(_Frozen):
    """The latent a user samples: its shape without the batch axis, and its prior."""

    shape: tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...] = Field(min_length=1, max_length=4)
    prior: Literal["standard_normal", "gaussian_mixture"] = "standard_normal"
    """`gaussian_mixture`: that of `prior.npz` (`runtime.artifact.prior`)."""

    @property
    def size(self) -> int:
        """Values in one latent."""
        size = 1
        for axis in self.shape:
            size *= axis
        return size


class GraphSpec(_Frozen):
    """One ONNX file: what it takes and gives at its border, and in which precision it computes."""

    file: FileName
    precision: Precision
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)


def border(
    graph: GraphName,
    image: ImageSpec,
    latent: tuple[int, ...],
    *,
    takes_labels: bool,
    takes_noise: bool = False,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of a graph for such images and latents; an encoder that takes noise
    gives latents and their log density, another one the moments of a normal."""
    images = TensorSpec(name="images", dtype="uint8", shape=image.shape)
    latents, noise, mean, log_variance = (
        TensorSpec(name=name, dtype="float32", shape=latent)
        for name in ("latents", "noise", "mean", "log_variance")
    )
    log_density = TensorSpec(name="log_density", dtype="float32", shape=())
    labels = (TensorSpec(name="labels", dtype="int64", shape=()),) if takes_labels else ()
    if graph == "decode":
        return (latents, *labels), (images,)
    if takes_noise:
        return (images, *labels, noise), (latents, log_density)
    return (images, *labels), (mean, log_variance)


class Parity(_Frozen):
    """How far a graph was, over seeded inputs, from the torch module it came from, or in reduced
    precision from the fp32 graph.

    For `decode` in grey levels, with the standard deviation of the images compared (parity on
    flat images proves little); for `encode` in the outputs' own unit, `images_std` absent.
    """

    graph: GraphName
    precision: Precision
    batches: tuple[int, ...]
    max_difference: float
    mean_difference: float
    images_std: float | None = None
    images: int | None = None
    """Images compared, where they were many: in reduced precision."""


class Provenance(_Frozen):
    """Where the weights come from; `details` and `figures` are each recipe's own."""

    source: str
    details: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)


class Manifest(_Frozen):
    """Everything a server must know before it opens a graph."""

    format_version: Literal[1] = FORMAT_VERSION
    name: Annotated[str, AfterValidator(check_name)]
    version: int = Field(ge=1)
    kind: str
    image: ImageSpec
    latent: LatentSpec
    labels: tuple[str, ...] | None = Field(default=None, min_length=1)
    decode: tuple[GraphSpec, ...] = Field(min_length=1)
    encode: tuple[GraphSpec, ...] = ()
    batches: tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...] = Field(
        default=(1, 4, 16, 64), min_length=1
    )
    parity: tuple[Parity, ...] = ()
    left_out: dict[Precision, str] = Field(default_factory=dict[Precision, str])
    """Precisions that were tried for `decode`, and why they are not here."""
    provenance: Provenance
    licence: str
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if list(self.batches) != sorted(set(self.batches)):
            raise ValueError(f"batches: expected ascending sizes, found {self.batches}")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: expected distinct class names")
        if (PRIOR in self.files) != (self.latent.prior == "gaussian_mixture"):
            raise ValueError(
                f"latent.prior: expected gaussian_mixture with a file {PRIOR} and no other prior, "
                f"found {self.latent.prior} {'with' if PRIOR in self.files else 'without'} it"
            )
        both: dict[GraphName, tuple[GraphSpec, ...]] = {
            "decode": self.decode,
            "encode": self.encode,
        }
        for graph, specs in both.items():
            precisions = [spec.precision for spec in specs]
            if len(set(precisions)) != len(precisions):
                raise ValueError(f"{graph}: expected one graph a precision, found {precisions}")
            if specs and "fp32" not in precisions:
                raise ValueError(f"{graph}: expected an fp32 graph, the reference for all others")
            for spec in specs:
                if spec.file not in self.files:
                    raise ValueError(f"{graph}: {spec.file} has no checksum under files")
                self._check_signature(graph, spec)
        return self

    def _check_signature(self, graph: GraphName, spec: GraphSpec) -> None:
        takes = {tensor.name for tensor in spec.inputs}
        expected_inputs, expected_outputs = border(
            graph,
            self.image,
            self.latent.shape,
            takes_labels=self.labels is not None and (graph == "decode" or "labels" in takes),
            takes_noise=graph == "encode" and "noise" in takes,
        )
        if spec.inputs != expected_inputs or spec.outputs != expected_outputs:
            raise ValueError(
                f"{graph}: {spec.file} declares {_signature(spec.inputs)} -> "
                f"{_signature(spec.outputs)}, expected {_signature(expected_inputs)} -> "
                f"{_signature(expected_outputs)}"
            )

    @property
    def encoder_takes_labels(self) -> bool:
        """Whether there is an encoder, and it is given labels beside the images."""
        return self._encoder_takes("labels")

    @property
    def encoder_takes_noise(self) -> bool:
        """Whether there is an encoder that turns noise from N(0, I) into latents of the posterior
        (a flow): it gives these and their log density, not a mean and a log variance."""
        return self._encoder_takes("noise")

    def _encoder_takes(self, name: str) -> bool:
        return bool(self.encode) and name in {tensor.name for tensor in self.encode[0].inputs}

    @property
    def max_batch(self) -> int:
        """The largest batch the graphs were verified at."""
        return self.batches[-1]


def _signature(tensors: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{t.name} {t.dtype}{['batch', *t.shape]}" for t in tensors)
