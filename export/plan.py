"""One ONNX file -> one serialized TensorRT engine, for one bucket and one kind of GPU."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
from tqdm import tqdm

from runtime.artifact.tensors import GraphSpec, Precision
from runtime.engines.nvidia.plans import Bucket, PlanKey
from runtime.engines.nvidia.tensorrt import (
    Flavor,
    data_types,
    import_tensorrt,
    logger_of,
    rtx_capabilities,
)
from runtime.engines.nvidia.tensorrt_api import (
    IBuilderConfig,
    INetworkDefinition,
    IRtxBuilderConfig,
    TensorRT,
)
from runtime.errors import EngineError
from runtime.writing import write_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """What is built, and for whom.

    `buckets`: the batch sizes, a plan each. `capability`: the GPU's compute capability, (8, 9);
    None for the GPU at hand.
    """

    flavor: Flavor = "tensorrt"
    precision: Precision = "fp16"
    buckets: tuple[Bucket, ...] = tuple(Bucket.of(batch) for batch in (1, 16, 64, 256))
    capability: tuple[int, int] | None = None


def build_plan(
    data: bytes,
    spec: GraphSpec,
    key: PlanKey,
    cache: Path,
    *,
    progress: bool = False,
) -> bytes:
    """The serialized engine of one ONNX file for one bucket; EngineError with TensorRT's
    messages."""
    library = import_tensorrt(key.flavor)
    log, said = logger_of(key.flavor)
    said.clear()
    builder = library.Builder(log)
    # The graph sets the precision: TensorRT 11 has no other way, TensorRT 10 needs the flag.
    strongly = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly)
    parser = library.OnnxParser(network, log)
    if not parser.parse(_prepared(data, key.bucket)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        reasons = "; ".join(f"{e.node_name()}: {e.desc()}" for e in errors) or "; ".join(said)
        raise EngineError(f"{key.flavor} {key.version} cannot parse {spec.file}: {reasons}")
    check_network(network, library, spec, key.bucket)
    config = builder.create_builder_config()
    if key.flavor == "tensorrt-rtx":
        _set_capability(config, key.capability)
    if not key.bucket.is_static:
        profile = builder.create_optimization_profile()
        for tensor in spec.inputs:
            sizes = (key.bucket.smallest, key.bucket.best, key.bucket.largest)
            profile.set_shape(tensor.name, *((size, *tensor.at()) for size in sizes))
        config.add_optimization_profile(profile)
    # fp32 means fp32: TF32 keeps 10 bits of mantissa, which is what fp16 plans are for.
    config.clear_flag(library.BuilderFlag.TF32)
    with _progress(library, config, f"{spec.file} at {key.bucket}", progress):
        # RTX has no timings to keep: it compiles for the GPU when it first runs there.
        timed = key.flavor == "tensorrt"
        with _timing_cache(config, cache, key) if timed else nullcontext():
            plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"{key.flavor} {key.version} cannot build {spec.file} in {key.precision} at "
            f"{key.bucket} for compute capability {key.capability}: {'; '.join(said)}"
        )
    return bytes(plan)  # pyright: ignore[reportArgumentType]


def check_network(
    network: INetworkDefinition, library: TensorRT, spec: GraphSpec, bucket: Bucket
) -> None:
    """EngineError unless the parsed network has the inputs and outputs of the manifest, at this
    batch: an engine silently keeps what the parser made of the graph."""
    types = data_types(library)
    batch = bucket.largest if bucket.is_static else -1
    for side, count, get, expected in (
        ("input", network.num_inputs, network.get_input, spec.inputs),
        ("output", network.num_outputs, network.get_output, spec.outputs),
    ):
        found = [(t.name, t.dtype, tuple(t.shape)) for t in map(get, range(count))]
        wanted = [(t.name, types[t.dtype], (batch, *t.shape)) for t in expected]
        # The sizes of outputs follow from those of the inputs; some are known only when it runs.
        if side == "output" and not bucket.is_static:
            found, wanted = [f[:2] for f in found], [w[:2] for w in wanted]
        if found != wanted:
            raise EngineError(f"{spec.file}: expected {side}s {wanted}, the parser made {found}")


def _set_capability(config: IBuilderConfig, capability: str) -> None:
    rtx = cast(IRtxBuilderConfig, config)
    rtx.num_compute_capabilities = 1
    rtx.set_compute_capability(rtx_capabilities()[capability], 0)


def _prepared(data: bytes, bucket: Bucket) -> bytes:
    """The graph as TensorRT accepts it: uint8 inputs are cast at once, as it supports no other use
    of them; and the batch is fixed if the bucket is one size."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    del graph.value_info[:]
    for value in graph.input:
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            floats = f"{value.name}.float32"
            for node in graph.node:
                node.input[:] = [floats if name == value.name else name for name in node.input]
            kind = onnx.TensorProto.FLOAT
            graph.node.insert(0, onnx.helper.make_node("Cast", [value.name], [floats], to=kind))
    if bucket.is_static:
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = bucket.largest
    return model.SerializeToString()


@contextmanager
def _timing_cache(config: Any, cache: Path, key: PlanKey) -> Iterator[None]:
    """Reuse the timings of earlier plans and builds: the next build is quicker and chooses the same
    kernels."""
    path = cache / "timing" / f"{key.flavor}-{key.version}-sm{key.capability}.cache"
    try:
        known = path.read_bytes()
    except OSError:
        known = b""
    if not config.set_timing_cache(config.create_timing_cache(known), False) and known:
        logger.info("%s is damaged, or of another machine: timing again", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)
    yield
    timed = config.get_timing_cache()
    if timed is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, bytes(timed.serialize()))
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
