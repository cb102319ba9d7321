"""`open_backend`: an artifact on the engine of a variant."""

from pathlib import Path

from runtime.artifact.reading import Artifact
from runtime.engines.backend import Backend, Setting, Variant


def open_backend(artifact: Artifact, variant: Variant, setting: Setting, cache: Path) -> Backend:
    """Load a verified artifact into an engine; `cache` holds the plans of those that are built
    beforehand.

    Raises EngineError where the library is missing, or this machine cannot run the variant.
    """
    if variant.engine == "tensorrt" or variant.engine == "tensorrt-rtx":
        from runtime.engines.tensorrt import tensorrt_backend

        return tensorrt_backend(artifact, variant.engine, variant.precision, setting, cache)
    if variant.engine == "openvino":
        from runtime.engines.openvino import OpenVinoBackend

        return OpenVinoBackend(artifact, variant, setting)
    if variant.device == "cuda":
        from runtime.engines.onnxruntime_cuda import onnxruntime_cuda_backend

        return onnxruntime_cuda_backend(artifact, variant, setting)
    from runtime.engines.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(artifact, variant, setting)
