"""What diffusers and spandrel need of torchvision, where its compiled part does not load."""

import torch

_OPERATORS = ("nms", "qnms")
_library: torch.library.Library | None = None


def declare_operators() -> None:
    """Declare those operators of torchvision without which importing it fails.

    A torchvision that was built for another build of torch loads without its compiled operators,
    and then stops at the first of them that it wants to extend. No network that is exported uses
    them. Called before `diffusers` or `spandrel` is imported.
    """
    global _library
    if _library is not None or hasattr(torch.ops.torchvision, _OPERATORS[0]):
        return
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return
    except RuntimeError:  # operator torchvision::nms does not exist
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _OPERATORS:
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
