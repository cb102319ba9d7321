"""The border of an artifact's graphs as torch modules: uint8 NHWC outside, NCHW floats inside.

Shapes: B batch, C channels, H height, W width; `latent` is the latent's own shape, of any rank.
"""

import copy
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

from runtime.images import ImageSpec


class DecodeModule(nn.Module):
    """Latents float32 [B, *latent] (and labels int64 [B]) -> images uint8 [B, H, W, C]."""

    def __init__(self, decoder: nn.Module, image: ImageSpec) -> None:
        super().__init__()
        self.decoder = frozen_copy(decoder)
        self.low, high = image.value_range
        self.levels_per_unit = 255.0 / (high - self.low)
        # Exporting a wrapper in train mode would put its children back into train mode.
        self.eval()

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        images = self.decoder(latents) if labels is None else self.decoder(latents, labels)
        levels = (images.to(torch.float32) - self.low) * self.levels_per_unit
        # Half to even, and clamped before the cast: engines disagree on casts outside [0, 256).
        return levels.round().clamp(0.0, 255.0).permute(0, 2, 3, 1).to(torch.uint8)


class EncodeModule(nn.Module):
    """Images uint8 [B, H, W, C] (and labels int64 [B]) -> mean, log_variance [B, *latent]; with
    noise float32 [B, *latent] behind these -> latents [B, *latent], log_density [B]."""

    def __init__(self, encoder: nn.Module, image: ImageSpec) -> None:
        super().__init__()
        self.encoder = frozen_copy(encoder)
        self.low, high = image.value_range
        self.units_per_level = (high - self.low) / 255.0
        self.eval()

    def forward(
        self, images: Tensor, second: Tensor | None = None, third: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        # Cast before anything else: TensorRT does nothing else with bytes.
        floats = images.to(torch.float32).permute(0, 3, 1, 2) * self.units_per_level + self.low
        others = (tensor for tensor in (second, third) if tensor is not None)
        one, other = self.encoder(floats, *others)
        return one.to(torch.float32), other.to(torch.float32)


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
