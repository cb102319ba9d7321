"""Recipes: named functions, each returning everything that a training run depends on."""

from collections.abc import Callable

from train.recipes.gan import cifar10_frogs_dcgan, images_dcgan, mnist_cgan
from train.recipes.recipe import RECIPE_JSON, Recipe
from train.recipes.stacked import stacked_dcgan, stacked_pacgan, stacked_r3gan
from train.recipes.vae import digits_vae, mnist_vae, mnist_vae_2d

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        mnist_vae_2d,
        mnist_vae,
        mnist_cgan,
        cifar10_frogs_dcgan,
        images_dcgan,
        stacked_dcgan,
        stacked_pacgan,
        stacked_r3gan,
        digits_vae,
    )
}

__all__ = ["RECIPES", "RECIPE_JSON", "Recipe"]
