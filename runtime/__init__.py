"""latentserve's runtime: load a verified artifact and sample, decode and encode with it."""

from runtime.errors import (
    ArtifactError,
    DeadlineExceeded,
    EngineError,
    InputError,
    LatentServeError,
    OverloadedError,
)
from runtime.images import ImageSpec
from runtime.loading import Limits, load, tune
from runtime.manifest import Manifest, TensorSpec
from runtime.model import Model
from runtime.observer import Observer
from runtime.posterior import Posterior, PosteriorDraw
from runtime.requests import Decode, Encode, Interpolate, Sample

__all__ = [
    "ArtifactError",
    "DeadlineExceeded",
    "Decode",
    "Encode",
    "EngineError",
    "ImageSpec",
    "InputError",
    "Interpolate",
    "LatentServeError",
    "Limits",
    "Manifest",
    "Model",
    "Observer",
    "OverloadedError",
    "Posterior",
    "PosteriorDraw",
    "Sample",
    "TensorSpec",
    "load",
    "tune",
]
