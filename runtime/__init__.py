"""latentserve's runtime: load a verified artifact and sample, decode and encode with it.

Names are loaded when they are first used, so that `import runtime.images` loads pixels alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.artifact.manifest import Manifest as Manifest
    from runtime.artifact.manifest import TensorSpec as TensorSpec
    from runtime.errors import (
        ArtifactError as ArtifactError,
    )
    from runtime.errors import (
        EngineError as EngineError,
    )
    from runtime.errors import (
        InputError as InputError,
    )
    from runtime.errors import (
        LatentServeError as LatentServeError,
    )
    from runtime.errors import (
        OverloadedError as OverloadedError,
    )
    from runtime.images import ImageSpec as ImageSpec
    from runtime.limits import Limits as Limits
    from runtime.loading import load as load
    from runtime.loading import tune as tune
    from runtime.model import Model as Model
    from runtime.observer import Observer as Observer
    from runtime.requests.decode import Decode as Decode
    from runtime.requests.directions import Directions as Directions
    from runtime.requests.encode import Encode as Encode
    from runtime.requests.interpolate import Interpolate as Interpolate
    from runtime.requests.manifold import Manifold as Manifold
    from runtime.requests.reconstruct import Reconstruct as Reconstruct
    from runtime.requests.sample import Sample as Sample
    from runtime.requests.translate import Translate as Translate
    from runtime.sampling.directions import PrincipalDirections as PrincipalDirections
    from runtime.sampling.posterior import Encoding as Encoding
    from runtime.sampling.posterior import Posterior as Posterior
    from runtime.sampling.posterior import PosteriorDraw as PosteriorDraw

_MODULES = {
    "ArtifactError": "errors",
    "Decode": "requests.decode",
    "Directions": "requests.directions",
    "Encode": "requests.encode",
    "Encoding": "sampling.posterior",
    "EngineError": "errors",
    "ImageSpec": "images",
    "InputError": "errors",
    "Interpolate": "requests.interpolate",
    "LatentServeError": "errors",
    "Limits": "limits",
    "Manifest": "artifact.manifest",
    "Manifold": "requests.manifold",
    "Model": "model",
    "Observer": "observer",
    "OverloadedError": "errors",
    "Posterior": "sampling.posterior",
    "PosteriorDraw": "sampling.posterior",
    "PrincipalDirections": "sampling.directions",
    "Reconstruct": "requests.reconstruct",
    "Sample": "requests.sample",
    "TensorSpec": "artifact.tensors",
    "Translate": "requests.translate",
    "load": "loading",
    "tune": "loading",
}
"""Public name -> the module it comes from."""

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    value = getattr(import_module(f"runtime.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
