"""A user's module as a graph of the artifact: uint8 NHWC (or NDHWC) outside, NCHW floats inside.

Shapes: B batch, C channels, H height, W width; `latent` is the latent's own shape, of any rank.
"""

import torch
from torch import Tensor, nn

from export.causes import described_error
from export.modules.frozen import frozen_copy
from export.modules.outputs import outputs_of, wrong_outputs
from export.options import ExportOptions
from runtime.artifact.size import evaluate
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.errors import ExportError
from runtime.sampling.posterior import LOG_VARIANCE


class GraphModule(nn.Module):
    """A copy of a module, its inputs and outputs those of a graph's signature.

    Images become floats [B, C, H, W] in `value_range` and back, a mask becomes floats [B, 1, H, W]
    in [0, 1]; a log variance is kept within LOG_VARIANCE; everything else passes as it is.
    """

    def __init__(
        self, module: nn.Module, spec: GraphSpec, value_range: tuple[float, float]
    ) -> None:
        super().__init__()
        self.module = frozen_copy(module)
        self.inputs, self.outputs = spec.inputs, spec.outputs
        self.low, high = value_range
        self.span = high - self.low
        # Exporting a wrapper in train mode would put its children back into train mode.
        self.eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = [self.given(t, spec) for t, spec in zip(tensors, self.inputs, strict=True)]
        made = outputs_of(self.module(*given), len(self.outputs))
        return tuple(self._made(t, spec) for t, spec in zip(made, self.outputs, strict=True))

    def given(self, tensor: Tensor, spec: TensorSpec) -> Tensor:
        """An input of the graph as the module takes it."""
        if spec.dtype != "uint8":
            return tensor
        # Cast before anything else: TensorRT does nothing else with bytes.
        planes = tensor.to(torch.float32).permute(0, 3, 1, 2)
        if spec.role == "mask":
            return planes * (1.0 / 255.0)
        return planes * (self.span / 255.0) + self.low

    def _made(self, tensor: Tensor, spec: TensorSpec) -> Tensor:
        if spec.dtype == "int64":
            return tensor.to(torch.int64)
        floats = tensor.to(torch.float32)
        if spec.role == "log_variance":
            return floats.clamp(*LOG_VARIANCE)
        if spec.dtype != "uint8":
            return floats
        levels = (floats - self.low) * (255.0 / self.span)
        # Half to even, and clamped before the cast: engines disagree on casts outside [0, 256).
        channels_last = (0, *range(2, 1 + len(spec.shape)), 1)
        return levels.round().clamp(0.0, 255.0).permute(channels_last).to(torch.uint8)


def translated_shape(module: nn.Module, options: ExportOptions) -> tuple[int, int, int]:
    """The (C, H, W) of the images that a translator makes of the smallest of the options."""
    height, width = options.smallest_image
    given = [torch.zeros(1, options.image.channels, height, width)]
    if options.takes_mask:
        given.append(torch.zeros(1, 1, height, width))
    if options.labels is not None:
        given.append(torch.zeros(1, dtype=torch.int64))
    if options.takes_truncation:
        given.append(torch.ones(1))
    size = tuple((name, axis.min) for name, axis in options.axes.items())
    given += [torch.zeros(1, *evaluate(shape, size)) for shape in options.noise]
    copied = frozen_copy(module)
    shapes = [list(tensor.shape) for tensor in given]
    try:
        with torch.inference_mode():
            outputs = outputs_of(copied(*given), 1)
    except Exception as error:  # whatever a user's forward raises
        raise ExportError(
            f"translate: expected images [B, C, H, W] for inputs {shapes}, found "
            f"{described_error(error)}"
        ) from error
    wrong = wrong_outputs("translate", outputs, ["images"])
    if wrong:
        raise ExportError(wrong)
    shape = tuple(outputs[0].shape)
    if len(shape) != 4:
        raise ExportError(
            f"translate: expected images [B, C, H, W] for inputs {shapes}, found {list(shape)}"
        )
    return shape[1:]
