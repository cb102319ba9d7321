"""Which tensor of an ONNX file is which of a graph's, and in which form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from onnx import TensorProto

from export.onnx_files.file import OnnxFile, Port
from export.onnx_files.tensors import FLOATS, INTEGERS, UINT8, Bound, Pixels
from runtime.artifact.tensors import SIGNATURES, Role
from runtime.errors import ExportError

_KINDS: Mapping[Role, tuple[int, ...]] = {
    "labels": INTEGERS,
    "codes": INTEGERS,
    "images": (*FLOATS, UINT8),
}
_SCALARS: tuple[Role, ...] = ("labels", "truncation", "log_density")


@dataclass(frozen=True)
class Meaning:
    """What a file does not say of itself. `value_range`: its floats for black and white; `mean` and
    `std`: the normalisation of the images that it takes, a channel each, in that range; names of
    inputs. `latent`, `image` (H, W, C) and `rows` (of inputs by name): shapes at the default size,
    where the file leaves them open."""

    layout: Literal["nchw", "nhwc"] | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    labels: bool = False
    mask: str | None = None
    truncation: str | None = None
    noise: Sequence[str] = ()
    latent: tuple[int, ...] | None = None
    image: tuple[int, int, int] | None = None
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


class Binding:
    """The tensors of one file in the order of a graph's signature. The methods raise ExportError
    where file and meaning do not fit."""

    def __init__(self, graph: str, file: OnnxFile, meaning: Meaning) -> None:
        self._graph, self._file, self._meaning = graph, file, meaning

    def inputs(self) -> list[Bound]:
        (role, port), *rest = self._input_roles()
        main = self._main(role, port)
        return [main, *(self._other(role, port, main) for role, port in rest)]

    def outputs(self, inputs: Sequence[Bound], rows: Sequence[tuple[int, ...]]) -> list[Bound]:
        """`rows`: the shapes of the file's outputs for one row."""
        roles = self._output_roles(inputs)
        return [
            self._output(role, port, row, inputs[0])
            for role, port, row in zip(roles, self._file.outputs, rows, strict=True)
        ]

    def _input_roles(self) -> list[tuple[Role, Port]]:
        meaning, left = self._meaning, {port.name: port for port in self._file.inputs}
        mask = left.pop(meaning.mask, None) if meaning.mask else None
        truncation = left.pop(meaning.truncation, None) if meaning.truncation else None
        noise = [left.pop(name) for name in meaning.noise if name in left]
        whole = [port for port in left.values() if port.kind in INTEGERS]
        if len(whole) == 1 and meaning.labels:
            del left[whole[0].name]
        elif whole or (meaning.labels and self._graph != "encode"):
            raise self._refused(
                "one input of class indices where there are --labels, and none without"
            )
        if len(left) != 1:
            raise self._refused(
                "one input besides those that are named (--noise, --mask, --truncation) and "
                "class indices (--labels)"
            )
        if mask is not None and self._graph != "translate":
            raise self._refused("no --mask, which a translator alone takes (--translates)")
        main: Role = "latents" if self._graph == "decode" else "images"
        found: list[tuple[Role, Port | None]] = [(main, next(iter(left.values())))]
        found.append(("mask", mask))
        found.extend(("labels", port) for port in whole)
        found.append(("truncation", truncation))
        found.extend(("noise", port) for port in noise)
        return [(role, port) for role, port in found if port is not None]

    def _output_roles(self, inputs: Sequence[Bound]) -> tuple[Role, ...]:
        found, encodes = self._file.outputs, self._graph == "encode"
        drawn = encodes and any(bound.role == "noise" for bound in inputs)
        coded = encodes and found[-1].kind in INTEGERS
        # Files that give volumes are not imported.
        known = [roles for roles in SIGNATURES[self._graph].gives if "volume" not in roles]
        for roles in known:
            fits = drawn == ("log_density" in roles) and coded == ("codes" in roles)
            if fits and len(roles) == len(found):
                return roles
        listed = " or ".join(f"({', '.join(roles)})" for roles in known)
        raise self._refused(
            f"outputs {listed}: choose them in this order (--output, --encoder-output)"
        )

    def _main(self, role: Role, port: Port) -> Bound:
        self._check_kind(role, port)
        meaning = self._meaning
        if port.shape is not None and len(port.shape) < 2:
            raise self._refused(f"a batch axis before those of the {role}")
        if role == "latents":
            return Bound(port, role, meaning.latent or self._row(port, "--latent"))
        image = meaning.image
        planes = self._planes(port, (port.shape or (None,))[1:], image and image[2])
        row = (image[2], *image[:2]) if image and planes else image
        bound = Bound(port, role, row or self._row(port, "--image"), planes)
        channels = bound.image[2]
        if meaning.mean and len(meaning.mean) != channels:
            raise self._refused(f"a --mean for each of the {channels} channels")
        return self._with_pixels(bound, meaning.mean, meaning.std)

    def _other(self, role: Role, port: Port, main: Bound) -> Bound:
        self._check_kind(role, port)
        if role == "mask":
            row = (1, *main.image[:2]) if main.planes else (*main.image[:2], 1)
            pixels = Pixels.of((0.0, 1.0), planes=main.planes)
            return Bound(port, role, row, main.planes, pixels=pixels)
        if role in _SCALARS:
            column = port.shape is not None and len(port.shape) == 2
            return Bound(port, role, (1,) if column else (), column=column)
        return Bound(port, role, self._row(port, "--noise NAME=SHAPE"))

    def _output(self, role: Role, port: Port, row: tuple[int, ...], main: Bound) -> Bound:
        self._check_kind(role, port)
        if role != "images":
            return Bound(port, role, row, column=role in _SCALARS and row == (1,))
        decodes, image = main.role == "latents", self._meaning.image
        planes = self._planes(
            port, row, image[2] if image and decodes else None, None if decodes else main.planes
        )
        return self._with_pixels(Bound(port, role, row, planes))

    def _with_pixels(
        self, bound: Bound, mean: Sequence[float] = (), std: Sequence[float] = ()
    ) -> Bound:
        pixels = Pixels.of(self._meaning.value_range, mean, std, planes=bound.planes)
        return Bound(bound.port, bound.role, bound.row, bound.planes, pixels=pixels)

    def _planes(
        self,
        port: Port,
        row: Sequence[int | None],
        channels: int | None,
        otherwise: bool | None = None,
    ) -> bool:
        """Whether images are [B, C, H, W]; `otherwise` where the shape does not say."""
        if self._meaning.layout is not None:
            return self._meaning.layout == "nchw"
        if len(row) == 3:
            for likely in ((channels,) if channels else (1, 3), (1, 2, 3, 4)):
                if (row[0] in likely) != (row[2] in likely):
                    return row[0] in likely
            if otherwise is not None:
                return otherwise
        lengths = ("?" if length is None else str(length) for length in ("B", *row))
        found = f"[{', '.join(lengths)}]"
        remedy = "say which (--layout nchw or nhwc)"
        if port.shape is None:
            found = "none"
        elif len(row) != 3:
            remedy = "end the file with a Reshape to one of these"
        raise ExportError(
            f"{self._graph}: {self._file.path}: {port.name!r}: expected images [B, C, H, W] or "
            f"[B, H, W, C], found {found}: {remedy}"
        )

    def _row(self, port: Port, flag: str) -> tuple[int, ...]:
        row = self._meaning.rows.get(port.name, port.row)
        if row is None:
            raise ExportError(
                f"{self._graph}: {self._file.path}: expected a fixed shape, found {port}: state it "
                f"({flag})"
            )
        return row

    def _check_kind(self, role: Role, port: Port) -> None:
        kinds = _KINDS.get(role, FLOATS)
        if port.kind not in kinds:
            known = " or ".join(TensorProto.DataType.Name(kind).lower() for kind in kinds)
            raise self._refused(f"{known} for {role.replace('_', ' ')}, {port.name!r}")
        if port.kind == UINT8 and (self._meaning.value_range != (0.0, 255.0) or self._meaning.mean):
            raise self._refused(f"--value-range 0 255 alone, as {port.name!r} holds bytes")

    def _refused(self, expected: str) -> ExportError:
        found = self._file.described()
        return ExportError(f"{self._graph}: {self._file.path}: expected {expected}; found {found}")
