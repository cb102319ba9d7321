"""Operators of feed-forward image networks: exported, and the same images at every batch.

Each entry is a part of a network, of one idea, and the operators that torch's exporter writes for
it. Several parts share an export, each with a band of the images: most of the time of a small
export is the same whatever is in it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from export import ImageSpec, export

BATCHES = (1, 5, 64)
Body = Callable[["Net", Tensor, Tensor], Tensor]


class Net(nn.Module):
    """Latents [B, 12] -> images [B, 3, 4 * bodies, 4] in (-1, 1): each body makes of a feature map
    x [B, 3, 4, 4] and the latents z anything of 48 values a row."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        super().__init__()
        self.bodies = bodies
        self.layer = nn.Linear(12, 48)
        self.codes = nn.Parameter(torch.randn(7, 3))
        self.kernel = nn.Parameter(torch.randn(3, 3, 3, 3) / 5)
        self.scale = nn.Parameter(torch.rand(3))
        self.grid = nn.Buffer(torch.rand(1, 4, 4, 2) * 2 - 1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.layer(z).view(-1, 3, 4, 4)
        bands = [body(self, x, z).float().reshape(-1, 3, 4, 4) for body in self.bodies]
        return torch.tanh(torch.cat(bands, dim=2))


def warp(net: Net, x: Tensor, z: Tensor, **how: Any) -> Tensor:
    grid = net.grid + 0.2 * torch.tanh(z[:, :2, None, None]).permute(0, 2, 3, 1)
    return F.grid_sample(x, grid.expand(len(x), 4, 4, 2), align_corners=False, **how)


def quantised(net: Net, x: Tensor, z: Tensor) -> Tensor:
    """The nearest of the codes (VQ-VAE)."""
    flat = x.permute(0, 2, 3, 1).reshape(-1, 3)
    nearest = torch.cdist(flat, net.codes).argmin(dim=1)
    return net.codes[nearest].view(-1, 4, 4, 3).permute(0, 3, 1, 2)


def one_hot(net: Net, x: Tensor, z: Tensor) -> Tensor:
    return F.one_hot((z[:, :4] * net.scale.sum()).long().clamp(0, 11), 12).float()


def scattered(net: Net, x: Tensor, z: Tensor) -> Tensor:
    index = torch.arange(48).flip(0).expand(len(x), 48)
    return torch.zeros(len(x), 48).scatter(1, index, x.flatten(1))


def added(net: Net, x: Tensor, z: Tensor) -> Tensor:
    index = (torch.arange(48) % 24).expand(len(x), 48)
    return torch.zeros(len(x), 48).scatter_add(1, index, x.flatten(1))


def masked(net: Net, x: Tensor, z: Tensor) -> Tensor:
    return x.masked_fill(x < 0, -0.25) * torch.ones(4, 4).tril() + torch.ones(4, 4).triu(1)


def written(net: Net, x: Tensor, z: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1, ::2] = z[:, :4].unsqueeze(1)
    y[:, :, [0, 3], [1, 2]] = 0.5
    return y


def attention(net: Net, x: Tensor, z: Tensor) -> Tensor:
    rows = x.flatten(2).mT.unsqueeze(1)
    return F.scaled_dot_product_attention(rows, rows, rows).squeeze(1).mT


def fourier(net: Net, x: Tensor, z: Tensor) -> Tensor:
    angles = z[:, :8, None] * (2.0 ** torch.arange(3))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def positions(net: Net, x: Tensor, z: Tensor) -> Tensor:
    height, width = torch.arange(x.shape[2]) / x.shape[2], torch.linspace(-1, 1, x.shape[3])
    return x * torch.stack(torch.meshgrid(height, width, indexing="ij")).sum(0)


def affine(net: Net, x: Tensor, z: Tensor) -> Tensor:
    theta = torch.eye(2, 3) + 0.1 * torch.tanh(z[:, :6]).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)


def rows_of(net: Net, x: Tensor, z: Tensor) -> Tensor:
    return x[torch.arange(len(x)), :, :2].repeat_interleave(2, dim=2)


def modulated(net: Net, x: Tensor, z: Tensor) -> Tensor:
    """StyleGAN2: each channel scaled by a style, and scaled back by what the weights make of it."""
    style = z[:, :3] + 1
    back = (net.kernel.square().sum((2, 3)) @ style.square().mT + 1e-4).rsqrt().mT
    return F.conv2d(x * style[..., None, None], net.kernel, padding=1) * back[..., None, None]


def unfolded(net: Net, x: Tensor, z: Tensor) -> Tensor:
    return F.fold(F.unfold(x, 3, padding=1), (4, 4), 3, padding=1)


def resized(**how: Any) -> Body:
    return lambda net, x, z: F.interpolate(F.interpolate(x, **how), (4, 4))


