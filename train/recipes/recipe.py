"""`Recipe`: everything that one training run depends on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Annotated, Any, Literal, ParamSpec

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from runtime.images import ImageSpec
from train.networks.network import pack_of
from train.objectives import Settings


# A setting that is unknown here was renamed or removed: left out, its default would take its place.
@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """One training run, apart from where its data lies and where its output goes."""

    name: str = "unnamed"
    """`@recipe` sets it: the function's name."""
    summary: str
    source: str
    """The data source, a key of `train.data.SOURCES`."""
    image: ImageSpec
    """Its value range is that of the images which the networks make."""
    objective: Annotated[Settings, Field(discriminator="kind")]
    steps: int
    batch_size: int
    shards: int = 1
    """Equal parts of a batch, each with its own random numbers and batch statistics; processes
    share them out (`train.shards`)."""
    balanced: bool = False
    """Each class in turn, so that a batch has as many of each."""
    seed: int = 0
    validation: int = 0
    """So many training images are held out in the place of the test images, to choose settings by:
    no test image then has a part in a run or in its figures."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast of the networks; losses, augmentation and weights stay fp32. `python -m train`
    takes fp32 where that is faster, as it is where the device has no bf16 (`train.precision`)."""
    ema_decay: float = 0.0
    """Decay, each step (a critic's count), of the averaged weights that are kept for the artifact;
    0 keeps the last weights."""
    checkpoint_every: int = 1000
    sample_every: int = 500
    log_every: int = 50

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "seed": 0, "validation": 0}
        for name, bound in least.items():
            if (found := getattr(self, name)) < bound:
                raise ValueError(f"{name}: expected at least {bound}, found {found}")
        if self.shards < 1 or self.batch_size % self.shards:
            raise ValueError(
                f"shards: expected a divisor of the batch size {self.batch_size}, "
                f"found {self.shards}"
            )
        made = _made_range(self.objective)
        if made not in (None, self.image.value_range):
            raise ValueError(
                f"image.value_range: expected {made}, which the networks make, "
                f"found {self.image.value_range}"
            )
        if self.objective.kind == "cycle" and (self.shards > 1 or not self.balanced):
            raise ValueError(
                "shards and balanced: expected 1 and True for a CycleGAN, whose batches hold both "
                f"kinds and whose pool is one; found {self.shards} and {self.balanced}"
            )
        if self.objective.kind == "cycle" and (self.batch_size < 2 or self.batch_size % 2):
            raise ValueError(
                "batch_size: expected an even one of at least 2 for a CycleGAN, whose batches hold "
                f"as many of both kinds; found {self.batch_size}"
            )
        network = self.objective.network
        pack = pack_of(network)
        if self.batch_size // self.shards % pack:
            raise ValueError(
                f"batch_size: expected whole packs of {pack} in each of {self.shards} shards; "
                f"found {self.batch_size}"
            )
        shape = (network.height, network.width, network.channels)
        if shape != self.image.shape:
            raise ValueError(f"network: expected images of {self.image.shape}, found {shape}")

    @property
    def classes(self) -> int:
        """How many labels of the data it learns from; 0: none."""
        return getattr(self.objective, "classes", self.objective.network.classes)


def _made_range(objective: Settings) -> tuple[float, float] | None:
    """The value range of the images that an objective's networks make; None: any."""
    match objective.kind:
        case "autoregressive":
            return (0, 1)
        case "vae":
            return (0, 1) if objective.network.sigmoid else None
        case _:
            return (-1, 1)


RECIPES: dict[str, Callable[..., Recipe]] = {}
"""Every recipe by its name. What some take besides (`image_size`, `classes`, ...) has defaults."""

Made = ParamSpec("Made")


def recipe(make: Callable[Made, Recipe]) -> Callable[Made, Recipe]:
    """Register a recipe: the function's name becomes its name."""

    @wraps(make)
    def named(*args: Made.args, **kwargs: Made.kwargs) -> Recipe:
        return replace(make(*args, **kwargs), name=make.__name__)

    if make.__name__ in RECIPES:
        raise ValueError(f"recipe: expected a new name, found {make.__name__!r} a second time")
    RECIPES[make.__name__] = named
    return named


RECIPE_JSON = TypeAdapter(Recipe)
"""Recipe <-> JSON, validated on the way in."""


_IMMATERIAL = frozenset({"summary", "checkpoint_every", "sample_every", "log_every"})
"""Settings that change no weight."""


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings in which two recipes (as JSON) differ, by dotted name. A setting that only one
    of them has does not count: the other recipe is older."""
    found = {}
    for name in one.keys() & other.keys() - _IMMATERIAL:
        mine, theirs = one[name], other[name]
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            inner = differences(mine, theirs)
            found |= {f"{name}.{setting}": values for setting, values in inner.items()}
        elif mine != theirs:
            found[name] = mine, theirs
    return dict(sorted(found.items()))


def variant(
    base: Recipe, summary: str, *, network: dict[str, Any] | None = None, **changes: Any
) -> Recipe:
    """`base` with changes to its objective, and to its networks."""
    networks = replace(base.objective.network, **network or {})
    objective = replace(base.objective, network=networks, **changes)
    return replace(base, summary=summary, objective=objective)
