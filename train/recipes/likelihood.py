"""Likelihoods of binary MNIST, each recipe with the budget of about an hour of one core.

Their settings were set beforehand, widths and steps by the time that a step takes; no figure of
test images chose any of them.
"""

from dataclasses import replace

from runtime.images import ImageSpec
from train.networks.iaf import IAFParams
from train.networks.layered import LayeredParams
from train.networks.pixelcnn import PixelCNNParams
from train.networks.vae import VAEParams
from train.objectives import ELBO, AdamParams, Autoregressive
from train.recipes.recipe import Recipe, recipe

_IMAGE = ImageSpec(height=28, width=28, channels=1, value_range=(0.0, 1.0))
_RESIDUAL = VAEParams(
    latent=40, widths=(16, 32), decoder_widths=(16, 32), blocks=2, hidden=450, depth=1, norm=True
)
"""Convolutional residual networks between image and latent."""


def _binary(summary: str, objective: ELBO | Autoregressive) -> Recipe:
    return Recipe(
        summary=summary,
        source="mnist-binarised",
        image=_IMAGE,
        objective=objective,
        steps=30_000,
        batch_size=128,
        precision="bf16",
        ema_decay=0.999,
        checkpoint_every=500,
        sample_every=4000,
    )


@recipe
def mnist_iwae() -> Recipe:
    """Two stochastic layers of 100 and 50 as in Burda et al.; few images a step, as each is
    decoded fifty times."""
    image = VAEParams(latent=100, widths=(), decoder_widths=(), hidden=200, norm=True)
    made = _binary(
        "IWAE with 50 draws and two stochastic layers on binary MNIST",
        ELBO(
            LayeredParams(image, above=(50,), hidden=(100,), ladder=False),
            AdamParams(1e-3, schedule="one_cycle"),
            binarise=True,
            warm_up=0.3,
            draws=50,
        ),
    )
    return replace(made, batch_size=32, steps=50_000, precision="fp32")


@recipe
def mnist_iaf_residual() -> Recipe:
    return _binary(
        "VAE with an inverse autoregressive flow and residual convolutions on binary MNIST",
        ELBO(
            _RESIDUAL,
            AdamParams(2e-3, schedule="one_cycle"),
            binarise=True,
            warm_up=0.2,
            flow=IAFParams(steps=4, hidden=480, context=100),
        ),
    )


@recipe
def mnist_ladder() -> Recipe:
    return _binary(
        "ladder VAE on binary MNIST: five stochastic layers, each of which can be drawn again",
        ELBO(
            LayeredParams(
                replace(_RESIDUAL, latent=64), above=(32, 16, 8, 4), hidden=(256, 128, 64, 32)
            ),
            AdamParams(2e-3, schedule="one_cycle"),
            binarise=True,
            warm_up=0.2,
        ),
    )


@recipe
def mnist_pixelcnn() -> Recipe:
    made = _binary(
        "gated PixelCNN on binary MNIST: exact likelihood, drawn pixel by pixel (not served)",
        Autoregressive(PixelCNNParams(), AdamParams(2e-3, schedule="one_cycle")),
    )
    return replace(made, batch_size=32, steps=12_000)


@recipe
def mnist_vae_2d_residual() -> Recipe:
    """Binary pixels, drawn anew at every step, are noise on the encoder's input: without them it
    learns the training images by heart (`mnist_vae_2d`)."""
    return Recipe(
        summary="VAE with a 2-D latent and a decoder of residual convolutions",
        source="mnist",
        image=_IMAGE,
        objective=ELBO(
            VAEParams(
                latent=2,
                widths=(16, 32),
                decoder_widths=(16, 32),
                blocks=2,
                hidden=512,
                depth=3,
                norm=True,
            ),
            AdamParams(3e-3, weight_decay=1e-4, schedule="one_cycle"),
            binarise=True,
        ),
        steps=25_000,
        batch_size=128,
        precision="bf16",
        ema_decay=0.999,
        checkpoint_every=500,
        sample_every=4000,
    )
