"""The variants of an artifact that this machine can run: engine, arithmetic and graph form."""

import logging
from pathlib import Path
from typing import Literal, get_args

from runtime.artifact.manifest import Precision
from runtime.artifact.reading import Artifact
from runtime.engines.backend import ENGINES, Device, Variant
from runtime.engines.nvidia import devices, tensorrt
from runtime.engines.nvidia.tensorrt import FLAVORS, Flavor
from runtime.engines.rewrites import Form, forms
from runtime.errors import EngineError, InputError

logger = logging.getLogger(__name__)


def on_gpu(backend: str, device: Device) -> bool:
    """Whether a model is to run on a GPU: as asked for, or where there is one and an engine for it.

    Raises InputError where backend and device contradict each other, EngineError where a GPU is
    asked for in vain.
    """
    from runtime.engines.gpu import NO_GPU
    from runtime.engines.onnxruntime import has_cuda

    if backend not in ("auto", *ENGINES):
        raise InputError("backend", f"one of {('auto', *ENGINES)}", repr(backend))
    if backend == "openvino" and device == "cuda":
        raise InputError("device", "'cpu' or 'auto' with backend 'openvino'", "'cuda'")
    if backend in FLAVORS and device == "cpu":
        raise InputError("device", f"'cuda' or 'auto' with backend {backend!r}", "'cpu'")
    if backend == "openvino" or device == "cpu":
        return False
    there, flavors = devices.gpus(), [f for f in FLAVORS if tensorrt.is_installed(f)]
    if backend in FLAVORS:
        tensorrt.import_tensorrt(backend)
    elif device == "auto":
        return bool(there) and (has_cuda() or (backend == "auto" and bool(flavors)))
    elif not has_cuda() and not (there and flavors and backend == "auto"):
        raise EngineError(
            "device 'cuda' was asked for, but this onnxruntime has no CUDA provider: install "
            "latentserve[onnx-gpu] instead of latentserve[onnx]"
            + ("" if there else f"; and {NO_GPU}")
        )
    if not there:
        raise EngineError(f"device {device!r}, backend {backend!r}: {NO_GPU}")
    return True


def candidates(
    artifact: Artifact,
    backend: str,
    precision: Precision | Literal["auto"],
    device: Device,
    cache: Path,
) -> list[Variant]:
    """The variants that this machine can run, the reference first among those on the CPU."""
    known = ("auto", *get_args(Precision))
    if precision not in known:
        raise InputError("precision", f"one of {known}", repr(precision))
    found = _fitting(artifact, backend, precision, device, cache)
    if not found:
        there = {v.precision for v in _fitting(artifact, backend, "auto", device, cache)}
        expected = f"one that runs here: {('auto', *sorted(there))}"
        raise InputError("precision", expected, repr(precision))
    return found


def _fitting(
    artifact: Artifact,
    backend: str,
    precision: Precision | Literal["auto"],
    device: Device,
    cache: Path,
) -> list[Variant]:
    found: list[Variant] = []
    if on_gpu(backend, device):
        found += _tensorrt_variants(artifact, backend, precision, cache)
        if backend in ("auto", "onnxruntime"):
            found += _cuda_variants(artifact, precision, required=device == "cuda" and not found)
        if found or device == "cuda" or backend in FLAVORS:
            return found
    if backend != "openvino":
        found += _onnxruntime_variants(artifact, precision)
    if backend != "onnxruntime":
        found += _openvino_variants(artifact, precision, required=backend == "openvino")
    return found


def _tensorrt_variants(
    artifact: Artifact, backend: str, precision: Precision | Literal["auto"], cache: Path
) -> list[Variant]:
    """Those whose plans are built; where none is, an error for who asked for TensorRT, and a
    warning for who left the choice open."""
    from runtime.engines.tensorrt import find_plans

    found: list[Variant] = []
    missing: list[EngineError] = []
    for flavor in FLAVORS:
        try:
            if backend != flavor and not (backend == "auto" and _may_run(flavor)):
                continue
        except EngineError as error:  # bindings without their libraries
            missing.append(error)
            continue
        for each in _precisions(artifact, precision):
            try:
                for gpu in devices.gpus():
                    find_plans(artifact, flavor, each, cache, gpu)
                found.append(Variant(flavor, each, "plain", "cuda"))
            except EngineError as error:
                missing.append(error)
    if missing and not found:
        if backend in FLAVORS:
            raise missing[0]
        logger.warning("going on without TensorRT: %s", missing[0])
    return found


def _may_run(flavor: Flavor) -> bool:
    """Whether a flavor is installed and knows this machine's GPUs."""
    if not tensorrt.is_installed(flavor):
        return False
    if flavor == "tensorrt":
        return True
    known = tensorrt.rtx_capabilities()
    return all(devices.dotted(gpu.capability) in known for gpu in devices.gpus())


def _cuda_variants(
    artifact: Artifact, precision: Precision | Literal["auto"], required: bool
) -> list[Variant]:
    from runtime.engines.onnxruntime import has_cuda

    if not has_cuda() and not required:
        return []
    # ONNX Runtime's CUDA provider lacks operators in bf16.
    fitting = _precisions(artifact, precision)
    return [Variant("onnxruntime", p, "plain", "cuda") for p in fitting if p != "bf16"]


def _precisions(artifact: Artifact, precision: Precision | Literal["auto"]) -> list[Precision]:
    """Those of the artifact's graphs that are asked for, the usually fastest first."""
    there = {spec.precision for spec in artifact.manifest.decode}
    order: tuple[Precision, ...] = ("fp16", "bf16", "fp32")
    return [p for p in order if p in there and precision in ("auto", p)]


def _onnxruntime_variants(
    artifact: Artifact, precision: Precision | Literal["auto"]
) -> list[Variant]:
    wanted: Precision = "fp32" if precision == "auto" else precision
    if wanted not in [spec.precision for spec in artifact.manifest.decode]:
        return []
    if wanted == "bf16":  # ONNX Runtime has no such arithmetic on CPUs
        return []
    if wanted != "fp32":
        return [Variant("onnxruntime", wanted, "plain")]
    # In fp32, transposed convolutions are faster as they are than in sub-pixel form.
    return [Variant("onnxruntime", wanted, f) for f in _forms(artifact) if f != "subpixel"]


def _openvino_variants(
    artifact: Artifact, precision: Precision | Literal["auto"], required: bool
) -> list[Variant]:
    from runtime.engines import openvino

    if not required and not openvino.is_installed():
        return []
    computed = openvino.precisions()
    wanted = computed if precision == "auto" else (precision,)
    fitting = [p for p in get_args(Precision) if p in computed and p in wanted]
    made = _forms(artifact)
    # What folding makes of a graph is never slower here than the graph as it was.
    tried = made[1:] if "folded" in made else made
    found = [Variant("openvino", p, f) for p in fitting if p == "fp32" for f in tried]
    # bf16 gains nothing from transposed convolutions as they are.
    return found + [Variant("openvino", p, made[-1]) for p in fitting if p != "fp32"]


def _forms(artifact: Artifact) -> tuple[Form, ...]:
    import onnx

    (spec,) = (spec for spec in artifact.manifest.decode if spec.precision == "fp32")
    return forms(onnx.load_model_from_string(artifact.files[spec.file]))
