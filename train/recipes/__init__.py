"""Recipes: named functions, each returning everything that a training run depends on.

Every module of this package is imported here, so a recipe is added by writing it in one file.
"""

from importlib import import_module
from pkgutil import iter_modules

from train.recipes.recipe import RECIPE_JSON, RECIPES, Recipe, differences

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["RECIPES", "RECIPE_JSON", "Recipe", "differences"]
