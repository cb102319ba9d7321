"""`python -m export module` with networks as their authors publish them, at small width."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import runtime
from export.__main__ import main
from export.arguments import image_shape
from runtime.artifact.reading import read_artifact
from runtime.errors import ExportError

HERE = "tests_own_networks"
"""This file, under a name that `python -m export module` can import."""

M = TypeVar("M", bound=nn.Module)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


class DCGAN(nn.Module):
    """The generator of pytorch/examples, `dcgan/main.py`: latents [B, nz, 1, 1] -> [B, 3, 64, 64].
    `ngf` is 64 there."""

    def __init__(self, nz: int = 8, ngf: int = 4, nc: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = [nz, 8 * ngf, 4 * ngf, 2 * ngf, ngf]
        for number, (before, after) in enumerate(pairwise(widths)):
            stride, padding = (2, 1) if number else (1, 0)
            layers += [nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


class ModelOutput(OrderedDict[str, Any]):
    """As pythae's models give their results, `models/base/base_utils.py`."""

    def __getitem__(self, key: Any) -> Any:
        return dict(self.items())[key] if isinstance(key, str) else tuple(self.values())[key]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        super().__setattr__(name, value)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class VAEEncoder(nn.Module):
    """pythae's `Encoder_VAE_MLP` for images [B, 1, 8, 8] in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.embedding, self.log_var = nn.Linear(32, 6), nn.Linear(32, 6)

    def forward(self, x: Tensor) -> ModelOutput:
        hidden = self.layers(x.reshape(-1, 64))
        return ModelOutput(embedding=self.embedding(hidden), log_covariance=self.log_var(hidden))


class VAEDecoder(nn.Module):
    """pythae's `Decoder_AE_MLP`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 64), nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(4 * z).reshape(len(z), 1, 8, 8))


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = VAEEncoder(), VAEDecoder()


class Quantizer(nn.Module):
    """pythae's `Quantizer`, `models/vq_vae/vq_vae_utils.py`: z [B, h, w, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(12, 5)

    def forward(self, z: Tensor) -> ModelOutput:
        flat, entries = z.reshape(-1, 5), self.embeddings.weight
        squares = flat.square().sum(dim=-1, keepdim=True) + entries.square().sum(dim=-1)
        closest = (squares - 2 * flat @ entries.T).argmin(-1).unsqueeze(-1)
        one_hot = F.one_hot(closest, num_classes=12).type(torch.float).squeeze(1)
        quantized = (one_hot @ entries).reshape_as(z)
        quantized = z + (quantized - z).detach()
        return ModelOutput(
            quantized_vector=quantized.permute(0, 3, 1, 2),
            quantized_indices=closest.reshape(z.shape[:3]),
            loss=F.mse_loss(quantized, z),
        )


class VQVAEEncoder(nn.Module):
    """Images [B, 1, 8, 8] -> what the quantizer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Conv2d(1, 5, 4, stride=4)
        self.quantizer = Quantizer()

    def forward(self, x: Tensor) -> ModelOutput:
        return self.quantizer(self.layers(x).permute(0, 2, 3, 1))


class VQVAEDecoder(nn.Module):
    """Latents [B, 5, 2, 2] -> the image of their nearest entries."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ConvTranspose2d(5, 1, 4, stride=4)
        self.quantizer = Quantizer()

    def forward(self, z: Tensor) -> ModelOutput:
        vectors = self.quantizer(z.permute(0, 2, 3, 1)).quantized_vector
        return ModelOutput(reconstruction=torch.sigmoid(4 * self.layers(vectors)))


class Convolutional(nn.Module):
    """Latents [B, 4, H/4, W/4] -> images [B, channels, H, W], in a result of several parts."""

    def __init__(self, channels: int = 3, kind: str = "dict") -> None:
        super().__init__()
        self.layers = nn.Conv2d(4, 16 * channels, 3, padding=1)
        self.kind = kind

    def forward(self, z: Tensor) -> Any:
        images = torch.tanh(3 * F.pixel_shuffle(self.layers(z), 4))
        if self.kind == "tuple":
            return z, (images, images.mean())
        if self.kind == "range":
            return images / 2 + 0.5
        if self.kind == "bright":
            return images / 8 + 0.8
        if self.kind == "loop":
            return torch.stack([images[row] for row in range(len(z))])
        if self.kind == "noise":
            return images + 0.1 * torch.randn_like(images)
        return {"sample": images, "loss": images.mean()}


def make_convolutional(channels: int = 3) -> nn.Module:
    """A function in a class's place."""
    return Convolutional(channels)


