"""What the page's tests are served: the artifacts of this repository, and tiny ones of the kinds
that are not among them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from export import ImageSpec, export
from runtime.artifact.vocabulary import Vocabulary
from tests import tiny
from tests.bento.support import ROOT
from tests.sized import write_sized

SHIPPED = ROOT / "artifacts"


def write_served(folder: Path) -> None:
    """Put into `folder`: the shipped artifacts, `tiny-sized` (translates with a mask),
    `tiny-larger` (without), `tiny-flow` (its encoder takes noise), `tiny-codes` (a codebook),
    `tiny-prompts` and `tiny-volumes`."""
    for artifact in SHIPPED.iterdir():
        if artifact.is_dir():
            (folder / artifact.name).symlink_to(artifact)
    write_sized(folder)
    larger = write_sized(folder / "unmasked", masked=False, name="tiny-larger").parent
    larger.rename(folder / "tiny-larger")
    (folder / "unmasked").rmdir()
    tiny.write_artifact(folder, "vae", name="tiny-flow", noise=True)
    torch.manual_seed(0)
    export(
        decode=nn.Sequential(nn.ConvTranspose2d(4, 3, 2, 2), nn.Tanh()),
        encode=_Quantising(),
        encode_gives=("latents", "codes"),
        codes=(4, 4),
        latent=(4, 4, 4),
        image=ImageSpec(height=8, width=8, channels=3),
        name="tiny-codes",
        out=folder,
    )
    grey = ImageSpec(height=8, width=8, channels=1)
    words = Vocabulary(words=("black", "white"), length=2, examples=("white", "black"))
    export(
        decode=_Shaded(), vocabulary=words, latent=4, image=grey, name="tiny-prompts", out=folder
    )
    solid = nn.Sequential(nn.Linear(4, 512), nn.Tanh(), nn.Unflatten(1, (1, 8, 8, 8)))
    export(decode=solid, depth=8, latent=4, image=grey, name="tiny-volumes", out=folder)


class _Shaded(nn.Module):
    """Latents [B, 4] and tokens [B, 2] -> images, dark or bright as the first word says."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 64)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        shade = tokens[:, :1] * 2.0 - 3.0  # black has the token 1, white 2
        return torch.tanh(self.layer(latents) * 0.3 + shade).view(-1, 1, 8, 8)


class _Quantising(nn.Module):
    """The nearest entry of a codebook for every position (van den Oord et al. 2017, eq. 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 2, 2)
        self.book = nn.Parameter(torch.randn(16, 4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        flat = self.layer(images).permute(0, 2, 3, 1)
        codes = (flat[..., None, :] - self.book).square().sum(-1).argmin(-1)
        return self.book[codes].permute(0, 3, 1, 2), codes
