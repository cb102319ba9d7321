"""Attention in parts of the queries: equal to torch's, at any number of positions."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import runtime
from export import ImageSpec, export
from export.modules.attention import attention
from runtime.artifact.manifest import Axis
from runtime.artifact.reading import read_artifact

pytestmark = pytest.mark.xdist_group("attention")

AXES = {name: Axis(min=1, max=128, default=6) for name in ("height", "width")}


class Attends(nn.Module):
    """Latents [B, 6, H, W] -> images [B, 3, H, W], by two heads over all positions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Conv2d(6, 18, 1)
        self.plain = False

    def forward(self, z: Tensor) -> Tensor:
        heads = (3 * self.project(z)).flatten(2).unflatten(1, (3, 2, 3)).transpose(-1, -2)
        q, k, v = heads.unbind(1)  # [B, 2, H W, 3] each
        mixed = (F.scaled_dot_product_attention if self.plain else attention)(q, k, v)
        return torch.tanh(mixed.mean(dim=1).transpose(1, 2).unflatten(2, z.shape[2:]))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(
        decode=Attends(),
        latent=(6, "height", "width"),
        image=ImageSpec(height=6, width=6, channels=3),
        axes=AXES,
        prior="none",
        name="attends",
        out=tmp_path_factory.mktemp("attention"),
        precisions=(),
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 1), (16, 24)])
def test_every_number_of_positions(artifact: Path, size: tuple[int, int]) -> None:
    latents = np.random.default_rng(0).standard_normal((2, 6, *size)).astype(np.float32)
    module = Attends().eval()
    module.plain = True
    with torch.inference_mode():
        expected = (module(torch.from_numpy(latents)).permute(0, 2, 3, 1) + 1) * 127.5
    with runtime.load(artifact, precision="fp32") as model:
        assert np.abs(model.decode(latents) - expected.numpy()).max() <= 1


def test_the_weights_of_all_pairs_are_never_in_memory_together(artifact: Path) -> None:
    bounds = read_artifact(artifact).bounds["decode"]
    pairs = 2 * (128 * 128) ** 2 * 4  # bytes, of both heads
    assert bounds.cost(1, (("height", 128), ("width", 128))).bytes < pairs / 7