def seeded(module: M) -> M:
    """In eval mode, with seeded weights and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator)
            fan = tensor[0].numel() if tensor.ndim > 1 else 4
            tensor.copy_(values.abs() + 0.5 if "var" in name else values / fan**0.5)
    return module.eval()


def export(target: str, out: Path, *options: str) -> Path:
    assert (
        main(["module", f"{HERE}:{target}", "--name", "theirs", "--out", str(out), *options]) == 0
    )
    return out / "theirs" / "1"


def loaded(artifact: Path) -> runtime.Model:
    return runtime.load(artifact, backend="onnxruntime", precision="fp32")


def test_dcgan_of_the_examples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = seeded(DCGAN())
    state = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    torch.save(state, tmp_path / "netG_epoch_24.pth")  # of DataParallel, as the script saves it
    words = ["--weights", str(tmp_path / "netG_epoch_24.pth"), "--latent", "8x1x1"]
    artifact = export("DCGAN", tmp_path, *words, "--image", "64x64x3")
    said = caplog.text
    assert "netG_epoch_24.pth: a pickle, read by torch.load(weights_only=True): safetensors" in said
    assert "the prefix 'module.' was taken off the names" in said
    with loaded(artifact) as model, torch.inference_mode():
        images, latents = model.sample(3, seed=1), torch.from_numpy(model.latents(3, seed=1))
        expected = (module(latents).permute(0, 2, 3, 1) + 1) * 127.5
    assert expected.std() > 10
    assert np.abs(images - expected.numpy()).max() <= 1


def test_vae_of_pythae(tmp_path: Path) -> None:
    vae = seeded(VAE())
    weights = str(tmp_path / "model.pt")
    torch.save({"model_state_dict": vae.state_dict()}, weights)  # as pythae saves it
    words = ["--weights", weights, "--latent", "6", "--image", "8x8x1", "--value-range", "0", "1"]
    words += ["--encoder", f"{HERE}:VAEEncoder", "--encoder-weights", weights]
    words += ["--encoder-output", "embedding,log_covariance"]
    with loaded(export("VAEDecoder", tmp_path, *words)) as model:
        images, latents = model.sample(4, seed=1), torch.from_numpy(model.latents(4, seed=1))
        posterior = model.encode(images)
    with torch.inference_mode():
        expected = 255 * vae.decoder(latents).reconstruction.permute(0, 2, 3, 1)
        wanted = vae.encoder(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    assert expected.std() > 10
    assert np.abs(images - expected.numpy()).max() <= 1
    np.testing.assert_allclose(posterior.mean, wanted.embedding, atol=1e-5)
    np.testing.assert_allclose(posterior.log_variance, wanted.log_covariance, atol=1e-5)


def test_vqvae_of_pythae(tmp_path: Path) -> None:
    decoder, encoder = seeded(VQVAEDecoder()), seeded(VQVAEEncoder())
    save_file(decoder.state_dict(), tmp_path / "d.safetensors")
    save_file(encoder.state_dict(), tmp_path / "e.safetensors")
    words = ["--weights", str(tmp_path / "d.safetensors"), "--latent", "5x2x2"]
    words += ["--image", "8x8x1", "--value-range", "0", "1"]
    words += ["--encoder", f"{HERE}:VQVAEEncoder"]
    words += ["--encoder-weights", str(tmp_path / "e.safetensors")]
    words += ["--encoder-output", "quantized_vector,quantized_indices"]
    words += ["--encoder-gives", "latents,codes", "--codes", "2x2"]
    with loaded(export("VQVAEDecoder", tmp_path, *words)) as model:
        images, latents = model.sample(4, seed=1), torch.from_numpy(model.latents(4, seed=1))
        encoding = model.encode(images).arrays()
    with torch.inference_mode():
        expected = 255 * decoder(latents).reconstruction.permute(0, 2, 3, 1)
        wanted = encoder(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    assert expected.std() > 10
    assert np.abs(images - expected.numpy()).max() <= 1
    np.testing.assert_allclose(encoding["latents"], wanted.quantized_vector, atol=1e-5)
    np.testing.assert_array_equal(encoding["codes"], wanted.quantized_indices)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    folder = tmp_path_factory.mktemp("weights")
    for channels in (1, 3, 4):
        state = seeded(Convolutional(channels)).state_dict()
        save_file(state, folder / f"{channels}.safetensors")
    return lambda channels: str(folder / f"{channels}.safetensors")


FREE = ("--latent", "4xheight/4xwidth/4", "--image", "16x24x3", "--size", "16..64/8")
FIXED = ("--latent", "4x4x6", "--image", "16x24x3")


def test_a_function_sizes_and_an_output_by_name(
    tmp_path: Path, weights: Callable[[int], str]
) -> None:
    words = ["--weights", weights(3), "--output", "sample", *FREE]
    artifact = export("make_convolutional", tmp_path, *words)
    axes = read_artifact(artifact).manifest.axes
    assert {name: axis.default for name, axis in axes.items()} == {"height": 16, "width": 24}
    assert all((axis.min, axis.max, axis.multiple_of) == (16, 64, 8) for axis in axes.values())
    module = seeded(Convolutional())
    with loaded(artifact) as model, torch.inference_mode():
        for height, width in ((16, 24), (64, 40)):
            shape = (2, 4, height // 4, width // 4)
            latents = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            expected = module(torch.from_numpy(latents))["sample"].permute(0, 2, 3, 1)
            found = model.decode(latents)
            assert found.shape == (2, height, width, 3)
            assert np.abs(found - (expected.numpy() + 1) * 127.5).max() <= 1


def test_a_default_beside_the_range_of_sizes(tmp_path: Path, weights: Callable[[int], str]) -> None:
    words = ["--weights", weights(3), "--output", "sample", *FREE, "--size", "32x40"]
    manifest = read_artifact(export("make_convolutional", tmp_path, *words)).manifest
    assert manifest.image().shape == (32, 40, 3)
    assert [(axis.min, axis.max) for axis in manifest.axes.values()] == [(16, 64)] * 2
    assert image_shape((16, 24, 3), [(8, 12)]) == (8, 12, 3)
    with pytest.raises(ExportError, match="--size: expected --image beside a size, or a range"):
        image_shape((), [(8, 12)])


def test_pictures_with_alpha_from_an_output_by_number(
    tmp_path: Path, weights: Callable[[int], str]
) -> None:
    words = ["--params", '{"channels": 4, "kind": "tuple"}', "--weights", weights(4)]
    words += ["--output", "1.0", "--latent", "4x4x6", "--image", "16x24x4"]
    with loaded(export("Convolutional", tmp_path, *words)) as model:
        found, latents = model.sample(2, seed=3), torch.from_numpy(model.latents(2, seed=3))
    with torch.inference_mode():
        expected = seeded(Convolutional(4))(latents)["sample"].permute(0, 2, 3, 1)
    assert found.shape == (2, 16, 24, 4)
    assert np.abs(found - (expected.numpy() + 1) * 127.5).max() <= 1


def test_bright_images_where_any_range_is_meant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    words = ["--params", '{"kind": "bright"}', *FIXED, "--any-range"]
    with loaded(export("Convolutional", tmp_path, *words)) as model:
        assert model.sample(2, seed=0).min() > 200
    assert "Convolutional: no --weights: exported with those it was built with" in caplog.text


REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "two outputs": (
        '{"kind": "dict"}',
        FIXED,
        "found a dict of sample float32 [16, 3, 16, 24], loss float32 []: wrap the decoder in a "
        "module whose forward returns those it means: `made = self.module(*inputs); return made["
        "'sample']` (from the shell: --output, names or numbers)",
    ),
    "no such output": (
        '{"kind": "dict"}',
        (*FIXED, "--output", "image"),
        "output 'image': expected one of the result, found a dict of sample float32",
    ),
    "no such number": (
        '{"kind": "tuple"}',
        (*FIXED, "--output", "2"),
        "output '2': expected one of the result, found a tuple of 2",
    ),
    "one channel for three": (
        '{"channels": 1}',
        (*FIXED, "--output", "sample"),
        "expected a float tensor of shape [16, 3, 16, 24] (B, C, H, W), found float32 [16, 1, 16, "
        "24]: state channels=1 in the ImageSpec (--image HEIGHTxWIDTHx1)",
    ),
    "a range twice as wide": (
        '{"kind": "range"}',
        FIXED,
        "nothing darker than mid-grey: state the range the network really gives as "
        "ImageSpec.value_range (--value-range), likely 0 to 1; where its images are so bright",
    ),
    "a loop over the batch": (
        '{"kind": "loop"}',
        FIXED,
        "forward takes the batch for a number: use x.shape[0] as it is, such as `constant.expand(",
    ),
    "noise": (
        '{"kind": "noise"}',
        FIXED,
        "take the noise out of forward, or make it an input behind the others (ExportOptions.noise",
    ),
    "sizes twice": (
        "{}",
        (*FREE, "--axis", "height=16:64:8"),
        "--size: expected it without --axis height or width, found both",
    ),
    "no multiple": (
        "{}",
        (*FREE[:-1], "16..60/8"),
        "--size: height: Value error, expected min <= default <= max, each a multiple of 8",
    ),
    "two defaults": (
        "{}",
        (*FREE, "--size", "16x16", "--size", "32x32"),
        "--size: expected one default, HEIGHTxWIDTH, and one range, MIN..MAX",
    ),
    "codes": (
        "{}",
        (*FIXED, "--encoder", f"{HERE}:VAEEncoder", "--encoder-gives", "codes,latents"),
        "encode: expected outputs ('mean', 'log_variance') or",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_wrong_names_its_remedy(
    kind: str,
    weights: Callable[[int], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    params, options, expected = REFUSED[kind]
    channels = 1 if kind == "one channel for three" else 3
    words = ["module", f"{HERE}:Convolutional", "--params", params, "--weights", weights(channels)]
    assert main([*words, *options, "--name", "theirs", "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("ExportError: ")
    assert expected in message
    assert not (tmp_path / "out").exists()
