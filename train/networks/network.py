"""The register of networks: each params dataclass says here to which family it belongs.

A network's params have `latent`, `height`, `width`, `channels` and `classes` (0: no labels), the
`kind` by which JSON names it, and `build()`, which makes its pair of modules. Those of a decoder
that takes noise beside its latents have `noise` too, those of a discriminator that scores several
images together `pack`. A translator's have no `latent`, and `build(planes, scale)` makes its one
module.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union

from pydantic import Discriminator, GetPydanticSchema, Tag

Params = TypeVar("Params")

_FAMILIES: dict[str, dict[str, type[Any]]] = {"gan": {}, "vae": {}, "translator": {}}


def network(family: str) -> Callable[[type[Params]], type[Params]]:
    """Register a params dataclass by its `kind`, as a network of an objective's family."""

    def register(params: type[Params]) -> type[Params]:
        _FAMILIES[family][params.kind] = params  # pyright: ignore[reportAttributeAccessIssue]
        return params

    return register


def only(params: type[Any]) -> GetPydanticSchema:
    """What a field is annotated with that takes these params alone. Its type is Any, for recipes
    are read, and changed, without asking which network is theirs."""
    return GetPydanticSchema(lambda _, handler: handler.generate_schema(params))


def any_of(family: str, default: str) -> GetPydanticSchema:
    """The same for the params of every network of a family.

    In JSON they differ by their `kind`; a record that does not state one is of the kind `default`,
    which was the only one at first.
    """
    members = _FAMILIES[family]
    if len(members) == 1:
        return only(members[default])

    def kind(params: Any) -> str:
        return params.get("kind", default) if isinstance(params, dict) else params.kind

    tagged = tuple(Annotated[params, Tag(name)] for name, params in members.items())
    union = Annotated[Union[tagged], Discriminator(kind)]  # noqa: UP007
    return GetPydanticSchema(lambda _, handler: handler.generate_schema(union))


def noise_of(params: Any) -> tuple[int, ...]:
    """The sizes of the noise inputs that a network's decoder takes behind its latents and labels;
    most take none."""
    return getattr(params, "noise", ())


def pack_of(params: Any) -> int:
    """How many images a network's discriminator scores together; most score each on its own."""
    return getattr(params, "pack", 1)


def check_sides(height: int, width: int, factor: int, what: str) -> None:
    """Raise ValueError where a network cannot halve pictures of this size as often as it does:
    `factor` is what `what`, its parameters, come to."""
    if height % factor or width % factor:
        raise ValueError(
            f"height and width: expected multiples of {what} = {factor}, found {height} x {width}"
        )
