"""Networks that spandrel recognises, at small width with random weights."""

import pickle
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from export.__main__ import main
from export.families.fourier import irfft2, rfft2
from export.torchvision_operators import declare_operators
from runtime import load
from runtime.errors import InputError

declare_operators()

import spandrel  # noqa: E402  # after the operators

_SWIN: dict[str, Any] = {"img_size": 16, "window_size": 8, "depths": [2], "num_heads": [2]}

# (architecture, its class, parameters)
NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rrdb": ("ESRGAN", "ESRGAN", {"num_filters": 8, "num_blocks": 1, "scale": 4}),
    "compact": ("Compact", "Compact", {"num_feat": 8, "num_conv": 2, "upscale": 2}),
    "span": ("SPAN", "SPAN", {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8}),
    "swinir": (
        "SwinIR",
        "SwinIR",
        _SWIN | {"embed_dim": 12, "upscale": 2, "upsampler": "nearest+conv"},
    ),
}


def build(architecture: str, kind: str, parameters: dict[str, Any]) -> nn.Module:
    """A network whose images are near the middle of its range, whatever its weights."""
    torch.manual_seed(0)
    module = getattr(import_module(f"spandrel.architectures.{architecture}"), kind)(**parameters)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return module.eval()


def lama(blocks: int = 1) -> nn.Module:
    """LaMa's generator with few blocks and channels, its statistics not those of a new network."""
    arch = import_module("spandrel.architectures.LaMa.__arch.LaMa")
    torch.manual_seed(0)
    module = arch.LaMa(in_nc=4, out_nc=3)
    module.model = arch.FFCResNetGenerator(4, 3, ngf=8, n_blocks=blocks)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return module.eval()


class SmallLaMa(spandrel.Architecture[nn.Module]):
    """LaMa with few blocks and channels: spandrel's own reads neither from the file."""

    def __init__(self) -> None:
        super().__init__(id="SmallLaMa", detect=lambda state: "small" in state)

    def load(self, state_dict: dict[str, Any]) -> Any:
        state = {name: tensor for name, tensor in state_dict.items() if name != "small"}
        return spandrel.MaskedImageModelDescriptor(
            lama(), state, self, "Inpainting", [], False, False, 3, 3,
            spandrel.SizeRequirements(minimum=16, multiple_of=8),
        )  # fmt: skip


spandrel.MAIN_REGISTRY.add(
    spandrel.ArchSupport.from_architecture(SmallLaMa(), before=(spandrel.ArchId("LaMa"),))
)

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def weights(module: nn.Module) -> dict[str, Tensor]:
    """The network's weights, the last layer's such that images are of all grey levels."""
    state = {name: tensor.clone().contiguous() for name, tensor in module.state_dict().items()}
    *_, last = [name for name, each in module.named_parameters() if each.dim() == 4]
    state[last] *= 8
    bias = last.removesuffix("weight") + "bias"
    if bias in state and state[bias].shape == (3,):
        state[bias].fill_(0.5)
    return state


def exported(file: Path, out: Path, *options: str) -> Path:
    assert main(["spandrel", str(file), "--out", str(out), *options]) == 0
    return out / file.stem / "1"


