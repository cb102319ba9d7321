"""Recipes: named functions, each returning everything that a training run depends on."""

from collections.abc import Callable

from train.recipes.cifar10 import (
    cifar10_biggan,
    cifar10_biggan_full,
    cifar10_dcgan,
    cifar10_frogs_dcgan,
    images_dcgan,
)
from train.recipes.mnist_cgan import (
    mnist_acgan,
    mnist_cgan,
    mnist_cgan_batch_norm,
    mnist_cgan_concatenate,
)
from train.recipes.mnist_dcgan import (
    mnist_dcgan,
    mnist_dcgan_linear_end,
    mnist_dcgan_no_noise,
    mnist_dcgan_odd_kernel,
    mnist_dcgan_sparse,
    mnist_dcgan_uniform_prior,
)
from train.recipes.mnist_gan import (
    mnist_feature_matching,
    mnist_gan,
    mnist_hinge,
    mnist_historical_averaging,
    mnist_label_smoothing,
    mnist_lsgan,
    mnist_minibatch_deviation,
    mnist_minimax,
    mnist_r3gan,
    mnist_virtual_batch_norm,
    mnist_wgan,
    mnist_wgan_gp,
)
from train.recipes.recipe import RECIPE_JSON, Recipe, differences
from train.recipes.stacked import stacked_dcgan, stacked_pacgan, stacked_r3gan
from train.recipes.vae import (
    digits_vae,
    mnist_vae,
    mnist_vae_2d,
    mnist_vae_binary,
    mnist_vae_iaf,
    mnist_vae_wide,
    shapes_beta_vae,
)

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        mnist_vae_2d,
        mnist_vae,
        mnist_vae_wide,
        mnist_vae_binary,
        mnist_vae_iaf,
        mnist_cgan,
        cifar10_frogs_dcgan,
        cifar10_dcgan,
        cifar10_biggan,
        cifar10_biggan_full,
        images_dcgan,
        mnist_gan,
        mnist_minimax,
        mnist_lsgan,
        mnist_hinge,
        mnist_wgan,
        mnist_wgan_gp,
        mnist_r3gan,
        mnist_feature_matching,
        mnist_minibatch_deviation,
        mnist_historical_averaging,
        mnist_label_smoothing,
        mnist_virtual_batch_norm,
        mnist_cgan_concatenate,
        mnist_cgan_batch_norm,
        mnist_acgan,
        mnist_dcgan,
        mnist_dcgan_linear_end,
        mnist_dcgan_uniform_prior,
        mnist_dcgan_no_noise,
        mnist_dcgan_sparse,
        mnist_dcgan_odd_kernel,
        stacked_dcgan,
        stacked_pacgan,
        stacked_r3gan,
        digits_vae,
        shapes_beta_vae,
    )
}

__all__ = ["RECIPES", "RECIPE_JSON", "Recipe", "differences"]
