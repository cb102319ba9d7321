"""A variational autoencoder whose decoder reads a prompt beside the latent.

The words of a prompt are embedded and added up, so that each says its part whatever stands beside
it: combinations that were never seen together are read as those that were. The encoder sees the
picture alone.

Shapes: B batch, L words of a prompt, F features of it, Z latent.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor, nn

from train import captions
from train.networks.network import network
from train.networks.posterior import Posterior
from train.networks.vae import Decoder, Encoder, VAEParams


@network("vae")
@dataclass(frozen=True)
class PromptedVAEParams(VAEParams):
    """`VAEParams` for `classes` captions, those of `train.captions`."""

    features: int = 64
    """Of a prompt."""
    kind: Literal["prompted-vae"] = "prompted-vae"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        super().__post_init__()
        expected = len(captions.shapes().texts)
        if self.classes != expected:
            raise ValueError(f"classes: expected {expected} captions, found {self.classes}")

    @property
    def plain(self) -> VAEParams:
        """Those of the networks around the latent."""
        return VAEParams(**{f.name: getattr(self, f.name) for f in fields(VAEParams)})

    def build(
        self, flow: "Callable[[Encoder], Posterior] | None" = None
    ) -> "tuple[Posterior, PromptedDecoder]":
        encoder = Encoder(self)
        return flow(encoder) if flow else encoder, PromptedDecoder(self)


class PromptReader(nn.Module):
    """Tokens int64 [B, L], 0 where there is no word -> features [B, F]."""

    def __init__(self, words: int, features: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(words + 1, features, padding_idx=0)
        self.layers = nn.Sequential(nn.Linear(features, features), nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(self.embed(tokens).sum(dim=1))


class PromptedDecoder(nn.Module):
    """Latents [B, Z] and the numbers of captions int64 [B] -> images [B, C, H, W]; `draw` takes
    the tokens of any prompt instead."""

    captions: Tensor

    def __init__(self, params: PromptedVAEParams) -> None:
        super().__init__()
        self.params = params
        known = captions.shapes()
        self.register_buffer("captions", torch.from_numpy(known.tokens), persistent=False)
        self.reader = PromptReader(len(known.words), params.features)
        self.decoder = Decoder(replace(params.plain, classes=params.features))

    def logits(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self._layers(latents, self.captions[labels])

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.draw(latents, self.captions[labels])

    def draw(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """Latents [B, Z] and tokens int64 [B, L] -> images [B, C, H, W]."""
        made = self._layers(latents, tokens)
        return made.sigmoid() if self.params.sigmoid else made

    def _layers(self, latents: Tensor, tokens: Tensor) -> Tensor:
        return self.decoder.layers(torch.cat([latents, self.reader(tokens)], dim=1))


class ByPrompt(nn.Module):
    """A prompted decoder as it is exported: latents [B, Z] and tokens int64 [B, L] -> images."""

    def __init__(self, decoder: PromptedDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        return self.decoder.draw(latents, tokens)
