"""What a user's module gives: one tensor, several, or some under names."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from runtime.errors import ExportError


class Chosen(nn.Module):
    """A module of whose result only some outputs are meant: `keys` are names of a dict, dataclass
    or other object, or numbers of a tuple; `latent_dist.mean` goes through two."""

    def __init__(self, module: nn.Module, keys: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.keys = tuple(keys)

    def forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        made = self.module(*inputs)
        return tuple(_entry(made, key) for key in self.keys)


def _entry(made: Any, key: str) -> Any:
    found = made
    for part in key.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, tuple | list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif hasattr(found, part):
            found = getattr(found, part)
        else:
            raise ExportError(
                f"output {key!r}: expected one of the result, found {described(made)}"
            )
    return found


def outputs_of(made: Any, count: int) -> tuple[Any, ...]:
    """What a module gave, as `count` outputs: a tensor, a tuple, or a dict or dataclass (diffusers'
    `.sample`) that holds one tensor where one is expected; of a Normal of torch's the mean and the
    log variance, where two are. Anything else as it is."""
    (only,) = made if isinstance(made, tuple | list) and len(made) == 1 else (made,)
    normal = only.base_dist if isinstance(only, Independent) else only
    if isinstance(normal, Normal) and count == 2:
        return normal.mean, 2.0 * normal.stddev.log()
    if _has_names(made):
        found = tuple(value for value in _named(made).values() if isinstance(value, Tensor))
        # Of several, the names do not say which is meant.
        return found if len(found) == count == 1 else (made,)
    return tuple(made) if isinstance(made, tuple | list) else (made,)


def wrong_outputs(graph: str, outputs: Sequence[Any], names: Sequence[str]) -> str | None:
    """What is wrong with a module's outputs, and how to choose those that are meant; None where
    there is one tensor for each of `names`."""
    if len(outputs) == len(names) and all(isinstance(output, Tensor) for output in outputs):
        return None
    two = len(names) > 1
    expected = f"{'a pair' if two else 'one tensor'} ({', '.join(names)})"
    made = outputs[0] if len(outputs) == 1 else tuple(outputs)
    wanted = "the two" if two else "it"
    if isinstance(made, tuple) and not two:
        wanted = "one of them: `return self.module(*inputs)[0]`"
    if _has_names(made):
        tensors = [name for name, value in _named(made).items() if isinstance(value, Tensor)]
        access = "made[{!r}]" if isinstance(made, Mapping) else "made.{}"
        chosen = ", ".join(access.format(name) for name in tensors[: len(names)])
        if chosen:
            wanted = f"those it means: `made = self.module(*inputs); return {chosen}`"
    if isinstance(made, Distribution):
        wanted = "a tensor of it: `return self.module(*inputs).mean`"
    option = "--encoder-output" if graph == "encode" else "--output"
    return (
        f"{graph}: expected {expected}, found {described(made)}: wrap the {graph}r in a module "
        f"whose forward returns {wanted} (from the shell: {option}, names or numbers)"
    )


def described(value: Any) -> str:
    """A value for an error: type and shape of a tensor, the names of others."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, Distribution):
        return f"a {type(value).__name__} of torch.distributions"
    if _has_names(value):
        held = ", ".join(f"{name} {described(each)}" for name, each in _named(value).items())
        return f"a {type(value).__name__} of {held or 'nothing'}"
    return f"a {type(value).__name__}"


def _has_names(made: Any) -> bool:
    return isinstance(made, Mapping) or (is_dataclass(made) and not isinstance(made, type))


def _named(made: Any) -> dict[str, Any]:
    """The entries of a dict or the fields of a dataclass, those left out (None) not counted."""
    named: Mapping[Any, Any] = (
        made if isinstance(made, Mapping) else {f.name: getattr(made, f.name) for f in fields(made)}
    )
    return {str(name): value for name, value in named.items() if value is not None}
