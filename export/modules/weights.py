"""The weights of a file into a module, whatever training has put before their names."""

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.causes import described_error
from export.shards import is_index, shards
from runtime.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

_SHOWN = 20
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
"""Of `torch.save`; anything else is taken for safetensors."""
_COUNTER = "num_batches_tracked"
"""Of batch norms: torch, too, takes older weights without it, and no image depends on it."""
_NORMED = "parametrizations.weight.original"
_AVERAGE = re.compile(r"(^|[._-])ema([._-]|$)", re.IGNORECASE)
"""In the prefix of weights that are an average over the training."""
_POINTER = b"version https://git-lfs"
_SAVING = 'safetensors.torch.save_file(state, "weights.safetensors")'


def load_weights(
    module: "nn.Module",
    target: str,
    file: Path,
    *,
    renamed: Callable[[str], str] = lambda name: name,
) -> None:
    """Fill `module` (named `target` in errors) with the file's tensors.

    The file is safetensors, the index of several (`model.safetensors.index.json`), or a checkpoint
    of `torch.save` (PICKLES), which the log warns of.
    `renamed` gives today's names of those in the file.

    Where the names do not fit as they are, `_orig_mod.` (of torch.compile) is taken out of them,
    or one prefix off all that have it (`module.`, `params_ema.`, `decoder.`, and the keys of nested
    dictionaries: `state_dict.`, `g_ema.`), if then there is a tensor for every weight and none
    besides under that prefix; the log says so. Of several such prefixes, that of an average is
    taken. The names of torch's former weight norm are taken for those of today's.
    Raises ExportError where nothing fits: names and shapes must be those of the module.
    """
    tensors = read_tensors(file)
    state = module.state_dict()
    named = _of_weight_norm({renamed(n): tensor for n, tensor in tensors.items()}, state)
    fitting, said = _fitting(named, state, file)
    missing, unexpected = _missing(fitting, state), sorted(fitting.keys() - state.keys())
    differing = _differing(fitting, state)
    if differing or missing or unexpected:
        raise ExportError(
            f"{file}: the weights do not fit {target}: missing {_some(missing)}, "
            f"unexpected {_some(unexpected)}, different {_some(differing)}: check the class, "
            "and the parameters that it is built with"
        )
    try:  # a module on the meta device has no memory to copy into
        assign = any(tensor.is_meta for tensor in state.values())
        module.load_state_dict(fitting, strict=False, assign=assign)
    except Exception as error:  # whatever a user's module does with them
        raise ExportError(
            f"{file}: {target} refuses the weights: {described_error(error)}"
        ) from error
    if said:
        logger.info("%s: %s", file, said)


def read_tensors(file: Path) -> "dict[str, Tensor]":
    """The tensors of a file; those of nested dictionaries under names with dots."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise ExportError(f"{file}: expected a safetensors file, found none")
    if is_index(file):
        return _joined(file)
    if file.suffix in PICKLES:
        return _unpickled(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        with file.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise ExportError(
                    f"{file}: expected a safetensors file, found Git LFS's note of one: fetch it "
                    "(git lfs pull)"
                ) from error
        raise ExportError(
            f"{file}: expected a safetensors file, found something else ({error}): write one "
            "with safetensors.torch.save_model(module, path)"
        ) from error


def _joined(index: Path) -> "dict[str, Tensor]":
    """The tensors of the files that an index lists."""
    listed = shards(index)
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(listed.values())):
        tensors |= read_tensors(file)
    missing = sorted(listed.keys() - tensors.keys())
    if missing:
        raise ExportError(f"{index}: its files do not hold {_some(missing)}: fetch them again")
    return tensors


def _unpickled(file: Path) -> "dict[str, Tensor]":
    """The tensors of a checkpoint that `torch.save` wrote. Nothing but tensors and plain containers
    is unpickled: no code of the file runs."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*looks like a TorchScript archive")
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError and others, for what is no plain checkpoint
        if "TorchScript" in str(error):
            raise ExportError(
                f"{file}: expected a checkpoint of tensors alone, found a module in TorchScript: "
                f'take its weights out: state = torch.jit.load("{file}").state_dict(), then '
                f"{_SAVING}"
            ) from error
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it holds {named[1]}" if named else described_error(error)
        raise ExportError(
            f"{file}: expected a checkpoint of tensors alone, found one that "
            f"torch.load(weights_only=True) refuses ({why}): where you trust its maker, take the "
            f'weights out: state = torch.load("{file}", weights_only=False), of a whole module '
            f"state = state.state_dict(), then {_SAVING}"
        ) from error
    tensors = dict(_flat("", found))
    if not tensors:
        raise ExportError(f"{file}: expected a state dict, found {type(found).__name__} without")
    logger.warning(
        "%s: a pickle, read by torch.load(weights_only=True): safetensors is safe wherever it is "
        "opened; write it with %s", file, _SAVING,
    )  # fmt: skip
    return tensors


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return f"{list(names[:_SHOWN])}" + (f" and {more} more" if more > 0 else "")


