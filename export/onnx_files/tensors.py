"""What the tensors of an ONNX file mean, and the same conversions in numpy that our nodes make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.onnx_files.file import Port
from runtime.artifact.tensors import Role, TensorSpec
from runtime.sampling.posterior import LOG_VARIANCE


@dataclass(frozen=True)
class Pixels:
    """The floats of images: black is `low`, white `low + span`. Images that are given are then
    normalised: less the mean of their channel, divided by its deviation; `scale` and `offset` make
    grey levels into these, shaped for the layout."""

    low: float
    span: float
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        value_range: tuple[float, float],
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        *,
        planes: bool,
    ) -> "Pixels":
        low, high = value_range
        means, deviations = np.array(mean or 0.0), np.array(std or 1.0)
        scale = (high - low) / 255.0 / deviations
        offset = (low - means) / deviations
        shape = (-1, 1, 1) if planes else (-1,)
        scale, offset = (
            (array.reshape(shape) if array.ndim else array).astype(np.float32)
            for array in (scale, offset)
        )
        return cls(low, high - low, scale, offset)


@dataclass(frozen=True)
class Bound:
    """A tensor of the file, and how it differs from the graph's. `row`: the shape of one, at the
    default size; `planes`: it is [B, C, H, W]; `column`: [B, 1] where the graph has [B]; `pixels`:
    of images and masks in floats."""

    port: Port
    role: Role
    row: tuple[int, ...]
    planes: bool = False
    column: bool = False
    pixels: Pixels | None = None

    @property
    def image(self) -> tuple[int, int, int]:
        """The (H, W, C) of images."""
        first, second, third = self.row
        return (second, third, first) if self.planes else (first, second, third)

    def given(self, array: NDArray[Any]) -> NDArray[Any]:
        """The graph's input as the file takes it."""
        if self.role in ("images", "mask"):
            array = array.transpose(0, 3, 1, 2) if self.planes else array
            if self.pixels is not None:
                array = array.astype(np.float32) * self.pixels.scale + self.pixels.offset
        array = array[:, None] if self.column else array
        dtype = helper.tensor_dtype_to_np_dtype(self.port.kind)
        return np.ascontiguousarray(array, dtype)

    def floats(self, array: NDArray[Any]) -> NDArray[Any]:
        """An output as `export.sources.Network.floats` gives it."""
        array = array[:, 0] if self.column else array
        if self.role == "codes":
            return array
        floats = array.astype(np.float32)
        return floats.transpose(0, 3, 1, 2) if self.role == "images" and not self.planes else floats

    def made(self, array: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
        """The graph's output from the file's."""
        floats = self.floats(array)
        if self.role == "log_variance":
            return floats.clip(*LOG_VARIANCE)
        if self.pixels is None:
            return floats.astype(tensor.dtype)
        levels = (floats - np.float32(self.pixels.low)) * np.float32(255.0 / self.pixels.span)
        return levels.round().clip(0.0, 255.0).transpose(0, 2, 3, 1).astype(np.uint8)


FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
INTEGERS = (TensorProto.INT64, TensorProto.INT32)
UINT8 = TensorProto.UINT8