def padded(mode: str) -> Body:
    return lambda net, x, z: F.avg_pool2d(F.pad(x, (1, 2, 2, 1), mode=mode), 4, stride=1)


NETWORKS: dict[str, Body] = {
    "fourier": fourier,
    "trigonometry": lambda net, x, z: x.sin() + x.cos() + (x / 9).tan() + x.atan() + x.sinh(),
    "inverse": lambda net, x, z: (x / 50).asin() + (x / 50).acos() + x.asinh() + (x / 50).atanh(),
    "cosh": lambda net, x, z: x.cosh().acosh() + torch.atan2(x, x + 0.3),
    "warp": lambda net, x, z: warp(net, x, z),
    "warp nearest": lambda net, x, z: warp(net, x, z, mode="nearest", padding_mode="border"),
    "warp cubic": lambda net, x, z: warp(net, x, z, mode="bicubic", padding_mode="reflection"),
    "affine": affine,
    "quantised": quantised,
    "argmax": lambda net, x, z: net.codes[x.flatten(2).argmax(1) % 7],
    "one hot": one_hot,
    "scatter": scattered,
    "scatter add": added,
    "mask": masked,
    "written": written,
    "gather": lambda net, x, z: x.gather(3, (x > 0).long()),
    "index": lambda net, x, z: x[:, [2, 0, 1]][:, :, torch.tensor([[3, 2], [1, 0]])],
    "rows": rows_of,
    "top k": lambda net, x, z: x.flatten(2).topk(16, dim=2).values,
    "sort": lambda net, x, z: x.sort(dim=3, descending=True).values,
    "cumsum": lambda net, x, z: x.cumsum(3),
    "trilu": lambda net, x, z: x.tril() + x.triu(1) * 2,
    "einsum": lambda net, x, z: torch.einsum(
        "bchw,cd,hk->bdkw", x, net.kernel[0, 0], net.grid[0, :, :, 0]
    ),
    "einsum of two": lambda net, x, z: torch.einsum("bchw,cd->bdhw", x, net.kernel[0, 0]),
    "mod": lambda net, x, z: (x % 0.7) + torch.fmod(x, 0.3) + (x * 8).floor().long() % 3,
    "nan": lambda net, x, z: torch.nan_to_num((x - 0.5).log(), nan=0.1, neginf=-1.0),
    "isnan": lambda net, x, z: torch.where(x.log().isnan() | x.isinf(), -x, x),
    "clip": lambda net, x, z: x.clamp(-0.5, 0.4).clamp(min=-0.3) + x.clamp(max=net.scale[0]),
    "normalise": lambda net, x, z: F.normalize(x, dim=1) + F.normalize(x, p=1.0, dim=1),
    "norm": lambda net, x, z: (
        x / x.norm(dim=(2, 3), keepdim=True) + z.norm(dim=1)[:, None, None, None]
    ),
    "shuffle": lambda net, x, z: F.pixel_unshuffle(F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2), 2)[
        :, :3
    ],
    "channel shuffle": lambda net, x, z: F.channel_shuffle(x.repeat(1, 2, 1, 1), 2)[:, :3],
    "group norm": lambda net, x, z: F.group_norm(x, 3, net.scale),
    "layer norm": lambda net, x, z: F.layer_norm(x, (4, 4)),
    "instance norm": lambda net, x, z: F.instance_norm(x),
    "rms norm": lambda net, x, z: F.rms_norm(x, (4, 4)),
    "local response": lambda net, x, z: F.local_response_norm(x, 3),
    "gelu": lambda net, x, z: F.gelu(x) + F.gelu(x, approximate="tanh"),
    "mish": lambda net, x, z: F.mish(x) + F.hardswish(x) + F.silu(x) + F.softplus(x),
    "activations": lambda net, x, z: F.elu(x) + F.selu(x) + F.celu(x) + F.leaky_relu(x, 0.2),
    "hard": lambda net, x, z: F.hardsigmoid(x) + F.hardtanh(x) + F.relu6(x) + F.softsign(x),
    "shrink": lambda net, x, z: F.hardshrink(x) + F.softshrink(x) + F.threshold(x, 0.1, 20.0),
    "gates": lambda net, x, z: F.glu(x.repeat(1, 2, 1, 1), 1) + F.prelu(x, net.scale),
    "softmax": lambda net, x, z: F.softmax(x, 1) + F.log_softmax(x, 2) + F.logsigmoid(x),
    "log sum": lambda net, x, z: x - x.logsumexp(1, keepdim=True),
    "attention": attention,
    "pad": padded("constant"),
    "pad reflect": padded("reflect"),
    "pad replicate": padded("replicate"),
    "pad circular": padded("circular"),
    "roll": lambda net, x, z: torch.roll(x, (1, -1), (2, 3)) + x.flip(2),
    "nearest": resized(scale_factor=2, mode="nearest"),
    "nearest exact": resized(size=(6, 9), mode="nearest-exact"),
    "bilinear": resized(scale_factor=2, mode="bilinear"),
    "bilinear corners": resized(size=(7, 5), mode="bilinear", align_corners=True),
    "bicubic": resized(scale_factor=2, mode="bicubic"),
    "area": resized(size=(2, 2), mode="area"),
    "antialias": resized(size=(2, 2), mode="bilinear", antialias=True),
    "computed size": lambda net, x, z: F.interpolate(
        F.interpolate(x, (x.shape[2] * 3 // 2, x.shape[3] + 1)), size=x.shape[2:]
    ),
    "transposed": lambda net, x, z: F.conv_transpose2d(x, net.kernel, padding=1),
    "dilated": lambda net, x, z: F.conv2d(x, net.kernel, padding=2, dilation=2),
    "modulated": modulated,
    "fold": unfolded,
    "pool": lambda net, x, z: F.interpolate(F.avg_pool2d(x, 2) + F.max_pool2d(x, 2), (4, 4)),
    "adaptive": lambda net, x, z: x * F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1),
    "global": lambda net, x, z: F.lp_pool2d(x.abs(), 2, 2).repeat(1, 1, 2, 2),
    "positions": positions,
    "expand": lambda net, x, z: net.kernel[:1, :, :1, :1].expand(len(x), 3, 4, 4) * x,
    "tile": lambda net, x, z: (
        net.scale.view(1, 3, 1, 1).repeat(len(z), 1, 2, 2).repeat(1, 1, 2, 2) * x
    ),
    "filled": lambda net, x, z: x.new_full((len(x), 3, 4, 4), 0.3) + torch.zeros_like(x) + x,
    "eye": lambda net, x, z: x @ torch.eye(4) + torch.full((4, 4), 0.25),
    "reductions": lambda net, x, z: (
        x.amax(1, keepdim=True) * x.amin((2, 3), keepdim=True) + x.prod(1, keepdim=True)
    ),
    "moments": lambda net, x, z: x * x.var(1, keepdim=True) + x.std((2, 3), keepdim=True),
    "products": lambda net, x, z: (x.flatten(2) @ x.flatten(2).mT).repeat(1, 1, 6)[..., :16],
    "split": lambda net, x, z: torch.cat([p * i for i, p in enumerate(x.chunk(3, 1))], 1),
    "stacked": lambda net, x, z: torch.stack(x.unbind(1)[::-1], 1) + x.split([1, 3], 3)[0],
    "bits": lambda net, x, z: ((x * 64).long().clamp(0, 63) ^ 21 | 4 & 7).float() / 64,
    "logic": lambda net, x, z: ((x > 0) ^ (x > 0.5) | (x >= -1) & ~(x == 0)).float() - x,
    "rounds": lambda net, x, z: x.round() + x.floor() + x.ceil() + x.trunc() + x.sign() + x.frac(),
    "powers": lambda net, x, z: x.abs().pow(1.5) + x.square() + x.abs().sqrt().rsqrt(),
    "logs": lambda net, x, z: x.abs().log1p() + x.expm1() + x.exp2() + x.abs().log2() / 9,
    "errors": lambda net, x, z: x.erf() + torch.maximum(x, -x) + torch.lerp(x, -x, 0.3),
    "blur": lambda net, x, z: F.conv2d(x, net.kernel[:, :1], groups=3, padding=1),
}


