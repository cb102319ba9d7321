"""Small networks with everything an export must cope with, each exported once a session."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from export import ImageSpec, export

LABELS = ("circle", "square", "star")


class Decoder(nn.Module):
    """Latents [B, 4, 8, 8] -> images [B, 3, 16, 16] in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(4, 16, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Dropout(0.5),
            spectral_norm(nn.Conv2d(16, 3, 3, padding=1)),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Encoder(nn.Module):
    """Images [B, 3, 16, 16] -> mean, log-variance [B, 4, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.layers(x).chunk(2, dim=1)


class ConditionalDecoder(nn.Module):
    """Latents [B, 5] and labels [B] -> grey images [B, 1, 6, 8] in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(len(LABELS), 5)
        self.layers = nn.Sequential(nn.Linear(5, 48), nn.BatchNorm1d(48), nn.Sigmoid())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.layers(3.0 * (z + self.classes(labels))).view(-1, 1, 6, 8)


class ConditionalEncoder(nn.Module):
    """Images [B, 1, 6, 8] and labels [B] -> mean, log-variance [B, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(len(LABELS), 48)
        self.mean, self.log_variance = nn.Linear(48, 5), nn.Linear(48, 5)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (x.flatten(1) + self.classes(labels)).relu()
        return self.mean(hidden), self.log_variance(hidden)


@pytest.fixture(scope="session")
def image() -> ImageSpec:
    return ImageSpec(height=16, width=16, channels=3)


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    """In train mode, as someone's training loop leaves it, with statistics that are not 0 and 1."""
    torch.manual_seed(0)
    decoder = Decoder()
    for _ in range(20):
        decoder(1.0 + 2.0 * torch.randn(8, 4, 8, 8))
    return decoder


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    torch.manual_seed(1)
    encoder = Encoder()
    encoder(torch.rand(8, 3, 16, 16))
    return encoder


@pytest.fixture(scope="session")
def exported(
    decoder: Decoder, encoder: Encoder, image: ImageSpec, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An artifact of a decoder and an encoder with a (4, 8, 8) latent."""
    out = tmp_path_factory.mktemp("artifacts")
    return export(
        decode=decoder,
        encode=encoder,
        latent=(4, 8, 8),
        image=image,
        name="shapes",
        out=out,
        batches=(1, 16),
        precisions=(),
        licence="CC0-1.0",
    )


@pytest.fixture(scope="session")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose decoder and encoder take labels."""
    torch.manual_seed(2)
    return export(
        decode=ConditionalDecoder(),
        encode=ConditionalEncoder(),
        encode_takes_labels=True,
        latent=5,
        image=ImageSpec(height=6, width=8, channels=1, value_range=(0.0, 1.0)),
        labels=LABELS,
        name="labelled-shapes",
        out=tmp_path_factory.mktemp("artifacts"),
        batches=(1, 4),
        precisions=(),
    )
