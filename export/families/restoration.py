"""Networks as spandrel knows them -> modules that are exported with free sizes.

Shapes: B batch, C channels, H height, W width; `s` the network's scale.
"""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from spandrel import ImageModelDescriptor, MaskedImageModelDescriptor, ModelDescriptor
from torch import Tensor, nn

from export.families.fourier import RealFourierUnit
from export.modules.once import once, one_call
from runtime.errors import ExportError

_SAME = 1e-3
"""A quarter of a grey level: what replaced parts may change."""


class Restorer(nn.Module):
    """Images [B, C, H, W] in [0, 1] (and a mask [B, 1, H, W]) -> images [B, C', s H, s W].

    It does what spandrel's descriptor does, but for the padding to a multiple, which is the
    request's part, and with those parts replaced that would fix the batch or the size.
    """

    def __init__(self, descriptor: ModelDescriptor) -> None:
        super().__init__()
        self.model = descriptor.model.eval()
        self.call: Callable[..., Tensor] = _CALLS.get(
            descriptor.architecture.id,
            descriptor._call_fn,  # pyright: ignore[reportPrivateUsage]
        )
        self.is_masked = isinstance(descriptor, MaskedImageModelDescriptor)

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.is_masked:
            images, mask = inputs
            inputs = (images, (mask >= 0.5).float())  # spandrel's masks are 0 or 1
        with _free_windows(), one_call():
            return self.call(self.model, *inputs).clamp(0.0, 1.0)


def restorer(descriptor: ModelDescriptor, side: int) -> Restorer:
    """The module of a descriptor, compared with it on an image of side x side.

    ExportError where it makes no single image, or where the replaced parts change it.
    """
    if not isinstance(descriptor, ImageModelDescriptor | MaskedImageModelDescriptor):
        raise ExportError(
            f"{descriptor.architecture.id}: expected a network that makes one image of one, found "
            f"spandrel's {type(descriptor).__name__}"
        )
    shape = (1, descriptor.input_channels, side, side)
    generator = torch.Generator().manual_seed(0)
    given = [torch.rand(shape, generator=generator)]
    if isinstance(descriptor, MaskedImageModelDescriptor):
        given.append((torch.rand(1, 1, side, side, generator=generator) > 0.5).float())
    with torch.inference_mode():
        descriptor.model.eval()
        expected = descriptor(*given)
    _simplify(descriptor.model)
    module = Restorer(descriptor)
    with torch.inference_mode():
        difference = (module(*given) - expected).abs().max().item()
    if not difference <= _SAME:
        raise ExportError(
            f"{descriptor.architecture.id}: the parts that an export replaces change its images "
            f"by {255 * difference:.3g} grey levels: it cannot be exported"
        )
    return module


def _simplify(model: nn.Module) -> None:
    """Replace what ONNX has no operators for, and take work on weights out of `forward`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "FourierUnit":
                setattr(module, name, RealFourierUnit(child))
        update: Any = getattr(module, "update_params", None)
        if callable(update):  # SPAN makes one convolution of three, anew at each call
            update()
            module.update_params = _nothing  # pyright: ignore
        _free_masks(module)


def _nothing() -> None:
    pass


def _free_masks(module: Any) -> None:
    """Masks of shifted windows as functions of the size: spandrel's networks fill nine parts of an
    image, or take the mask of the size that they were trained at."""
    if not hasattr(module, "calculate_mask") or not isinstance(module.shift_size, int):
        return
    module.input_resolution = (-1, -1)  # no size is the one of training
    module.calculate_mask = partial(_window_mask, module.window_size, module.shift_size)


def _window_mask(window: int, shift: int, size: tuple[int, int], **_: Any) -> Tensor:
    return _mask_of(window, shift, *size)


@once
def _mask_of(window: int, shift: int, height: int, width: int) -> Tensor:
    """[windows, window^2, window^2]: 0 between places that were neighbours before an image was
    shifted around its border, else -100."""
    rows, columns = (
        (places >= length - window).long() + (places >= length - shift).long()
        for length in (height, width)
        for places in [torch.arange(length)]
    )
    parts = (3 * rows[:, None] + columns).view(height // window, window, width // window, window)
    inside = parts.permute(0, 2, 1, 3).reshape(-1, window * window)
    return torch.where(inside[:, None] == inside[:, :, None], 0.0, -100.0)


@contextmanager
def _free_windows() -> Generator[None]:
    """Inside, windows are put together without counting the batch: the functions that spandrel's
    networks have for it divide, round and convert to a Python integer."""
    changed: list[tuple[Any, str, Any]] = []
    for name, module in list(sys.modules.items()):
        if name.startswith("spandrel.architectures."):
            for function, free in _WINDOWS.items():
                if hasattr(module, function):
                    changed.append((module, function, getattr(module, function)))
                    setattr(module, function, free)
    try:
        yield
    finally:
        for module, function, original in changed:
            setattr(module, function, original)


def _window_reverse(
    windows: Tensor, size: int | tuple[int, int], height: Any, width: Any = None
) -> Tensor:
    """Windows [B * n, size, size, C] -> [B, H, W, C]; height and width may come as a pair."""
    height, width = height if width is None else (height, width)
    down, across = (size, size) if isinstance(size, int) else size
    return _joined(windows, down, across, height, width)


def _joined(windows: Tensor, down: int, across: int, height: int, width: int) -> Tensor:
    """Windows [B * n, down * across, C], or their rows apart -> [B, H, W, C]."""
    channels = windows.shape[-1]
    grid = windows.view(-1, height // down, width // across, down, across, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, channels)


_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "window_reverse": _window_reverse,
    "windows2img": _joined,
}


def _with_noise_level(model: Any, images: Tensor) -> Tensor:
    """As spandrel calls networks that take a map of the noise, for any batch."""
    if getattr(model, "mode", "FDnCNN") != "FDnCNN":
        return model(images)
    return model(torch.cat([images, torch.full_like(images[:, :1], 15 / 255)], dim=1))


_CALLS: dict[str, Callable[..., Tensor]] = {
    "DRUNet": _with_noise_level,
    "DnCNN": _with_noise_level,
}
