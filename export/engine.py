"""ONNX -> TensorRT plans in the engine cache. Needs no torch: it runs where the model is served.

TensorRT builds on and for the GPU at hand. TensorRT for RTX builds on any machine for the GPUs
named; what no GPU here can run is verified when it is first loaded on one that can.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export.plan import EngineOptions, build_plan
from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import graph_specs
from runtime.engines.nvidia import devices
from runtime.engines.nvidia.devices import Gpu
from runtime.engines.nvidia.plans import Bucket, Plan, PlanKey, store
from runtime.engines.nvidia.tensorrt import import_tensorrt, rtx_capabilities
from runtime.engines.nvidia.tensorrt_api import TensorRT
from runtime.engines.tensorrt import verify_plan
from runtime.errors import EngineError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """One plan: its path, or why it was not kept."""

    graph: str
    bucket: Bucket
    path: Path | None
    seconds: float
    size: int
    verified: dict[str, Any] | None
    """None: no GPU here can run it, the first load on one verifies it."""
    error: str | None = None


def build_engines(
    artifact: Artifact, options: EngineOptions, cache: Path, *, progress: bool = False
) -> Iterator[Built]:
    """Build, verify and keep a plan for every graph and bucket, one after another.

    Raises EngineError where nothing can be built: no TensorRT, no GPU, no such precision. A plan
    whose images are wrong is not kept, and says so.
    """
    manifest = artifact.manifest
    if manifest.axes:
        raise EngineError(f"{manifest.name}: graphs with named axes run on the CPU only")
    precisions = manifest.graphs[manifest.main_graph].files
    if options.precision not in precisions:
        there = ", ".join(precisions)
        why = artifact.manifest.left_out.get(options.precision)
        raise EngineError(
            f"precision: expected one that {artifact.manifest.name} has ({there}), found "
            f"{options.precision}"
            + (f", left out because {why}" if why else ": `python -m export variants` makes it")
        )
    library = import_tensorrt(options.flavor)
    capability, gpu = _target(options)
    for graph, spec in graph_specs(manifest, options.precision).items():
        for bucket in options.buckets:
            key = _key(artifact, spec, options, library, capability, bucket)
            yield _build_one(artifact, graph, spec, key, gpu, cache, progress)


def _build_one(
    artifact: Artifact,
    graph: str,
    spec: GraphSpec,
    key: PlanKey,
    gpu: Gpu | None,
    cache: Path,
    progress: bool,
) -> Built:
    began = time.perf_counter()
    try:
        data = build_plan(artifact.files[spec.file], spec, key, cache, progress=progress)
    except EngineError as error:
        seconds = time.perf_counter() - began
        return Built(graph, key.bucket, None, seconds, 0, None, str(error))
    seconds = time.perf_counter() - began
    verified = None
    if gpu is not None:
        try:
            verified = verify_plan(artifact, graph, Plan(key, data, {}, None), gpu)
        except EngineError as error:
            return Built(graph, key.bucket, None, seconds, len(data), None, str(error))
    built = {
        "gpu": None if gpu is None else gpu.name,
        "seconds": round(seconds, 3),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = store(cache, key, data, built=built, verified=verified)
    return Built(graph, key.bucket, path, seconds, len(data), verified)


def _target(options: EngineOptions) -> tuple[tuple[int, int], Gpu | None]:
    """The compute capability to build for, and the GPU here that runs it, if there is one."""
    there = devices.gpus()
    wanted = options.capability or (there[0].capability if there else None)
    gpu = next((gpu for gpu in there if gpu.capability == wanted), None)
    if options.flavor == "tensorrt" and gpu is None:
        found = ", ".join(f"{g.name} ({devices.dotted(g.capability)})" for g in there)
        raise EngineError(
            "tensorrt builds on the GPU it builds for: expected one"
            + ("" if wanted is None else f" of compute capability {devices.dotted(wanted)}")
            + f", found {found or 'none (no NVIDIA driver, or no visible device)'}"
        )
    if options.flavor == "tensorrt-rtx":
        known = rtx_capabilities()
        if wanted is None or devices.dotted(wanted) not in known:
            found = "none, and no GPU here" if wanted is None else devices.dotted(wanted)
            raise EngineError(
                f"tensorrt-rtx: expected a compute capability it builds for "
                f"({', '.join(known)}), found {found}: --capability names one"
            )
    assert wanted is not None  # noqa: S101 - for both flavors, by the above
    return wanted, gpu


def _key(
    artifact: Artifact,
    spec: GraphSpec,
    options: EngineOptions,
    library: TensorRT,
    capability: tuple[int, int],
    bucket: Bucket,
) -> PlanKey:
    return PlanKey(
        onnx=artifact.manifest.files[spec.file],
        flavor=options.flavor,
        version=library.__version__,
        capability=devices.dotted(capability),
        precision=spec.precision,
        bucket=bucket,
    )


def parse_buckets(batches: Sequence[int], dynamic: Sequence[int] | None) -> tuple[Bucket, ...]:
    """Buckets from command-line arguments: sizes, or (smallest, best, largest)."""
    if dynamic is not None:
        smallest, best, largest = dynamic
        return (Bucket(largest, smallest, best),)
    return tuple(Bucket.of(batch) for batch in sorted(set(batches)))
