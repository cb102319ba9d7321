"""An autoencoder of diffusers, exported, served, and asked by diffusers' own remote functions: what
comes back is what the autoencoder itself gives."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bento.repository.models import Models
from bento.settings import Settings
from tests.bento.support import listening
from tests.export.test_diffusers import (
    BLOCKS,
    AutoencoderKL,
    exported,
    floats_of,
    levels,
    pictures,
    saved,
)

FACTORS = {"scaling_factor": 0.3611, "shift_factor": 0.1159}


def test_remote_functions_give_what_the_autoencoder_gives(tmp_path: Path) -> None:
    from diffusers.utils.remote_utils import remote_decode, remote_encode

    # Without attention: torch takes a third of the time to convert it.
    config: dict[str, Any] = {
        **BLOCKS, **FACTORS, "latent_channels": 16, "mid_block_add_attention": False
    }  # fmt: skip
    vae = saved(tmp_path / "vae", AutoencoderKL, **config)
    exported(tmp_path / "vae", tmp_path / "artifacts")
    models = Models(
        Settings(artifacts=tmp_path / "artifacts", backend="onnxruntime", load_seconds=0)
    )
    models.load()
    height, width = 32, 24
    scaled = torch.randn((1, 16, height // 2, width // 2), generator=torch.manual_seed(1))
    own = scaled / FACTORS["scaling_factor"] + FACTORS["shift_factor"]
    images = pictures((height, width))[:1]
    with torch.inference_mode():
        expected = levels(vae.decode(own).sample)
        mean = vae.encode(floats_of(images)).latent_dist.mode()
    cells = scaled.view(1, 16, height // 4, 2, width // 4, 2).permute(0, 2, 4, 1, 3, 5)
    packed = cells.reshape(1, height // 4 * (width // 4), 64)
    with listening(models) as address:
        decode, encode = (f"{address}/remote_vae/vae/{name}" for name in ("decode", "encode"))
        for latents, options in (
            (scaled, FACTORS),
            (own, {"do_scaling": False}),
            (packed, {**FACTORS, "height": height, "width": width}),
        ):
            made = remote_decode(decode, latents, image_format="png", **options)  # pyright: ignore
            assert np.abs(np.asarray(made) - expected[0]).max() <= 1
        picture = Image.fromarray(images[0])
        np.testing.assert_allclose(remote_encode(encode, picture), mean, atol=1e-3)
        # Contiguous: of others the client sends memory that it has given back.
        sent = remote_encode(encode, floats_of(images).contiguous(), **FACTORS)
        wanted = (mean - FACTORS["shift_factor"]) * FACTORS["scaling_factor"]
        np.testing.assert_allclose(sent, wanted, atol=1e-3)
    models.close()
