"""BigGAN: class vectors, truncated normals and statistics by truncation, in the layout of
`pytorch_pretrained_biggan` at small width."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

import runtime
from export import ExportError, ImageSpec, export
from export.__main__ import main
from export.families.biggan import BigGAN
from runtime.artifact.reading import read_artifact

pytestmark = pytest.mark.xdist_group("biggan")

CONFIG = {"output_dim": 8, "z_dim": 6, "num_classes": 4, "channel_width": 5, "n_stats": 51}
NAMES = ("tench", "goldfish", "great white shark, man-eater", "cock")


class BatchNorm(nn.Module):
    """As the package has it: the truncation is a Python float for all images."""

    def __init__(self, channels: int, condition: int, steps: int, conditional: bool) -> None:
        super().__init__()
        self.eps = 1e-4
        self.register_buffer("running_means", torch.randn(steps, channels) * 0.1)
        self.register_buffer("running_vars", torch.rand(steps, channels) + 0.5)
        self.step_size = 1.0 / (steps - 1)
        self.conditional = conditional
        if conditional:
            self.scale = spectral_norm(nn.Linear(condition, channels, bias=False))
            self.offset = spectral_norm(nn.Linear(condition, channels, bias=False))
        else:
            self.weight = nn.Parameter(torch.rand(channels) + 0.5)
            self.bias = nn.Parameter(torch.randn(channels) * 0.1)

    def forward(self, x: Tensor, truncation: float, condition_vector: Any = None) -> Tensor:
        step = round(truncation / self.step_size)
        assert math.isclose(step * self.step_size, truncation)
        means: Any = self.running_means
        variances: Any = self.running_vars
        mean, variance = means[step], variances[step]
        if not self.conditional:
            return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        weight = 1 + self.scale(condition_vector)[..., None, None]
        bias = self.offset(condition_vector)[..., None, None]
        x = (x - mean[:, None, None]) / torch.sqrt(variance + self.eps)[:, None, None]
        return x * weight + bias


class Generator(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        width, condition = config.channel_width, 2 * config.z_dim
        self.gen_z = spectral_norm(nn.Linear(condition, 4 * 4 * width))
        self.bn_0 = BatchNorm(width, condition, config.n_stats, True)
        self.conv = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.bn = BatchNorm(width, condition, config.n_stats, False)
        self.conv_to_rgb = spectral_norm(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, condition: Tensor, truncation: float) -> Tensor:
        x = self.gen_z(condition).view(-1, 4, 4, self.conv.in_channels).permute(0, 3, 1, 2)
        x = F.interpolate(F.relu(self.bn_0(x, truncation, condition)), scale_factor=2)
        x = F.relu(self.bn(self.conv(x), truncation))
        return torch.tanh(2 * self.conv_to_rgb(x)[:, :3])


class Network(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embeddings = nn.Linear(config.num_classes, config.z_dim, bias=False)
        self.generator = Generator(config)

    def forward(self, z: Tensor, class_label: Tensor, truncation: float) -> Tensor:
        embedded = self.embeddings(class_label)
        return self.generator(torch.cat((z, embedded), dim=1), truncation)


class Config:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def network() -> Network:
    torch.manual_seed(0)
    made = Network(Config(**CONFIG))
    for _ in range(5):  # spectral norms settle
        made(torch.randn(2, 6), torch.eye(4)[:2], 1.0)
    return made.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the package saves a network."""
    folder = tmp_path_factory.mktemp("biggan")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(network().state_dict(), folder / "model.safetensors")
    (folder / "names.txt").write_text("\n".join(NAMES))
    return folder


def command(folder: Path, out: Path, *more: str) -> int:
    sys.modules["theirs"] = sys.modules[__name__]
    arguments = ["biggan", str(folder), "--network", "theirs:Network", "--name", "big"]
    arguments += ["--batches", "1,4", "--precisions", "none", "--out", str(out), *more]
    return main(arguments)


