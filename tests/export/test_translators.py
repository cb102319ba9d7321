"""Image-to-image generators in the layouts of their papers' code, at small width: pix2pix's U-Net,
CycleGAN's ResNet, and fast style transfer, from safetensors files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import runtime
from benchmarks.networks import translators
from benchmarks.networks.translators import trained
from export.__main__ import main

# (class, parameters at small width, sizes, value range, sizes to translate)
NETWORKS = {
    "pix2pix": ("UNet", {"levels": 4, "width": 4}, 16, (-1, 1), ((32, 48), (16, 32))),
    "pix2pix-instance": (
        "UNet",
        {"levels": 4, "width": 4, "norm": "instance"},
        16,
        (-1, 1),
        ((32, 48), (64, 32)),
    ),
    "cyclegan": ("ResNet", {"blocks": 2, "width": 4}, 4, (-1, 1), ((32, 48), (20, 36))),
    "style": ("Style", {"width": 4}, 4, (0, 255), ((32, 48), (20, 36))),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_generator_is_exported_from_its_weights(name: str, tmp_path: Path) -> None:
    kind, params, step, (low, high), sizes = NETWORKS[name]
    module = trained(getattr(translators, kind)(**params))
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    command = ["module", f"{translators.__name__}:{kind}", "--translates", "--name", name]
    command += ["--size", f"16..128/{step}"]
    command += ["--params", json.dumps(params), "--weights", str(tmp_path / "weights.safetensors")]
    command += ["--image", "32x48x3", "--value-range", str(low), str(high), "--batches", "1,4"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    with runtime.load(tmp_path / name, backend="onnxruntime") as model:
        for size in sizes:
            images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
            made = model.translate(images)
            floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 255 * (high - low) + low
            with torch.inference_mode():
                levels = (module(floats) - low) / (high - low) * 255
            expected = levels.clamp(0, 255).permute(0, 2, 3, 1).numpy()
            assert expected.std() > 20
            assert np.abs(made - expected).max() <= 1.01
        own = model.translate(images[:, 1:, 2:])
        assert own.shape == (2, size[0] - 1, size[1] - 2, 3)
