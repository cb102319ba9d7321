"""diffusers' autoencoders as modules for export, with the latents that pipelines exchange.

Shapes: B batch, C channels of a latent, H and W of an image, h and w of a latent.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from export.modules.attention import attention
from runtime.artifact.tensors import Role
from runtime.errors import ExportError

Autoencoder = AutoencoderKL | AutoencoderTiny | VQModel

CLASSES: dict[str, type[Autoencoder]] = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
    "VQModel": VQModel,
}


@dataclass(frozen=True)
class Scale:
    """Pipelines exchange (z - shift) * factor of the latents z that the network knows.

    Numbers, or one a channel: `latents_mean` and `latents_std / scaling_factor` of a config.
    """

    scaling: float = 1.0
    shift: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def factors(self) -> tuple[Tensor, Tensor]:
        """shift and factor, each [1] or [C, 1, 1]."""
        if self.mean is None or self.std is None:
            return torch.tensor([self.shift]), torch.tensor([self.scaling])
        shift, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return shift, self.scaling / std

    def details(self) -> dict[str, Any]:
        """For the manifest: what is inside the graphs."""
        text = f"scaled by {self.scaling:g}, shifted by {self.shift:g}"
        found: dict[str, Any] = {"scaling_factor": self.scaling, "shift_factor": self.shift}
        if self.mean is not None and self.std is not None:
            text = f"scaled by {self.scaling:g} / latents_std, shifted by latents_mean"
            found |= {"latents_mean": list(self.mean), "latents_std": list(self.std)}
        return {"latents": text, **found}


def scale_of(model: Autoencoder) -> Scale:
    """What the pipelines of a network do to its latents.

    AutoencoderKL: `StableDiffusionXLPipeline` and its image-to-image twin where there are means and
    deviations of the latents, else `StableDiffusion3Pipeline`, of which Stable Diffusion's is the
    case without a shift. AutoencoderTiny takes its place in these. VQModel: `LDMPipeline` divides
    by the scaling factor; Kandinsky's (spatial norm) and aMUSEd's (codes) do not.
    """
    config: Mapping[str, Any] = model.config
    if isinstance(model, VQModel):
        plain = config["norm_type"] == "spatial" or config["lookup_from_codebook"]
        return Scale() if plain else Scale(_number(config, "scaling_factor"))
    scaling, shift = _number(config, "scaling_factor"), _number(config, "shift_factor")
    channels = int(config["latent_channels"])
    mean, std = (_numbers(config, key, channels) for key in ("latents_mean", "latents_std"))
    if (mean is None) != (std is None) or (mean is not None and shift):
        raise ExportError(
            "config.json: expected both of latents_mean and latents_std and no shift_factor, or "
            f"neither, found latents_mean {mean}, latents_std {std}, shift_factor {shift:g}"
        )
    return Scale(scaling, shift, mean, std)


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    value = 0.0 if value is None and key == "shift_factor" else value
    if (
        isinstance(value, int | float)
        and math.isfinite(value)
        and (value or key != "scaling_factor")
    ):
        return float(value)
    raise ExportError(f"config.json: {key}: expected a number, a factor not 0, found {value!r}")


def _numbers(config: Mapping[str, Any], key: str, channels: int) -> tuple[float, ...] | None:
    values = config.get(key)
    if values is None:
        return None
    numbers = isinstance(values, list | tuple) and all(isinstance(v, int | float) for v in values)
    if not numbers or len(values) != channels or (key == "latents_std" and min(values) <= 0):
        raise ExportError(f"config.json: {key}: expected {channels} numbers, found {values!r:.80}")
    return tuple(float(value) for value in values)


def downscaling(model: Autoencoder) -> int:
    """How many times larger an image is than its latent, along each side: 2^k."""
    tiny = isinstance(model, AutoencoderTiny)
    blocks = model.config["encoder_block_out_channels" if tiny else "block_out_channels"]
    return 2 ** (len(blocks) - 1)


def latent_channels(model: Autoencoder) -> int:
    """Of the latents outside the network."""
    if isinstance(model, VQModel):
        return int(model.quantize.vq_embed_dim)
    return int(model.config["latent_channels"])


class Halves(NamedTuple):
    """An autoencoder's decoder, its encoder, and what the encoder gives."""

    decoder: nn.Module
    encoder: nn.Module
    gives: tuple[Role, ...]


def halves(model: Autoencoder) -> Halves:
    """The modules to export, between images and the latents that pipelines exchange."""
    _make_exportable(model)
    shift, factor = scale_of(model).factors()
    if isinstance(model, AutoencoderKL):
        decoder = nn.Sequential(model.post_quant_conv or nn.Identity(), model.decoder)
        encoder = nn.Sequential(model.encoder, model.quant_conv or nn.Identity())
        normal = _NormalEncoder(encoder, shift, factor)
        return Halves(_Decoder(decoder, shift, factor), normal, ("mean", "log_variance"))
    if isinstance(model, AutoencoderTiny):
        encoder = _Encoder(model.encoder, shift, factor)
        return Halves(_Decoder(model.decoder, shift, factor), encoder, ("latents",))
    vectors = _VectorDecoder(model, shift, factor), _VectorEncoder(model, shift, factor)
    return Halves(*vectors, ("latents", "codes"))


