"""Rows: autoencoders of latent diffusion, by diffusers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.networks.row import Arrays, Reference, Row, Wrap, floats, levels
from export.torchvision_operators import declare_operators

_SD = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
_FLUX = _SD | {
    "latent_channels": 16,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_VQ_F4 = {
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [128, 256, 512],
    "layers_per_block": 2,
    "latent_channels": 3,
    "num_vq_embeddings": 8192,
    "vq_embed_dim": 3,
}
SIZES = ((256, 256), (384, 512))


def _class(name: str) -> Any:
    declare_operators()
    import diffusers

    return getattr(diffusers, name)


def _written(
    name: str, config: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> Callable[[Path], Sequence[str]]:
    def write(folder: Path) -> Sequence[str]:
        torch.manual_seed(0)
        model = _class(name)(**config)
        _widen(model)
        model.to(dtype).save_pretrained(folder / "vae")
        return ("diffusers", str(folder / "vae"), "--name", "network")

    return write


def _widen(model: Any) -> None:
    """New networks give nearly flat grey: their images should be of all levels."""
    last = [layer for layer in model.decoder.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    last.weight.data *= 8
    if hasattr(model, "quantize"):  # its entries are all but 0, and rounding would be seen
        torch.nn.init.normal_(model.quantize.embedding.weight)


def _reference(name: str) -> Callable[[Path, Wrap], Reference]:
    def read(folder: Path, wrap: Wrap) -> Reference:
        model = _class(name).from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
        config = model.config
        factor = float(config.scaling_factor)
        shift = float(config.get("shift_factor") or 0.0)
        decode, encode = wrap(model.decode), wrap(model.encode)

        @torch.inference_mode()
        def run(graph: str, inputs: Arrays) -> Arrays:
            if graph == "decode":
                latents = torch.from_numpy(inputs["latents"]) / factor + shift
                return {"images": levels(decode(latents).sample.numpy())}
            images = torch.from_numpy(floats(inputs["images"]))
            return _encoded(model, encode(images), factor, shift)

        return run

    return read


def _encoded(model: Any, made: Any, factor: float, shift: float) -> Arrays:
    if hasattr(made, "latent_dist"):
        normal = made.latent_dist
        mean = (normal.mean - shift) * factor
        return {
            "mean": mean.numpy(),
            "log_variance": (normal.logvar + 2 * torch.tensor(abs(factor)).log()).numpy(),
        }
    if hasattr(made, "latents") and hasattr(model, "quantize"):
        # By products, its default for many entries, `cdist` finds some that are not the nearest.
        exact = partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
        with mock.patch("torch.cdist", exact):
            entries, _, (_, _, codes) = model.quantize(made.latents)
        shape = (len(entries), *entries.shape[2:])
        latents = ((entries - shift) * factor).numpy()
        return {"latents": latents, "codes": codes.reshape(shape).numpy()}
    return {"latents": ((made.latents - shift) * factor).numpy()}


def rows() -> list[Row]:
    """AutoencoderKL as of Stable Diffusion 1.5 and of FLUX, AutoencoderTiny, VQModel (f4)."""
    bf16 = torch.bfloat16
    return [
        Row(
            "AutoencoderKL (SD 1.5)",
            _written("AutoencoderKL", _SD),
            _reference("AutoencoderKL"),
            SIZES,
        ),
        Row(
            "AutoencoderKL (FLUX), bf16",
            _written("AutoencoderKL", _FLUX, bf16),
            _reference("AutoencoderKL"),
            SIZES,
        ),
        Row(
            "AutoencoderTiny",
            _written("AutoencoderTiny", {}),
            _reference("AutoencoderTiny"),
            SIZES,
        ),
        Row("VQModel (f4)", _written("VQModel", _VQ_F4), _reference("VQModel"), SIZES),
    ]
