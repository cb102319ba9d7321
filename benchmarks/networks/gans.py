"""Rows: generators, by the packages that people train them with.

`stylegan2_pytorch` asks for a GPU when it is imported, which its networks do not need.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.networks.row import Arrays, Reference, Row, Wrap, levels
from export.torchvision_operators import declare_operators

_HERE = "benchmarks.networks.gans"
_SIDE, _LATENT = 128, 512
_CLASSES = 1000
_GAIN = 3.0


class DCGAN(nn.Module):
    """The generator of pytorch/examples, `dcgan/main.py`: latents [B, 100, 1, 1] -> [B, 3, 64, 64]
    in [-1, 1]."""

    def __init__(self, nz: int = 100, ngf: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise([nz, 8 * ngf, 4 * ngf, 2 * ngf, ngf])):
            stride, padding = (2, 1) if number else (1, 0)
            layers += [nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(ngf, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


def _write_dcgan(folder: Path) -> Sequence[str]:
    torch.manual_seed(0)
    state = DCGAN().state_dict()
    for name, tensor in state.items():  # new networks give nearly flat grey
        if tensor.dim() == 4:
            state[name] = tensor * _GAIN
    # As nn.DataParallel saves them.
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, _file(folder, "netG"))
    latent = ("--latent", "100x1x1", "--image", "64x64x3", "--name", "network")
    return ("module", f"{_HERE}:DCGAN", "--weights", str(_file(folder, "netG")), *latent)


def _read_dcgan(folder: Path, wrap: Wrap) -> Reference:
    return _decoding(wrap(_loaded(DCGAN(), _file(folder, "netG"), "module.")))


def _loaded(module: nn.Module, file: Path, prefix: str = "") -> nn.Module:
    from safetensors.torch import load_file

    module.load_state_dict({n.removeprefix(prefix): t for n, t in load_file(file).items()})
    return module.eval()


def _decoding(call: Callable[..., Tensor], low: float = -1.0) -> Reference:
    @torch.inference_mode()
    def run(graph: str, inputs: Arrays) -> Arrays:
        return {"images": levels(call(*map(torch.from_numpy, inputs.values())).numpy(), low)}

    return run


def _stylegan() -> Any:
    declare_operators()
    with mock.patch("torch.cuda.is_available", return_value=True):
        from stylegan2_pytorch import stylegan2_pytorch  # pyright: ignore[reportMissingImports]

    return stylegan2_pytorch


def mapping() -> nn.Module:
    """Latents [B, 512] -> styles [B, 512]."""
    return _stylegan().StyleVectorizer(_LATENT, 8, 0.1)


def synthesis() -> nn.Module:
    """Styles [B, 6, 512] and noise of a normal [B, 128, 128, 1] -> images [B, 3, 128, 128] about
    [0, 1]. The package draws noise from [0, 1)."""
    package = _stylegan()

    class Synthesis(package.Generator):
        def forward(self, styles: Tensor, noise: Tensor) -> Tensor:
            # Untrained, its images are small and about 0.
            return super().forward(styles, torch.special.ndtr(noise)) + 0.65

    return Synthesis(_SIDE, _LATENT, 16)


def _write_stylegan(folder: Path) -> Sequence[str]:
    torch.manual_seed(0)
    styles, images = mapping(), synthesis()
    with torch.no_grad():
        for module in (*styles.modules(), *images.modules()):
            kind = type(module).__name__
            if kind == "GeneratorBlock":
                for noise in (module.to_noise1, module.to_noise2):
                    nn.init.normal_(noise.weight, std=0.3)  # pyright: ignore
            elif kind == "RGBBlock":
                module.conv.weight.mul_(0.1)  # pyright: ignore
            elif kind == "EqualLinear":
                module.weight.normal_(std=1.6 / _LATENT**0.5 / 0.1)  # pyright: ignore
    save_file(styles.state_dict(), _file(folder, "mapping"))
    save_file(images.state_dict(), _file(folder, "synthesis"))
    networks = (f"{_HERE}:mapping", f"{_HERE}:synthesis")
    files = ("--mapping-weights", str(_file(folder, "mapping")))
    files += ("--synthesis-weights", str(_file(folder, "synthesis")))
    sizes = ("--latent", "512", "--layers", "6", "--noise", "128x128x1", "--value-range", "0", "1")
    return ("stylegan", *networks, *files, *sizes, "--name", "network")


def _read_stylegan(folder: Path, wrap: Wrap) -> Reference:
    styles = _loaded(mapping(), _file(folder, "mapping"))
    images = wrap(_loaded(synthesis(), _file(folder, "synthesis")))

    # The mixing inputs are those of a request without mixing: of no effect.
    def call(latents: Tensor, truncation: Tensor, *rest: Tensor) -> Tensor:
        return images(styles(latents)[:, None].expand(-1, 6, -1), rest[-1])

    return _decoding(call, low=0.0)


def _biggan() -> Any:
    import pytorch_pretrained_biggan  # pyright: ignore[reportMissingImports]

    return pytorch_pretrained_biggan


@torch.no_grad()
def _write_biggan(folder: Path) -> Sequence[str]:
    torch.manual_seed(0)
    package = _biggan()
    config = package.BigGANConfig()
    network = package.BigGAN(config)
    _settle(network)
    (folder / "biggan").mkdir(exist_ok=True)
    (folder / "biggan" / "config.json").write_text(json.dumps(config.to_dict()))
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / "biggan" / "model.safetensors")
    return ("biggan", str(folder / "biggan"), "--name", "network")


def _settle(network: Any) -> None:
    """Statistics of batch norm for every truncation, as those of a trained network: without them
    signals vanish."""

    def measure(norm: Any, given: tuple[Tensor, ...]) -> None:
        steps = torch.linspace(0.5, 1, len(norm.running_means))[:, None]
        norm.running_means.copy_(given[0].mean((0, 2, 3)) * steps)
        norm.running_vars.copy_(given[0].var((0, 2, 3)) * steps)

    norms = [m for m in network.modules() if hasattr(m, "running_means")]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    for module in network.modules():
        if hasattr(module, "gamma"):
            module.gamma.data.fill_(0.3)
    nn.init.normal_(network.generator.bn.weight, 1, 0.1)
    nn.init.normal_(network.generator.bn.bias, 0, 0.1)
    classes = torch.eye(_CLASSES)
    for _ in range(8):  # spectral norms converge
        network.train()(torch.randn(2, 128), classes[:2], 1.0)
    network.eval()(torch.randn(8, 128), classes[:8], 1.0)
    network.generator.conv_to_rgb.bias.zero_()
    for hook in hooks:
        hook.remove()


def _read_biggan(folder: Path, wrap: Wrap) -> Reference:
    package = _biggan()
    network = package.BigGAN(package.BigGANConfig())
    call = wrap(_loaded(network, folder / "biggan" / "model.safetensors"))
    return _decoding(
        lambda z, labels, truncation: call(z, torch.eye(_CLASSES)[labels], float(truncation[0]))
    )


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def rows() -> list[Row]:
    """DCGAN of pytorch/examples, StyleGAN2 of stylegan2_pytorch, BigGAN-deep of
    pytorch_pretrained_biggan."""
    return [
        Row("DCGAN 64 (pytorch/examples)", _write_dcgan, _read_dcgan),
        Row("StyleGAN2 128 (stylegan2_pytorch)", _write_stylegan, _read_stylegan),
        Row("BigGAN-deep 128 (pytorch_pretrained_biggan)", _write_biggan, _read_biggan),
    ]
