"""Normal random numbers that a module draws in its forward, given from outside instead."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_STANDARD = (torch.randn, torch.randn_like)
_MADE = (*_STANDARD, torch.normal)
_FILLED = (Tensor.normal_, torch.nn.init.normal_)


class GivenNormals(TorchFunctionMode):
    """Within it, `torch.randn`, `randn_like`, `normal` and `normal_` give the tensors of `given`,
    in order, then random numbers as ever. `shapes` are those of all that were asked for."""

    def __init__(self, given: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        self._given: Iterator[Tensor] = iter(given)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func not in _MADE and func not in _FILLED:
            return made
        self.shapes.append(tuple(made.shape))
        noise = next(self._given, None)
        if noise is None:
            return made
        if func in _STANDARD:
            return noise.to(made.dtype)
        mean, std = _moments(*(args[:2] if func in _MADE else args[1:]), **(kwargs or {}))
        drawn = (noise * std + mean).to(made.dtype)
        return drawn if func in _MADE else args[0].copy_(drawn)


def _moments(mean: Any = 0.0, std: Any = 1.0, *_: Any, **__: Any) -> tuple[Any, Any]:
    """Numbers, or of `torch.normal` tensors."""
    return mean, std
