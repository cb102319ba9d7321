"""Recipes: named functions, each returning everything that a training run depends on."""

from collections.abc import Callable

from train.recipes.gan import cifar10_frogs_dcgan, images_dcgan, mnist_cgan
from train.recipes.recipe import RECIPE_JSON, Recipe
from train.recipes.vae import (
    digits_vae,
    mnist_vae,
    mnist_vae_2d,
    mnist_vae_binary,
    mnist_vae_iaf,
    shapes_beta_vae,
)

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        mnist_vae_2d,
        mnist_vae,
        mnist_vae_binary,
        mnist_vae_iaf,
        mnist_cgan,
        cifar10_frogs_dcgan,
        images_dcgan,
        digits_vae,
        shapes_beta_vae,
    )
}

__all__ = ["RECIPES", "RECIPE_JSON", "Recipe"]
