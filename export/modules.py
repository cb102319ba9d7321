"""A user's module as a graph of the artifact: uint8 NHWC outside, NCHW floats inside.

Shapes: B batch, C channels, H height, W width; `latent` is the latent's own shape, of any rank.
"""

import copy
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

from export.options import ExportOptions
from runtime.artifact.graphs import GraphSpec, TensorSpec
from runtime.artifact.size import evaluate
from runtime.errors import ExportError


class GraphModule(nn.Module):
    """A copy of a module, its inputs and outputs those of a graph's signature.

    Images become floats [B, C, H, W] in `value_range` and back, a mask becomes floats [B, 1, H, W]
    in [0, 1]; everything else passes as it is.
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
        made = outputs_of(self.module(*given))
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
        floats = tensor.to(torch.float32)
        if spec.dtype != "uint8":
            return floats
        levels = (floats - self.low) * (255.0 / self.span)
        # Half to even, and clamped before the cast: engines disagree on casts outside [0, 256).
        return levels.round().clamp(0.0, 255.0).permute(0, 2, 3, 1).to(torch.uint8)


def outputs_of(made: Any) -> tuple[Any, ...]:
    """What a module gave, as a tuple: one tensor, several, or a `ModelOutput` of one."""
    return tuple(made) if isinstance(made, tuple | list) else (made,)


def translated_shape(module: nn.Module, options: ExportOptions) -> tuple[int, int, int]:
    """The (C, H, W) of the images that a translator makes of those of the options."""
    image = options.image
    given = [torch.zeros(1, image.channels, image.height, image.width)]
    if options.takes_mask:
        given.append(torch.zeros(1, 1, image.height, image.width))
    if options.labels is not None:
        given.append(torch.zeros(1, dtype=torch.int64))
    if options.takes_truncation:
        given.append(torch.ones(1))
    size = tuple((name, axis.default) for name, axis in options.axes.items())
    given += [torch.zeros(1, *evaluate(shape, size)) for shape in options.noise]
    try:
        with torch.inference_mode():
            (made,) = outputs_of(frozen_copy(module)(*given))
        _, channels, height, width = made.shape
    except Exception as error:  # whatever a user's forward raises, or gives
        shapes = [list(tensor.shape) for tensor in given]
        raise ExportError(
            f"translate: expected images [B, C, H, W] for inputs {shapes}, found "
            f"{type(error).__name__}: {error}"
        ) from error
    return channels, height, width


def frozen_copy(module: nn.Module) -> nn.Module:
    """A float32 copy on the CPU in eval mode, without gradients and reparametrisations.

    Spectral and weight norm become plain weights. `module` itself stays as it is.
    """
    # Older spectral and weight norm keep the weight as a tensor with history, which cannot be
    # copied as it is.
    tensors = [value for m in module.modules() for value in vars(m).values()]
    memo = {id(t): t.detach().clone() for t in tensors if isinstance(t, Tensor) and not t.is_leaf}
    # Eval mode first: in train mode a spectral norm takes one more power iteration when removed.
    frozen = copy.deepcopy(module, memo).cpu().eval()
    for child in frozen.modules():
        if parametrize.is_parametrized(child):
            _unparametrize(child)
        for remove in (remove_spectral_norm, remove_weight_norm):
            with suppress(ValueError):  # raised where there is none
                remove(child)
    return frozen.float().requires_grad_(False)


def _unparametrize(module: nn.Module) -> None:
    # torch's remove_parametrizations edits the module's class, which a copy shares with its
    # original: the caller's module would lose its weight. Leave that class instead.
    names = list(module.parametrizations)  # pyright: ignore[reportArgumentType]
    weights = {name: getattr(module, name).detach() for name in names}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(weight))
