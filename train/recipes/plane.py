"""A GAN and a VAE of points in the plane, to be watched while they learn (`--watch`)."""

from dataclasses import replace

from train.data.plane import SPEC
from train.networks.mlp import MLPParams
from train.networks.vae import VAEParams
from train.objectives import ELBO, AdamParams, Adversarial
from train.recipes.recipe import Recipe, recipe

_RATE = AdamParams(1e-3, (0.0, 0.99))


@recipe
def rings_gan() -> Recipe:
    """R1 keeps the discriminator's slopes gentle; without it the samples chase one another."""
    return Recipe(
        summary="GAN of points on two rings: watch it learn",
        source="rings",
        image=SPEC,
        objective=Adversarial(MLPParams(), generator=_RATE, discriminator=_RATE, r1=0.001),
        steps=8_000,
        batch_size=256,
        ema_decay=0.99,
        checkpoint_every=4000,
        sample_every=100,
        log_every=20,
    )


@recipe
def rings_vae() -> Recipe:
    """Where the data leaves holes, a plane of latents that has none must be cut or fill them."""
    return Recipe(
        summary="VAE of points on two rings: watch it learn",
        source="rings",
        image=SPEC.model_copy(update={"value_range": (0.0, 1.0)}),
        objective=ELBO(
            VAEParams(height=1, width=2, widths=(), decoder_widths=(), hidden=128, depth=3),
            AdamParams(2e-3),
            likelihood="gaussian",
            gaussian_log_scale=-4.2,  # a standard deviation of 0.015, as the points have it
        ),
        steps=8_000,
        batch_size=256,
        checkpoint_every=4000,
        sample_every=100,
        log_every=20,
    )


@recipe
def grid_gan() -> Recipe:
    return replace(
        rings_gan(),
        summary="the same of nine Gaussians: which of them it draws",
        source="gaussians",
    )


@recipe
def grid_vae() -> Recipe:
    return replace(rings_vae(), summary="the same of nine Gaussians", source="gaussians")
