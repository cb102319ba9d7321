"""ONNX -> TensorRT plans in the engine cache. Needs no torch: it runs where the model is served.

TensorRT builds on and for the GPU at hand. TensorRT for RTX builds on any machine for the GPUs
named; what no GPU here can run is verified when it is first loaded on one that can.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import onnx
from tqdm import tqdm

from runtime.artifact import Artifact
from runtime.backends import graph_spec
from runtime.backends.tensorrt import verify_plan
from runtime.cache import write_file
from runtime.errors import EngineError
from runtime.manifest import GraphName, GraphSpec, Precision
from runtime.nvidia.devices import Gpu, gpus
from runtime.nvidia.plans import Bucket, Plan, PlanKey, store
from runtime.nvidia.tensorrt import Flavor, import_tensorrt, make_logger
from runtime.nvidia.tensorrt_api import (
    INetworkDefinition,
    IRtxBuilderConfig,
    TensorRT,
    TensorRTForRTX,
)

logger = logging.getLogger(__name__)

Hardware = Literal["this", "same-capability", "ampere+"]
HARDWARE: tuple[Hardware, ...] = ("this", "same-capability", "ampere+")

_MIB = 1 << 20


@dataclass(frozen=True)
class EngineOptions:
    """What is built, and for whom.

    `buckets`: the batch sizes, a plan each. `capability`: the GPU's compute capability, (8, 9);
    None for the GPU at hand. `workspace`: bytes of GPU memory that one layer may use while it
    runs, None for all there is. `version_compatible`: the plan also runs under later TensorRT of
    the same major version, somewhat slower. `hardware`: it runs on GPUs of `this` model (fastest),
    of the `same-capability`, or on `ampere+` (compute capability 8.0 and later; slowest).
    """

    flavor: Flavor = "tensorrt"
    precision: Precision = "fp16"
    buckets: tuple[Bucket, ...] = tuple(Bucket.of(batch) for batch in (1, 16, 64, 256))
    capability: tuple[int, int] | None = None
    workspace: int | None = None
    version_compatible: bool = False
    hardware: Hardware = "this"


@dataclass(frozen=True)
class Built:
    """One plan: where it is kept, or why it is not."""

    graph: GraphName
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
    if options.precision not in {spec.precision for spec in artifact.manifest.decode}:
        there = ", ".join(spec.precision for spec in artifact.manifest.decode)
        why = artifact.manifest.left_out.get(options.precision)
        raise EngineError(
            f"precision: expected one that {artifact.manifest.name} has ({there}), found "
            f"{options.precision}"
            + (f", left out because {why}" if why else ": `python -m export variants` makes it")
        )
    library = import_tensorrt(options.flavor)
    capability, gpu = _target(library, options)
    graphs: list[GraphName] = ["decode", "encode"] if artifact.manifest.encode else ["decode"]
    for graph in graphs:
        spec = graph_spec(artifact.manifest, graph, options.precision)
        if spec is None:
            continue
        for bucket in options.buckets:
            key = _key(artifact, spec, options, library, capability, bucket)
            yield _build_one(artifact, graph, spec, key, options, gpu, cache, progress)


def _build_one(
    artifact: Artifact,
    graph: GraphName,
    spec: GraphSpec,
    key: PlanKey,
    options: EngineOptions,
    gpu: Gpu | None,
    cache: Path,
    progress: bool,
) -> Built:
    began = time.perf_counter()
    try:
        data = build_plan(artifact.files[spec.file], spec, key, options, cache, progress=progress)
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
        "workspace": options.workspace,
        "hardware": options.hardware,
    }
    path = store(cache, key, data, built=built, verified=verified)
    return Built(graph, key.bucket, path, seconds, len(data), verified)


def build_plan(
    data: bytes,
    spec: GraphSpec,
    key: PlanKey,
    options: EngineOptions,
    cache: Path,
    *,
    progress: bool = False,
) -> bytes:
    """The serialized engine of one ONNX file for one bucket; EngineError with TensorRT's words."""
    library = import_tensorrt(key.flavor)
    said: list[str] = []
    log = make_logger(library, raised=said)
    builder = library.Builder(log)
    # Precision lives in the graph: TensorRT 11 knows nothing else, and 10 is told so.
    strongly = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly)
    parser = library.OnnxParser(network, log)
    if not parser.parse(_with_batch(data, key.bucket)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        told = "; ".join(f"{e.node_name()}: {e.desc()}" for e in errors) or "; ".join(said)
        raise EngineError(f"{key.flavor} {key.version} cannot parse {spec.file}: {told}")
    check_border(network, library, spec, key.bucket)
    config = builder.create_builder_config()
    if key.flavor == "tensorrt-rtx":
        _set_capability(cast(TensorRTForRTX, library), config, key.capability)
    if not key.bucket.is_static:
        profile = builder.create_optimization_profile()
        for tensor in spec.inputs:
            sizes = (key.bucket.smallest, key.bucket.best, key.bucket.largest)
            profile.set_shape(tensor.name, *((size, *tensor.shape) for size in sizes))
        config.add_optimization_profile(profile)
    if options.workspace is not None:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, options.workspace)
    # fp32 means fp32: TF32 keeps 10 bits of mantissa, which is what fp16 plans are for.
    config.clear_flag(library.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware != "this":
        levels = library.HardwareCompatibilityLevel
        config.hardware_compatibility_level = {
            "same-capability": levels.SAME_COMPUTE_CAPABILITY,
            "ampere+": levels.AMPERE_PLUS,
        }[options.hardware]
    with _progress(library, config, f"{spec.file} at {key.bucket}", progress):
        if key.flavor == "tensorrt":
            with _timing_cache(config, cache, key):
                plan = builder.build_serialized_network(network, config)
        else:  # which has no timings to keep: it compiles for the GPU when it first runs there
            plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"{key.flavor} {key.version} cannot build {spec.file} in {key.precision} at "
            f"{key.bucket} for compute capability {key.capability}: {'; '.join(said)}"
        )
    return bytes(plan)  # pyright: ignore[reportArgumentType]