# With `len(x)`: of the batch as a number, torch reads the code instead of running it, and that is
# another way to a graph, which the others are not to take with them. The first five are exported
# alone: together, torch finds no graph of theirs for any batch.
COUNTING = (
    "warp", "warp nearest", "warp cubic", "affine", "scatter", "scatter add", "rows", "expand",
    "tile", "filled",
)  # fmt: skip
REST = [name for name in NETWORKS if name not in COUNTING]
GROUPS = [
    *((name,) for name in COUNTING[:5]),
    COUNTING[5:],
    *(REST[i : i + 8] for i in range(0, len(REST), 8)),
]


@pytest.mark.parametrize("names", GROUPS, ids=", ".join)
def test_parity(names: Sequence[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net([NETWORKS[name] for name in names]).eval()
    artifact = export(
        decode=net, latent=12, image=ImageSpec(height=4 * len(names), width=4, channels=3),
        name="theirs", out=tmp_path, batches=(1, 16), precisions=(), any_range=True,
    )  # fmt: skip
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        for batch in BATCHES:
            z = np.random.default_rng(batch).standard_normal((batch, 12)).astype(np.float32)
            with torch.no_grad():
                floats = net(torch.from_numpy(z))
            levels = (floats + 1).mul(127.5).permute(0, 2, 3, 1).round().numpy()
            differences = np.abs(model.decode(z).astype(int) - levels)
            bands = np.split(differences, len(names), axis=1)
            off = {n: band.max() for n, band in zip(names, bands, strict=True) if band.max() > 1}
            assert not off
