"""The variants of an artifact that this machine can run: engine, arithmetic and graph form."""

from typing import Literal, get_args

from runtime.artifact import Artifact
from runtime.backends import ENGINES, Device, Variant
from runtime.errors import InputError
from runtime.manifest import Precision
from runtime.rewrites import Form, forms


def candidates(
    artifact: Artifact, backend: str, precision: Precision | Literal["auto"], device: Device
) -> list[Variant]:
    """The variants that this machine can run, the reference first."""
    if backend not in ("auto", *ENGINES):
        raise InputError("backend", f"one of {('auto', *ENGINES)}", repr(backend))
    known = ("auto", *get_args(Precision))
    if precision not in known:
        raise InputError("precision", f"one of {known}", repr(precision))
    found = _fitting(artifact, backend, precision, device)
    if not found:
        there = {v.precision for v in _fitting(artifact, backend, "auto", device)}
        expected = f"one that runs here: {('auto', *sorted(there))}"
        raise InputError("precision", expected, repr(precision))
    return found


def _fitting(
    artifact: Artifact, backend: str, precision: Precision | Literal["auto"], device: Device
) -> list[Variant]:
    from runtime.backends.onnxruntime import uses_cuda

    if backend == "openvino" and device == "cuda":
        raise InputError("device", "'cpu' or 'auto' with backend 'openvino'", "'cuda'")
    on_gpu = backend != "openvino" and uses_cuda(device)
    found: list[Variant] = []
    if backend != "openvino":
        found += _onnxruntime_variants(artifact, precision, on_gpu)
    if backend != "onnxruntime" and not on_gpu:
        found += _openvino_variants(artifact, precision, required=backend == "openvino")
    return found


def _onnxruntime_variants(
    artifact: Artifact, precision: Precision | Literal["auto"], on_gpu: bool
) -> list[Variant]:
    wanted: Precision = "fp32" if precision == "auto" else precision
    if wanted not in [spec.precision for spec in artifact.manifest.decode]:
        return []
    if wanted == "bf16" and not on_gpu:  # ONNX Runtime has no such arithmetic on CPUs
        return []
    if on_gpu or wanted != "fp32":
        return [Variant("onnxruntime", wanted, "plain")]
    # In fp32, transposed convolutions are faster as they are than in sub-pixel form.
    return [Variant("onnxruntime", wanted, f) for f in _forms(artifact) if f != "subpixel"]


def _openvino_variants(
    artifact: Artifact, precision: Precision | Literal["auto"], required: bool
) -> list[Variant]:
    from runtime.backends.openvino import is_installed, precisions

    if not required and not is_installed():
        return []
    wanted = precisions() if precision == "auto" else (precision,)
    fitting = [p for p in get_args(Precision) if p in precisions() and p in wanted]
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
