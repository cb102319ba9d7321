"""Convolutions with weights of their own for every image, as StyleGANs write them: captured as
graphs can hold them, or refused with what to do."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from export import ExportError, ImageSpec, export
from export.modules.modulated import without_groups
from tests.docs.blocks import ROOT, read_blocks

IMAGE = ImageSpec(height=8, width=8, channels=3)
BATCHES = (1, 5, 16)


class Net(nn.Module):
    """Latents [B, 6] -> images [B, 3, 8, 8] in (-1, 1), by `convolve` of a constant x [B, 4, 8, 8]
    and a style [B, 4]."""

    def __init__(self, convolve: Callable[["Net", Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.convolve = convolve
        self.constant = nn.Parameter(torch.randn(1, 4, 8, 8))
        self.style = nn.Linear(6, 4)
        self.weight = nn.Parameter(torch.randn(1, 3, 4, 3, 3) / 3)

    def forward(self, *latents: Tensor) -> Tensor:
        (z,) = latents
        x = self.constant.repeat(z.shape[0], 1, 1, 1)
        return torch.tanh(self.convolve(self, x, self.style(z) + 1))


def lucidrains(net: Net, x: Tensor, style: Tensor) -> Tensor:
    b, _, height, width = x.shape
    weights = net.weight * (style[:, None, :, None, None] + 1)
    weights = weights * torch.rsqrt((weights**2).sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, -1, height, width)
    x = F.conv2d(x, weights.reshape(b * 3, 4, 3, 3), padding=1, groups=b)
    return x.reshape(-1, 3, height, width)


def nvlabs(net: Net, x: Tensor, style: Tensor) -> Tensor:
    b = x.shape[0]
    weights = net.weight * style.unsqueeze(1).unsqueeze(3).unsqueeze(4)
    factors = (weights.square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt()
    weights = weights * factors.reshape(b, -1, 1, 1, 1)
    rows = x.reshape(1, -1, *x.shape[2:])
    made = F.conv2d(rows, weights.reshape(-1, 4, 3, 3).to(x.dtype), padding=1, groups=b)
    return made.reshape(b, -1, *made.shape[2:])


def rosinality(net: Net, x: Tensor, style: Tensor) -> Tensor:
    """Upsampling: the channels of the weights change places."""
    b = x.shape[0]
    weights = 0.5 * net.weight * style.view(b, 1, 4, 1, 1)
    weights = weights * torch.rsqrt(weights.pow(2).sum([2, 3, 4]) + 1e-8).view(b, 3, 1, 1, 1)
    weights = weights.view(b * 3, 4, 3, 3).view(b, 3, 4, 3, 3)
    weights = weights.transpose(1, 2).reshape(b * 4, 3, 3, 3)
    x = x[:, :, ::2, ::2].reshape(1, b * 4, 4, 4)
    made = F.conv_transpose2d(x, weights, padding=0, stride=2, groups=b)
    return made.view(b, 3, 9, 9)[:, :, 1:, 1:]


def downsampled(net: Net, x: Tensor, style: Tensor) -> Tensor:
    b = x.shape[0]
    weights = (net.weight * style[:, None, :, None, None]).reshape(-1, 4, 3, 3)
    made = F.conv2d(x.reshape(1, -1, 8, 8), weights, stride=2, padding=1, groups=b)
    return F.interpolate(made.reshape(b, 3, 4, 4), scale_factor=2)


def to_rgb(net: Net, x: Tensor, style: Tensor) -> Tensor:
    """Weights that are all in the style, as of one output channel."""
    b = x.shape[0]
    weights = (0.5 * style.view(b, 1, 4, 1, 1)).reshape(-1, 4, 1, 1)
    return (
        F.conv2d(x.reshape(1, -1, 8, 8), weights, groups=b).reshape(b, 1, 8, 8).expand_as(x[:, :3])
    )


def generated(net: Net, x: Tensor, style: Tensor) -> Tensor:
    """Weights that are no product, and a bias of their own."""
    b = x.shape[0]
    weights = (net.weight + style[:, None, :, None, None]).tanh().reshape(-1, 4, 3, 3)
    rows = x.reshape(1, -1, 8, 8)
    return F.conv2d(rows, weights, style[:, :3].reshape(-1), padding=1, groups=b).view(b, 3, 8, 8)


def generated_transposed(net: Net, x: Tensor, style: Tensor) -> Tensor:
    b = x.shape[0]
    weights = (net.weight + style[:, None, :, None, None]).tanh().transpose(1, 2)
    rows = x[:, :, ::2, ::2].reshape(1, -1, 4, 4)
    how: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1}
    made = F.conv_transpose2d(rows, weights.reshape(-1, 3, 3, 3), groups=b, **how)
    return made.view(b, 3, 8, 8)


SCALED = {"lucidrains": lucidrains, "nvlabs": nvlabs, "rosinality": rosinality, "down": downsampled}
STYLE = {"to rgb": to_rgb}
UNFOLDED = {"generated": generated, "generated transposed": generated_transposed}


@pytest.mark.parametrize("name", [*SCALED, *STYLE, *UNFOLDED])
def test_a_group_for_each_image_is_exported(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net((SCALED | STYLE | UNFOLDED)[name])
    artifact = export(
        decode=net, latent=6, image=IMAGE, name="modulated", out=tmp_path, batches=(1, 16)
    )
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        for batch in BATCHES:
            z = np.random.default_rng(batch).standard_normal((batch, 6)).astype(np.float32)
            with torch.no_grad():
                floats = net(torch.from_numpy(z))
            levels = (floats + 1).mul(127.5).permute(0, 2, 3, 1).round().numpy()
            assert levels.std() > 20
            assert np.abs(model.decode(z).astype(int) - levels).max() <= 1


@pytest.mark.parametrize("name", SCALED)
def test_products_never_hold_the_weights_of_a_batch(name: str) -> None:
    torch.manual_seed(0)
    net = Net(SCALED[name]).eval()
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(net, (torch.zeros(3, 6),), dynamic_shapes={"latents": batch})
    module = without_groups(program)
    assert module is not None
    seen: list[tuple[int, ...]] = []

    class Shapes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            made = func(*args, **(kwargs or {}))
            seen.extend([tuple(made.shape)] if isinstance(made, Tensor) else [])
            return made

    z = torch.randn(7, 6)
    with torch.no_grad(), Shapes():
        made = module(z)
    assert (7, 3, 8, 8) in seen
    assert not any(len(shape) == 5 and shape[:3] == (7, 3, 4) for shape in seen)
    torch.testing.assert_close(made, net(z), rtol=0, atol=1e-5)


def test_a_program_without_groups_is_left_alone() -> None:
    program = torch.export.export(nn.Conv2d(4, 4, 3, groups=2).eval(), (torch.zeros(1, 4, 8, 8),))
    assert without_groups(program) is None


def by_number(net: Net, x: Tensor, style: Tensor) -> Tensor:
    """The batch as a number that torch cannot follow."""
    b = int(np.prod(x.shape[:1]))
    weights = (net.weight * style[:, None, :, None, None]).reshape(-1, 4, 3, 3)
    return F.conv2d(x.reshape(1, -1, 8, 8), weights, padding=1, groups=b).view(b, 3, 8, 8)


def one_dimensional(net: Net, x: Tensor, style: Tensor) -> Tensor:
    weights = (net.weight[..., 0, 0] * style[:, None]).reshape(-1, 4, 1)
    return F.conv1d(x.reshape(1, -1, 64), weights, groups=len(x)).view(-1, 3, 8, 8)


def repeated(net: Net, x: Tensor, style: Tensor) -> Tensor:
    rows = len(list(style))
    return x[:, :3] + net.constant[:, :3].repeat(rows, 1, 1, 1)


def looped(net: Net, x: Tensor, style: Tensor) -> Tensor:
    return torch.cat([x[i : i + 1, :3] * style[i, 0] for i in range(len(x))])


GROUPS = r"groups=batch\), which ONNX does not know: scale the activations .* ModulatedConv2d in"
BATCH = r"found one for a batch of 3: forward takes the batch for a number: use x.shape\[0\]"
REFUSED = {
    "by number": (by_number, GROUPS),
    "one dimension": (one_dimensional, GROUPS),
    "repeated": (repeated, BATCH),
    "looped": (looped, BATCH),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_what_to_do(name: str, tmp_path: Path) -> None:
    convolve, message = REFUSED[name]
    with pytest.raises(ExportError, match=message):
        export(decode=Net(convolve), latent=6, image=IMAGE, name="refused", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module of docs/stylegan.md, from the page itself."""
    file = tmp_path_factory.mktemp("docs") / "modulated.py"
    blocks = read_blocks(ROOT / "docs/stylegan.md")
    file.write_text(next(b.code for b in blocks if b.code.startswith("# modulated.py")))
    spec = importlib.util.spec_from_file_location("modulated", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModulatedConv2d


def with_groups(layer: Any, x: Tensor, w: Tensor) -> Tensor:
    """The same layer as StyleGAN2 writes it, with a group for each image."""
    b, inputs, height, width = x.shape
    weights = layer.scale * layer.weight * layer.affine(w)[:, None, :, None, None]
    if layer.demodulate:
        weights = weights * (weights.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    outputs, kernel = weights.shape[1], weights.shape[-1]

    def blurred(x: Tensor, gain: float, pad: tuple[int, int]) -> Tensor:
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        blur = gain * torch.outer(line, line) / 64
        return F.conv2d(F.pad(x.flatten(0, 1)[:, None], (*pad, *pad)), blur[None, None])

    if layer.up:
        weights = weights.transpose(1, 2).reshape(b * inputs, outputs, kernel, kernel)
        x = F.conv_transpose2d(x.view(1, -1, height, width), weights, stride=2, groups=b)
        p = (4 - 2) - (kernel - 1)
        x = blurred(x, 4.0, ((p + 1) // 2 + 1, p // 2 + 1))
        return x.view(b, outputs, *x.shape[2:])
    weights = weights.reshape(b * outputs, inputs, kernel, kernel)
    padding = kernel // 2
    if layer.down:
        p = (4 - 2) + (kernel - 1)
        x, padding = blurred(x, 1.0, ((p + 1) // 2, p // 2)), 0
    x = x.reshape(1, -1, *x.shape[-2:])
    x = F.conv2d(x, weights, stride=2 if layer.down else 1, padding=padding, groups=b)
    return x.view(b, outputs, *x.shape[2:])


@pytest.mark.parametrize(
    ("kernel", "how"),
    [
        (3, {}),
        (3, {"up": True}),
        (3, {"down": True}),
        (3, {"demodulate": False}),
        (1, {"demodulate": False}),
    ],
)
def test_the_documented_module_does_what_groups_do(
    documented: Any, kernel: int, how: dict[str, bool]
) -> None:
    torch.manual_seed(0)
    layer = documented(6, 5, kernel, 4, **how)
    x, w = torch.randn(3, 6, 8, 8), torch.randn(3, 4)
    side = {"up": 16, "down": 4}.get(next(iter(how), ""), 8)
    with torch.no_grad():
        made = layer(x, w)
        assert made.shape == (3, 5, side, side)
        assert made.std() > 0.1
        torch.testing.assert_close(made, with_groups(layer, x, w), rtol=0, atol=1e-5)