def _flat(name: str, value: Any) -> "Iterator[tuple[str, Tensor]]":
    from torch import Tensor

    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), each)


def _of_weight_norm(
    tensors: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]"
) -> "Mapping[str, Tensor]":
    """The names of `torch.nn.utils.weight_norm` as those of `parametrizations.weight_norm`, where
    the module has these: torch takes them, too."""
    parts = {"weight_g": _NORMED + "0", "weight_v": _NORMED + "1"}
    ends = {name.rpartition(".")[2] for name in state}
    if not any(name.endswith(f"{_NORMED}1") for name in state) or ends & parts.keys():
        return tensors
    split = {name: name.rpartition(".") for name in tensors}
    return {
        f"{before}{dot}{parts.get(end, end)}": tensors[name]
        for name, (before, dot, end) in split.items()
    }


def _fitting(
    tensors: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]", file: Path
) -> "tuple[dict[str, Tensor], str]":
    """The tensors under the names of the module, and what was done to them; as they are where no
    way to rename them fits. ExportError where several do."""
    given = dict(tensors)
    if _fits(given, state):
        return given, ""
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in given.items()}
    if _fits(plain, state) and len(plain) == len(given):
        return plain, "'_orig_mod.' was taken out of the names"
    found = {
        prefix: {n.removeprefix(prefix): t for n, t in plain.items() if n.startswith(prefix)}
        for prefix in _prefixes(plain, state)
    }
    named = [prefix for prefix, renamed in found.items() if _fits(renamed, state)]
    # An encoder and a decoder may have the same names. Where no shapes fit, the error lists them.
    fitting = [prefix for prefix in named if not _differing(found[prefix], state)] or named
    # A file of the average of the weights and the weights themselves: the average is what its
    # maker samples from.
    averages = [prefix for prefix in fitting if _AVERAGE.search(prefix)]
    chosen = averages if len(fitting) > 1 else fitting
    if not chosen and not fitting:
        return given, ""
    if len(chosen) != 1:
        raise ExportError(
            f"{file}: expected weights of one network, found those of several that fit, under "
            f"{_some(fitting)}: take those that are meant out into a file of their own: {_SAVING}"
        )
    (prefix,) = chosen
    left = len(plain) - len(found[prefix])
    others = f"; {left} other tensors are left out" if left else ""
    return found[prefix], f"the prefix {prefix!r} was taken off the names{others}"


def _prefixes(names: Iterable[str], state: Iterable[str]) -> list[str]:
    """What stands before the module's first name wherever a name ends with it."""
    first = min((name for name in state if not name.endswith(_COUNTER)), default="")
    return sorted({name.removesuffix(first) for name in names if name.endswith(f".{first}")})


def _fits(tensors: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> bool:
    return tensors.keys() <= state.keys() and not _missing(tensors, state)


def _differing(tensors: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> list[str]:
    """The names whose tensors are of another shape than the module's, or whole numbers where it has
    floats (of quantised weights), and both."""
    from torch.nn.parameter import is_lazy

    found: list[str] = []
    for name, tensor in tensors.items():
        wanted = state.get(name)
        if wanted is None:
            continue
        if not is_lazy(wanted) and wanted.shape != tensor.shape:
            found.append(f"{name} {list(tensor.shape)} (expected {list(wanted.shape)})")
        elif wanted.is_floating_point() and not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            found.append(f"{name} of {kind} (expected floats)")
    return found


def _missing(tensors: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> list[str]:
    """The module's names that get no tensor. Of weights that share their memory, safetensors keeps
    one."""
    filled = {_place(name, state[name]) for name in tensors if name in state}
    return sorted(
        name
        for name, tensor in state.items()
        if name not in tensors
        and _place(name, tensor) not in filled
        and not name.endswith(_COUNTER)
    )


def _place(name: str, tensor: "Tensor") -> object:
    """Equal for two names of the same memory."""
    from torch.nn.parameter import is_lazy

    if is_lazy(tensor) or tensor.is_meta or not tensor.numel():
        return name
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()