def pictures(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def reference(file: Path, image: NDArray[np.uint8], *masks: NDArray[np.uint8]) -> Any:
    """What spandrel itself makes of one image [H, W, 3], as float grey levels."""
    descriptor: Any = spandrel.ModelLoader().load_from_file(file)
    given = [torch.from_numpy(array).permute(2, 0, 1)[None] / 255 for array in (image, *masks)]
    with torch.inference_mode():
        return 255 * descriptor(*given)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_exported_with_free_sizes(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.safetensors"
    save_file(weights(build(*NETWORKS[name])), file)
    folder = exported(file, tmp_path / "out", "--size", "16..256", "--size", "24x32")
    with load(folder, backend="onnxruntime") as model:
        for size in ((16, 16), (48, 24)):
            images = pictures(2, *size, 3)
            made = model.translate(images)
            for image, translated in zip(images, made, strict=True):
                expected = reference(file, image)
                assert expected.std() > 1
                assert np.abs(translated - expected).max() <= 1.01
        details = model.manifest.provenance.details
    assert details["architecture"] == NETWORKS[name][0]
    assert details["scale"] == made.shape[1] // images.shape[1]
    assert len(details["weights SHA-256"]) == 64
    assert model.manifest.licence == "not stated"


def test_an_inpainting_network_takes_a_mask(tmp_path: Path) -> None:
    file = tmp_path / "lama.safetensors"
    save_file(weights(lama()) | {"small": torch.zeros(1)}, file)
    folder = exported(file, tmp_path / "out", "--size", "16..256", "--licence", "Apache-2.0")
    with load(folder, backend="onnxruntime") as model:
        for height, width in ((16, 40), (64, 48)):
            images = pictures(1, height, width, 3)
            mask = np.zeros((1, height, width, 1), np.uint8)
            mask[:, 4:12, 3:14] = 255
            made = model.translate(images, mask=mask)
            expected = reference(file, images[0], mask[0])
            assert np.abs(made[0] - expected).max() <= 1.01
            kept = mask[..., 0] == 0
            assert (made[kept] == images[kept]).all()
            assert (made[~kept] != images[~kept]).any()
        with pytest.raises(InputError, match=r"\[1, 64, 48, 1\].*found uint8 of shape \[1, 8, 8\]"):
            model.translate(images, mask=np.zeros((1, 8, 8), np.uint8))
    assert model.manifest.licence == "Apache-2.0"


@pytest.mark.parametrize("size", [(8, 8), (6, 5), (5, 6), (1, 2), (33, 64)])
def test_the_real_fourier_transform_is_torchs(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = torch.fft.rfft2(images, norm="ortho")
    real, imaginary = rfft2(images)
    torch.testing.assert_close(real, expected.real, rtol=0, atol=1e-5)
    torch.testing.assert_close(imaginary, expected.imag, rtol=0, atol=1e-5)
    # Of a spectrum that no real image has, both leave out the same.
    spectrum = expected + torch.complex(torch.ones(()), torch.ones(()))
    back = torch.fft.irfft2(spectrum, size, norm="ortho")
    ours = irfft2(spectrum.real, spectrum.imag, size[1])
    torch.testing.assert_close(ours, back, rtol=0, atol=3e-5)


def test_a_pth_of_plain_weights_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "Real_ESRGAN.pth"
    torch.save({"params_ema": weights(build(*NETWORKS["compact"]))}, file)
    assert main(["spandrel", str(file), "--out", str(tmp_path), "--size", "16..64"]) == 0
    assert (tmp_path / "real-esrgan" / "1").is_dir()
    assert "safetensors.torch.save_file" in caplog.text


class Command:
    """A pickle that runs a command where it is opened."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


def _with_code(folder: Path) -> Path:
    with (folder / "a.pth").open("wb") as file:
        pickle.dump({"params": Command(f"touch {folder / 'ran'}")}, file)
    return folder / "a.pth"


def _saved(name: str, state: dict[str, Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save = torch.save if name.endswith(".pth") else save_file
        save(state, folder / name)
        return folder / name

    return write


def _text(folder: Path) -> Path:
    (folder / "a.safetensors").write_bytes(b"no tensors")
    return folder / "a.safetensors"


_RRDB = {n: t.clone() for n, t in build(*NETWORKS["rrdb"]).state_dict().items()}
_LESS = {n: t for n, t in _RRDB.items() if "conv3" not in n}

REFUSALS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], str]] = {
    "no file": (lambda folder: folder / "a.pth", (), "expected a safetensors file, found none"),
    "no model": (_text, (), "expected a safetensors file, found something else"),
    "no weights": (_saved("a.pth", {"epoch": 3}), (), "expected a state dict"),
    "code": (_with_code, (), "weights_only=False"),
    "unknown": (
        _saved("a.safetensors", {"fc.weight": torch.ones(2, 2)}),
        (),
        "an architecture that spandrel knows .*ESRGAN.*fc.weight",
    ),
    "wrong keys": (_saved("a.safetensors", _LESS), (), "do not fit ESRGAN.*conv3"),
    "too small": (_saved("a.safetensors", _RRDB), ("--size", "1..64"), "at least 2"),
    "a name": (_saved("a.safetensors", _RRDB), ("--name", "A b"), "lower-case letters"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_exported_is_named(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, options, expected = REFUSALS[case]
    file = write(tmp_path)
    assert main(["spandrel", str(file), "--out", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ExportError: ")
    assert re.search(expected, said.replace("\n", " ")), said
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "ran").exists()


def test_one_size_alone_is_fixed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "compact.safetensors"
    save_file(weights(build(*NETWORKS["compact"])), file)
    with caplog.at_level("INFO", logger="export"):
        folder = exported(file, tmp_path / "out", "--size", "16..16")
    assert "height and width are fixed: 16 x 16" in caplog.text
    with load(folder, backend="onnxruntime") as model:
        assert not model.manifest.axes
        assert model.translate(pictures(1, 16, 16, 3)).shape == (1, 32, 32, 3)
        with pytest.raises(InputError, match=r"images: expected .*16, 16, 3"):
            model.translate(pictures(1, 15, 16, 3))


def test_a_network_of_one_size_needs_it_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {"img_size": 128, "embed_dim": 8, "depths": [1] * 9, "num_heads": [1] * 9}
    file = tmp_path / "uformer.safetensors"
    save_file(weights(build("Uformer", "Uformer", parameters)), file)
    assert main(["spandrel", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "--size 128..128" in capsys.readouterr().err
