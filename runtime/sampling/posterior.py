"""The output of an encoder: the posterior q(z|x) of images, a draw from it, or one latent alone.

A normal posterior with diagonal covariance has a mean and a log variance, from which any number of
latents can be drawn. The log variance is kept within LOG_VARIANCE, so that draws are
finite for unusual pictures too. A flow has neither: its encoder maps noise
to one latent and the density of that latent (Kingma et al. 2016, arXiv:1606.04934). A draw has the
same form for both.

Shapes: n images, `latent` the shape of one latent.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.checks import check_integer
from runtime.errors import NotFiniteError
from runtime.images import Float32Array
from runtime.sampling.streams import MAX_SEED, Counter, Stream, normals

MAX_LATENT = 1e6
"""The largest value of a latent: no working encoder or prior gives larger ones."""

LOG_VARIANCE = (-30.0, 20.0)
"""Bounds on the log variance: those of diffusers' `DiagonalGaussianDistribution`
(`models/autoencoders/vae.py`), after CompVis/latent-diffusion `ldm/modules/distributions`."""

LARGEST = float(np.finfo(np.float32).max)
"""`usable` with it refuses NaN and infinity alone."""


@dataclass(frozen=True, eq=False)
class PosteriorDraw:
    """One latent z from the posterior of each image, with its log density."""

    latents: Float32Array
    """[n, *latent]"""
    log_density: Float32Array
    """log q(z|x) in nats, [n]"""

    def __len__(self) -> int:
        return len(self.latents)

    def arrays(self) -> dict[str, Float32Array]:
        return {"latents": self.latents, "log_density": self.log_density}


@dataclass(frozen=True, eq=False)
class Encoding:
    """The one latent of each image that an encoder without a posterior gives (vector quantisation,
    a plain autoencoder)."""

    latents: Float32Array
    """[n, *latent]"""
    codes: NDArray[np.int64] | None = None
    """[n, *codes], the numbers of the codebook's entries, where there is a codebook."""

    def __len__(self) -> int:
        return len(self.latents)

    def arrays(self) -> dict[str, NDArray[Any]]:
        codes = {} if self.codes is None else {"codes": self.codes}
        return {"latents": self.latents, **codes}


@dataclass(frozen=True, eq=False)
class Posterior:
    """q(z|x) of n images: a normal with diagonal covariance. Both arrays are [n, *latent]."""

    mean: Float32Array
    log_variance: Float32Array
    """Within LOG_VARIANCE, whatever was given."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_variance", np.clip(self.log_variance, *LOG_VARIANCE))

    def __len__(self) -> int:
        return len(self.mean)

    def arrays(self) -> dict[str, Float32Array]:
        return {"mean": self.mean, "log_variance": self.log_variance}

    def sample(self, seed: int) -> Float32Array:
        """One latent per image, z = mean + exp(log_variance / 2) * noise (Kingma & Welling 2014,
        eq. 10). Noise i depends only on (seed, i). NotFiniteError as in `draw`."""
        return self.draw(seed).latents

    def draw(self, seed: int, offset: int = 0) -> PosteriorDraw:
        """The latents of `sample` with their log density. The first image uses noise number
        `offset`. Raises NotFiniteError that names the image whose latent no decoder would take."""
        seed = check_integer("seed", seed, 0, MAX_SEED - 1)
        offset = check_integer("offset", offset, 0, MAX_SEED - 1)
        return self.drawn(Counter(seed, offset, len(self)), offset)

    def drawn(self, noise_of: Counter, offset: int = 0) -> PosteriorDraw:
        """`draw` by the noise of any seeds and numbers; `offset` is the number of the first image
        in an error."""
        noise = posterior_noise(noise_of, self.mean.shape[1:])
        latents = self.mean + np.exp(0.5 * self.log_variance) * noise
        drawn = usable(latents.astype(np.float32, copy=False), offset)
        return PosteriorDraw(drawn, _log_density(noise, self.log_variance))

    def log_density(self, latents: Float32Array) -> Float32Array:
        """log q(z|x) in nats of one latent z per image, [n, *latent]: [n]."""
        noise = (latents - self.mean) * np.exp(-0.5 * self.log_variance)
        return _log_density(noise, self.log_variance)


def usable(values: Float32Array, offset: int = 0, *, most: float = MAX_LATENT) -> Float32Array:
    """An encoder's output [n, ...] for images `offset`.. of a request; NotFiniteError that names
    the first image for which it is not finite, or larger than `most`: no decoder takes such a
    latent."""
    wrong = ~(np.abs(values) <= most).reshape(len(values), -1).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        largest = np.abs(values[row]).max()
        raise NotFiniteError(
            f"images[{offset + row}]",
            f"a picture for which the encoder gives finite values of at most {most:g}",
            f"{largest:g}" if np.isfinite(largest) else "NaN or infinity",
        )
    return values


def _log_density(noise: NDArray[np.float32], log_variance: Float32Array) -> Float32Array:
    terms = np.square(noise, dtype=np.float64) + log_variance + math.log(2 * math.pi)
    return (-0.5 * terms.reshape(len(noise), -1).sum(axis=1)).astype(np.float32)


def posterior_noise(noise_of: Counter, shape: tuple[int, ...]) -> Float32Array:
    """N(0, I) noise [count, *shape] of seeds and numbers."""
    noise = normals(noise_of, Stream.POSTERIOR_NOISE, math.prod(shape))
    return noise.reshape(noise_of.count, *shape)
