"""The network of the judges, and how it learns from labelled images.

Shapes: B batch, H height, W width, C channels, D features.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from export.modules import convert
from runtime.artifact.tensors import GraphSpec, TensorSpec
from train.data import Dataset

LARGEST_SIDE = 64
"""About the largest feature maps: of larger images the first convolution takes longer steps."""


@dataclass(frozen=True)
class ClassifierRecipe:
    """What is trained, on what and for how long."""

    name: str
    height: int
    width: int
    channels: int
    widths: tuple[int, ...]
    """Channels; the sides of the feature map halve from one to the next, the last one is D."""
    steps: int
    batch: int
    learning_rate: float
    flip: bool
    """Mirror half of the images; digits must not be."""
    shift: int
    """Largest shift in pixels, both ways."""
    turn: float
    """Largest rotation in degrees (and, in percent, largest change of size)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images."""
        return self.height, self.width, self.channels

    @property
    def stride(self) -> int:
        """Of the first convolution."""
        return max(1, round(min(self.height, self.width) / LARGEST_SIDE))


class Network(nn.Module):
    """A convolution, which divides the sides by `stride`, then stages that halve them and end in a
    residual convolution (He et al. 2016, arXiv:1512.03385); the features are means over all
    positions.

    Images float [B, C, H, W] in [-1, 1] -> logits [B, classes], features [B, D].
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], classes: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.stem = _layer(channels, widths[0], stride, reach=stride)
        pairs = list(pairwise(widths))
        self.halve = nn.ModuleList(_layer(before, after, stride=2) for before, after in pairs)
        self.refine = nn.ModuleList(_layer(after, after) for _, after in pairs)
        self.classify = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.stem(images)
        for halve, refine in zip(self.halve, self.refine, strict=True):
            hidden = halve(hidden)
            hidden = hidden + refine(hidden)
        features = hidden.mean(dim=(2, 3))
        return self.classify(features), features


def _layer(channels: int, width: int, stride: int = 1, reach: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, 2 * reach + 1, stride, padding=reach, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


class Frozen(nn.Module):
    """uint8 images [B, H, W, C], as artifacts give them -> probabilities [B, 10], features."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        (images,) = tensors
        logits, features = self.network(_to_float(images))
        return logits.softmax(dim=1), features


def fit(recipe: ClassifierRecipe, data: Dataset, seed: int, *, bf16: bool = True) -> Network:
    """Train on one core; the seed fixes the weights on one machine with one torch version.

    Cross-entropy without label smoothing, so that the probabilities stay near the frequencies.
    bf16 is twice as fast on processors that compute in it, and ten times slower on others.
    """
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(recipe.channels, recipe.widths, len(data.classes), recipe.stride)
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.25
        )
        images, labels = torch.from_numpy(data.images.copy()), torch.from_numpy(data.labels)
        order = torch.empty(0, dtype=torch.int64)
        progress = tqdm(range(recipe.steps), desc=f"classifier {recipe.name}", mininterval=5)
        for step in progress:
            if len(order) < recipe.batch:
                order = torch.randperm(len(images))
            chosen, order = order[: recipe.batch], order[recipe.batch :]
            batch = augment(_to_float(images[chosen]), recipe)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits, _ = network(batch)
            loss = F.cross_entropy(logits.float(), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 50 == 0:
                progress.set_postfix(nats=f"{loss.item():.3f}", refresh=False)
    return network.eval()


def to_onnx(network: Network, recipe: ClassifierRecipe) -> bytes:
    """The frozen classifier as one ONNX file with a free batch, made as artifacts' graphs are."""
    spec = GraphSpec(
        file=f"{recipe.name}.onnx",
        precision="fp32",
        inputs=(TensorSpec(name="images", role="images", dtype="uint8", shape=recipe.shape),),
        outputs=(
            TensorSpec(
                name="probabilities",
                role="mean",
                dtype="float32",
                shape=(network.classify.out_features,),
            ),
            TensorSpec(
                name="features",
                role="mean",
                dtype="float32",
                shape=(network.classify.in_features,),
            ),
        ),
    )
    return convert.to_onnx(Frozen(network).eval(), spec, {})


def _to_float(images: Tensor) -> Tensor:
    """uint8 [B, H, W, C] -> float [B, C, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() * (2 / 255) - 1


def augment(images: Tensor, recipe: ClassifierRecipe) -> Tensor:
    """Turn, scale, mirror and shift each image at random; its edge pixels continue outside."""
    if not (recipe.flip or recipe.shift or recipe.turn):
        return images
    count, _, height, width = images.shape
    angle = torch.deg2rad((2 * torch.rand(count) - 1) * recipe.turn)
    scale = 1 + (2 * torch.rand(count) - 1) * (recipe.turn / 100)
    mirror = torch.where(torch.rand(count) < 0.5 * recipe.flip, -1.0, 1.0)
    # Whole pixels: a shift alone blurs nothing. Coordinates run from -1 to 1 over a side.
    right, down = torch.randint(-recipe.shift, recipe.shift + 1, (2, count))
    row_x = torch.stack([scale * angle.cos() * mirror, -angle.sin(), right * (2 / width)], dim=1)
    row_y = torch.stack([angle.sin() * mirror, scale * angle.cos(), down * (2 / height)], dim=1)
    grid = F.affine_grid(
        torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
