"""The copy of a user's module that is exported: plain float32 weights, on the CPU, in eval mode."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

from export.causes import described_error
from runtime.errors import ExportError

# What training wraps around a module, and the name under which the wrapper keeps it.
_WRAPPERS = {
    nn.DataParallel: "module",
    nn.parallel.DistributedDataParallel: "module",
    torch._dynamo.OptimizedModule: "_orig_mod",  # pyright: ignore[reportPrivateUsage]
}


def frozen_copy(module: Any) -> nn.Module:
    """A float32 copy on the CPU in eval mode, without gradients and reparametrisations.

    Spectral and weight norm become plain weights; what `torch.compile` and `DataParallel` put
    around a module is left out, and so are hooks of the backward pass. `module` itself stays as it
    is. Raises ExportError for what is no module with weights, and for one that cannot be copied.
    """
    if not isinstance(module, nn.Module):
        what = f"the class {module.__name__}" if isinstance(module, type) else _class(module)
        raise ExportError(f"expected a torch.nn.Module, found {what}")
    module = unwrapped(module)
    _check_weights(module)
    try:
        # Eval mode first: in train mode a spectral norm takes one more power iteration when
        # removed.
        with torch.no_grad():
            frozen = _copy(module).cpu().eval()
            for child in list(frozen.modules()):
                _plain(child)
            frozen = frozen.float()
        for child in frozen.modules():
            for name, weight in list(child.named_parameters(recurse=False)):
                if isinstance(weight, nn.Parameter):
                    weight.requires_grad_(False)
                else:  # the copy of a script holds plain tensors, which torch cannot export
                    setattr(child, name, nn.Parameter(weight, requires_grad=False))
    except Exception as error:  # whatever a user's module raises
        raise ExportError(
            f"{_class(module)} cannot be copied: {described_error(error)}: export a module "
            "that copy.deepcopy, .cpu(), .float() and .eval() can be called on"
        ) from error
    return frozen


def fresh_copy(module: nn.Module) -> nn.Module:
    """A copy with the same weights in memory, to be called as if `module` never were: what a
    forward keeps for the next stays in each."""
    weights = (*module.parameters(), *module.buffers())
    try:
        return copy.deepcopy(module, {id(weight): weight for weight in weights})
    except Exception:  # some attribute cannot be copied
        return module


def kept(module: nn.Module) -> dict[str, str]:
    """What lies beside the weights of a module, by name: the type, and the shape of a tensor."""
    return {
        f"{name}.{key}": str(getattr(value, "shape", type(value)))
        for name, child in module.named_modules()
        for key, value in {**vars(child), **child._buffers}.items()
    }


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, without what `torch.compile` or data parallelism put around it."""
    while (name := _WRAPPERS.get(type(module))) is not None:
        module = getattr(module, name)
    return module


def _check_weights(module: nn.Module) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            raise ExportError(
                f"{name}: expected a weight, found one of a lazy module that has no shape yet: "
                "call the module once, or load its weights, before it is exported"
            )
        if tensor.is_meta:
            raise ExportError(
                f"{name}: expected a weight, found none: it is on the meta device; load the "
                "weights (module.to_empty, then load_state_dict) before it is exported"
            )


def _copy(module: nn.Module) -> nn.Module:
    # Older spectral and weight norm, and pruning, keep the weight as a tensor with history, which
    # cannot be copied as it is; modules may have kept others, in lists for example.
    memo = {
        id(tensor): tensor.detach().clone()
        for child in module.modules()
        for value in vars(child).values()
        for tensor in _tensors(value)
        if not tensor.is_leaf
    }
    try:
        return copy.deepcopy(module, dict(memo))
    except Exception:  # some attribute cannot be copied: a lock, an open file, a generator
        for child in module.modules():
            for name, value in vars(child).items():
                if name not in ("_parameters", "_buffers", "_modules") and not _copies(value, memo):
                    memo[id(value)] = value  # shared: it is no weight
        return copy.deepcopy(module, memo)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        yield from (item for item in value if isinstance(item, Tensor))
    elif isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, Tensor))


def _copies(value: Any, memo: dict[int, Any]) -> bool:
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:
        return False
    return True


def _plain(module: nn.Module) -> None:
    """Weights without norms, and no hooks of a backward pass."""
    for hooks in ("_backward_hooks", "_backward_pre_hooks"):
        getattr(module, hooks, {}).clear()
    if parametrize.is_parametrized(module):
        _unparametrize(module)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)  # pyright: ignore[reportPrivateUsage]
    for remove in (remove_spectral_norm, remove_weight_norm):
        with suppress(ValueError):  # raised where there is none
            remove(module)
    for name, child in list(module.named_children()):
        if (inner := unwrapped(child)) is not child:
            setattr(module, name, inner)


def _unparametrize(module: nn.Module) -> None:
    # torch's remove_parametrizations edits the module's class, which a copy shares with its
    # original: the caller's module would lose its weight. Leave that class instead.
    names = list(module.parametrizations)  # pyright: ignore[reportArgumentType]
    weights = {name: getattr(module, name).detach() for name in names}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(weight))


def _class(value: object) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