def check_border(
    network: INetworkDefinition, library: TensorRT, spec: GraphSpec, bucket: Bucket
) -> None:
    """EngineError unless the parsed network takes and gives what the manifest says, at this batch:
    engines silently keep what a parser makes of a graph."""
    types = {"float32": "FLOAT", "uint8": "UINT8", "int64": "INT64"}
    batch = bucket.largest if bucket.is_static else -1
    for side, count, get, expected in (
        ("input", network.num_inputs, network.get_input, spec.inputs),
        ("output", network.num_outputs, network.get_output, spec.outputs),
    ):
        found = [(t.name, t.dtype, tuple(t.shape)) for t in map(get, range(count))]
        wanted = [
            (t.name, getattr(library.DataType, types[t.dtype]), (batch, *t.shape)) for t in expected
        ]
        # The sizes of outputs follow from those of the inputs; some are known only when it runs.
        if side == "output" and not bucket.is_static:
            found, wanted = [f[:2] for f in found], [w[:2] for w in wanted]
        if found != wanted:
            raise EngineError(f"{spec.file}: expected {side}s {wanted}, the parser made {found}")


def capabilities(library: TensorRTForRTX) -> dict[str, Any]:
    """The compute capabilities that TensorRT for RTX builds for, `8.9`."""
    names = [name for name in library.ComputeCapability.__members__ if name.startswith("SM")]
    return {f"{name[2:-1]}.{name[-1]}": getattr(library.ComputeCapability, name) for name in names}


def _set_capability(library: TensorRTForRTX, config: Any, capability: str) -> None:
    rtx = cast(IRtxBuilderConfig, config)
    rtx.num_compute_capabilities = 1
    rtx.set_compute_capability(capabilities(library)[capability], 0)


def _target(library: TensorRT, options: EngineOptions) -> tuple[tuple[int, int], Gpu | None]:
    """The compute capability to build for, and the GPU here that runs it, if there is one."""
    there = gpus()
    wanted = options.capability or (there[0].capability if there else None)
    gpu = next((gpu for gpu in there if gpu.capability == wanted), None)
    if options.flavor == "tensorrt" and gpu is None:
        found = ", ".join(f"{g.name} ({g.capability[0]}.{g.capability[1]})" for g in there)
        raise EngineError(
            "tensorrt builds on the GPU it builds for: expected one"
            + ("" if wanted is None else " of compute capability {}.{}".format(*wanted))
            + f", found {found or 'none (no NVIDIA driver, or no visible device)'}"
        )
    if options.flavor == "tensorrt-rtx":
        known = capabilities(cast(TensorRTForRTX, library))
        if wanted is None or "{}.{}".format(*wanted) not in known:
            found = "none, and no GPU here" if wanted is None else "{}.{}".format(*wanted)
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
        onnx=hashlib.sha256(artifact.files[spec.file]).hexdigest(),
        flavor=options.flavor,
        version=library.__version__ + ("+" if options.version_compatible else ""),
        capability="8.0+" if options.hardware == "ampere+" else "{}.{}".format(*capability),
        precision=spec.precision,
        bucket=bucket,
    )


def _with_batch(data: bytes, bucket: Bucket) -> bytes:
    """The graph at a batch that is known while it is built, where the bucket is one size."""
    if not bucket.is_static:
        return data
    model = onnx.load_model_from_string(data)
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = bucket.largest
    return model.SerializeToString()


@contextmanager
def _timing_cache(config: Any, cache: Path, key: PlanKey) -> Iterator[None]:
    """What was timed for one plan is reused for the next, and by the next build: it is quicker, and
    chooses the same kernels."""
    path = cache / "timing" / f"{key.flavor}-{key.version}-sm{key.capability}.cache"
    try:
        known = path.read_bytes()
    except OSError:
        known = b""
    if not config.set_timing_cache(config.create_timing_cache(known), False) and known:
        logger.info("%s is damaged, or of another machine: timing anew", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)
    yield
    timed = config.get_timing_cache()
    if timed is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, bytes(timed.serialize()))
        except OSError as error:
            logger.info("%s cannot be written: %s", path, error.strerror)


@contextmanager
def _progress(library: TensorRT, config: Any, title: str, shown: bool) -> Iterator[None]:
    """A bar for the steps of TensorRT's outermost phase."""
    if not shown:
        yield
        return
    with tqdm(desc=title, unit="step", leave=False) as bar:

        class Monitor(library.IProgressMonitor):
            def __init__(self) -> None:
                super().__init__()  # pyright: ignore[reportUnknownMemberType]
                self.outermost: str | None = None

            def phase_start(self, name: str, parent: str | None, steps: int) -> None:
                if parent is None:
                    self.outermost = name
                    bar.reset(total=steps)

            def step_complete(self, name: str, step: int) -> bool:
                if name == self.outermost:
                    bar.update()
                return True

            def phase_finish(self, name: str) -> None:
                bar.refresh()

        monitor = Monitor()  # TensorRT holds no reference to it
        config.progress_monitor = monitor
        yield
        config.progress_monitor = None


def parse_buckets(batches: Sequence[int], dynamic: Sequence[int] | None) -> tuple[Bucket, ...]:
    """Buckets from what a command line says: sizes, or (smallest, best, largest)."""
    if dynamic is not None:
        smallest, best, largest = dynamic
        return (Bucket(largest, smallest, best),)
    return tuple(Bucket.of(batch) for batch in sorted(set(batches)))