class _Scaled(nn.Module):
    """Between the network's latents and those outside."""

    def __init__(self, shift: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.shift = nn.Buffer(shift)
        self.factor = nn.Buffer(factor)

    def inside(self, latents: Tensor) -> Tensor:
        return latents / self.factor + self.shift

    def outside(self, z: Tensor) -> Tensor:
        return (z - self.shift) * self.factor


class _Decoder(_Scaled):
    """Latents [B, C, h, w] -> images [B, c, H, W]."""

    def __init__(self, network: nn.Module, shift: Tensor, factor: Tensor) -> None:
        super().__init__(shift, factor)
        self.network = network

    def forward(self, latents: Tensor) -> Tensor:
        return self.network(self.inside(latents))


class _Encoder(_Scaled):
    """Images [B, c, H, W] -> latents [B, C, h, w]."""

    def __init__(self, network: nn.Module, shift: Tensor, factor: Tensor) -> None:
        super().__init__(shift, factor)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.outside(self.network(images))


class _NormalEncoder(_Encoder):
    """Images [B, c, H, W] -> mean and log variance of the latents outside, each [B, C, h, w]."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        mean, log_variance = self.network(images).chunk(2, dim=1)
        # `DiagonalGaussianDistribution` bounds it before pipelines scale.
        log_variance = log_variance.clamp(-30.0, 20.0) + 2 * self.factor.abs().log()
        return self.outside(mean), log_variance


class _Codebook(nn.Module):
    """`VectorQuantizer`: the nearest of the entries e, by |e|^2 / 2 - z e, which keeps more of
    float32 than whole distances do and takes one product."""

    def __init__(self, entries: Tensor) -> None:
        super().__init__()
        self.entries = nn.Buffer(entries.detach().float())  # [codes, C]
        self.halves = nn.Buffer(self.entries.square().sum(dim=1) / 2)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [B, C, h, w] -> the entries [B, C, h, w] and their numbers [B, h, w]."""
        scores = self.halves - z.permute(0, 2, 3, 1) @ self.entries.T
        codes = scores.argmin(dim=-1)
        return F.embedding(codes, self.entries).permute(0, 3, 1, 2), codes


class _VectorDecoder(_Scaled):
    """Latents [B, C, h, w] -> images [B, c, H, W]. Latents become entries of the codebook first,
    but for networks with spatial norm, to which Kandinsky's pipelines give them as they are."""

    def __init__(self, model: VQModel, shift: Tensor, factor: Tensor) -> None:
        super().__init__(shift, factor)
        self.is_spatial = model.config["norm_type"] == "spatial"
        self.codebook = None if self.is_spatial else _Codebook(model.quantize.embedding.weight)
        self.conv, self.decoder = model.post_quant_conv, model.decoder

    def forward(self, latents: Tensor) -> Tensor:
        z = self.inside(latents)
        if self.codebook is not None:
            z = self.codebook(z)[0]
        return self.decoder(self.conv(z), z if self.is_spatial else None)


class _VectorEncoder(_Scaled):
    """Images [B, c, H, W] -> entries of the codebook [B, C, h, w] and their numbers [B, h, w]."""

    def __init__(self, model: VQModel, shift: Tensor, factor: Tensor) -> None:
        super().__init__(shift, factor)
        self.network = nn.Sequential(model.encoder, model.quant_conv)
        self.codebook = _Codebook(model.quantize.embedding.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        z, codes = self.codebook(self.network(images))
        return self.outside(z), codes


class _Doubled(nn.Module):
    """`Upsample2D` without its branches by the batch, which would become conditions on it."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _Attention(nn.Module):
    """diffusers' `Attention` of a picture [B, C, h, w] with itself, `AttnProcessor2_0`."""

    def __init__(self, layers: Attention) -> None:
        super().__init__()
        self.layers: Any = layers

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        layers = self.layers
        normed = x if layers.spatial_norm is None else layers.spatial_norm(x, temb)
        normed = normed.flatten(2)
        if layers.group_norm is not None:
            normed = layers.group_norm(normed)
        rows = normed.transpose(1, 2)  # [B, h w, C]
        q, k, v = (
            project(rows).unflatten(-1, (layers.heads, -1)).transpose(1, 2)
            for project in (layers.to_q, layers.to_k, layers.to_v)
        )
        mixed = layers.to_out[0](attention(q, k, v).transpose(1, 2).flatten(2))
        return (mixed.transpose(1, 2).reshape(x.shape) + x) / layers.rescale_output_factor


def _make_exportable(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Upsample2D) and child.use_conv and child.norm is None:
                setattr(parent, name, _Doubled(child.conv))  # pyright: ignore[reportArgumentType]
            elif isinstance(child, Attention) and child.residual_connection:
                parent.register_module(name, _Attention(child))