@pytest.fixture(scope="module")
def artifact(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("artifacts")
    assert command(folder, out, "--labels", str(folder / "names.txt")) == 0
    return out / "big"


@pytest.mark.parametrize("truncation", [0.4, 0.7, 1.0])
def test_sampled_images_are_those_of_the_network(artifact: Path, truncation: float) -> None:
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        latents = model.latents(6, seed=3, truncation=truncation)
        images = model.sample(6, seed=3, labels=NAMES[2], truncation=truncation)
        decoded = model.decode(latents, labels=2, truncation=truncation)
    one_hot = F.one_hot(torch.full((6,), 2), 4).float()
    with torch.inference_mode():
        floats = network()(torch.from_numpy(latents), one_hot, truncation)
    expected = ((floats + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert expected.std() > 10
    assert np.abs(images.astype(int) - expected).max() <= 1
    assert np.abs(decoded.astype(int) - expected).max() <= 1


def test_latents_are_a_truncated_normal_times_the_truncation(artifact: Path) -> None:
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        assert model.manifest.prior == "truncated_normal"
        whole = model.latents(2000, seed=1)
        half = model.latents(2000, seed=1, truncation=0.5)
        drawn = model.sample(1, seed=1)
        same = model.sample(1, seed=1, truncation=1.0)
    assert 1.9 < np.abs(whole).max() <= 2.0
    assert whole.std() == pytest.approx(0.8796, abs=0.02)  # of a normal within [-2, 2]
    assert np.array_equal(half, whole * np.float32(0.5))
    assert np.array_equal(drawn, same)


def test_every_image_has_the_statistics_of_its_own_truncation() -> None:
    module, plain = BigGAN(network()), network()
    z, labels = torch.randn(3, 6), torch.tensor([0, 3, 1])
    truncations = [0.2, 0.5, 1.0]
    with torch.inference_mode():
        made = module(z, labels, torch.tensor(truncations))
        for row, truncation in enumerate(truncations):
            one_hot = F.one_hot(labels[row : row + 1], 4).float()
            alone = plain(z[row : row + 1], one_hot, truncation)
            torch.testing.assert_close(made[row : row + 1], alone, rtol=0, atol=1e-5)
        # Half way between two steps, and beyond the last.
        norm: Any = module.generator.bn
        x = torch.randn(1, 5, 2, 2)
        between = [norm(x, torch.tensor([t])) for t in (0.40, 0.41, 0.42)]
    norm.means = norm.means[[20, 20]] * 0.5 + norm.means[[21, 21]] * 0.5
    norm.variances = norm.variances[[20, 20]] * 0.5 + norm.variances[[21, 21]] * 0.5
    with torch.inference_mode():
        torch.testing.assert_close(between[1], norm(x, torch.tensor([0.3])))
    assert not torch.equal(between[0], between[2])


def test_classes_without_names_are_their_indices(folder: Path, tmp_path: Path) -> None:
    assert command(folder, tmp_path) == 0
    manifest = read_artifact(tmp_path / "big").manifest
    assert manifest.labels == ("0", "1", "2", "3")
    assert manifest.provenance.details["config"] == CONFIG


def test_what_does_not_fit_says_what_was_expected(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(message: str, where: Path, *more: str) -> None:
        assert command(where, tmp_path / "out", *more) == 2
        assert message in capsys.readouterr().err

    refused("config.json: expected the network's config as JSON", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "z_dim": "6"}))
    refused("z_dim: expected a number from 1 on, found '6'", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    refused("expected model.safetensors or pytorch_model.bin, found neither", tmp_path)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    refused("expected 4 lines, found 2", folder, "--labels", str(tmp_path / "names.txt"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ExportError, match="Linear: expected a BigGAN with `embeddings`"):
        BigGAN(nn.Linear(2, 2))


def test_a_truncated_normal_needs_a_truncation(tmp_path: Path) -> None:
    class Decoder(nn.Linear):
        def forward(self, *latents: Tensor) -> Tensor:
            return torch.tanh(super().forward(*latents)).view(-1, 3, 2, 2)

    with pytest.raises(ExportError, match="truncated_normal: expected a decoder that takes a"):
        export(
            decode=Decoder(4, 12),
            latent=4,
            image=ImageSpec(height=2, width=2, channels=3),
            prior="truncated_normal",
            name="refused",
            out=tmp_path,
        )
