"""The recipe that a command line asks for: a named one, with what is given instead of its own."""

import inspect
from dataclasses import dataclass, fields, replace
from typing import Any

from train.data import Splits
from train.errors import DataError, OptionError
from train.objectives import AdamParams
from train.precision import Precision
from train.recipes import RECIPES, Recipe


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to train instead of a recipe's own settings; None or False: as the recipe has it, or
    the run that is resumed."""

    image_size: int | None = None
    width: int | None = None
    conditional: bool = False
    mirror: bool = False
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    precision: Precision | None = None
    seed: int | None = None
    shards: int | None = None
    validation: int | None = None
    processes: int = 1
    """There are at least as many shards."""


_ARGUMENTS = {
    "image_size": ("image_size", "--image-size"),
    "width": ("width", "--width"),
    "conditional": ("classes", "--conditional"),
    "mirror": ("mirror", "--mirror"),
}
"""Options that are arguments of some recipes: the argument, and what the command line calls it."""
_SETTINGS = ("steps", "batch_size", "precision", "seed", "shards", "validation")
"""Options that every recipe takes: fields of `Recipe`."""
_KEPT = ("steps", "precision", "seed", "shards", "validation")
"""Those of them that a resumed run keeps though its recipe is made again."""


def build(
    name: str, options: Options, own: Recipe | None = None, data: Splits | None = None
) -> Recipe:
    """The recipe `name` with these options; with `data`, for its classes and number of pictures.

    `own` is the recipe of the run that is resumed, which goes on as it is. Where arguments of the
    recipe are given, it is made again from them, so they have to be all that the run was given.

    Raises OptionError for an option that the recipe does not take, or not with this value;
    DataError where labels are asked for and the data has none.
    """
    arguments = _arguments(name, options)
    if own is not None and not arguments:
        return _changed(replace(own, name=name), options)
    if data is not None:
        if "classes" in arguments:
            arguments["classes"] = _classes(data)
        if "pictures" in inspect.signature(RECIPES[name]).parameters:
            arguments["pictures"] = len(data.train.images)
    try:
        recipe = RECIPES[name](**arguments)
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from error
    if own is not None:
        kept = {field: getattr(own, field) for field in _KEPT}
        recipe = replace(recipe, **kept)
    return _changed(recipe, options)


def labelled(recipe: Recipe, options: Options) -> bool:
    """Whether the labels of the data are used."""
    return options.conditional or bool(recipe.classes)


def _arguments(name: str, options: Options) -> dict[str, Any]:
    """The arguments for the recipe's function. How many classes there are, the data will tell."""
    arguments = {}
    for field, (argument, option) in _ARGUMENTS.items():
        if not (value := getattr(options, field)):
            continue
        takers = [n for n, f in RECIPES.items() if argument in inspect.signature(f).parameters]
        if name not in takers:
            expected = " or ".join(takers)
            raise OptionError(
                f"{option}: expected a recipe that takes it, {expected}; found {name}"
            )
        arguments[argument] = 2 if argument == "classes" else value
    return arguments


def _classes(data: Splits) -> int:
    found = data.train.classes
    if len(found) < 2:
        raise DataError(
            f"--conditional: expected images in at least two folders, which are the classes; "
            f"found one class, {', '.join(found)}"
        )
    return len(found)


def _changed(recipe: Recipe, options: Options) -> Recipe:
    changes = {name: getattr(options, name) for name in _SETTINGS}
    changes = {name: value for name, value in changes.items() if value is not None}
    changes = {"shards": max(recipe.shards, options.processes)} | changes
    if options.learning_rate is not None:
        changes["objective"] = _at_rate(recipe.objective, options.learning_rate)
    return replace(recipe, **changes)


def _at_rate(objective: Any, rate: float) -> Any:
    """The objective at a learning rate; of several networks, the generator's, and the others' in
    the same proportion to it as before."""
    settings = {field.name: getattr(objective, field.name) for field in fields(objective)}
    own = {name: adam for name, adam in settings.items() if isinstance(adam, AdamParams)}
    before = own["generator" if "generator" in own else "optimizer"].learning_rate
    scaled = {
        name: replace(adam, learning_rate=rate * (adam.learning_rate / before))
        for name, adam in own.items()
    }
    return replace(objective, **scaled)
