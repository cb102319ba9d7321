"""TensorRT, of either flavor: plans of the engine cache, run in lanes."""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import GraphSpec, Precision
from runtime.engines.backend import Backend, Place, Setting, Variant, graph_specs, precisions
from runtime.engines.gpu import Engines, GpuBackend
from runtime.engines.library import EngineLibrary, EngineRequest
from runtime.engines.nvidia import devices, tensorrt
from runtime.engines.nvidia.cuda import as_memory_error
from runtime.engines.nvidia.devices import Gpu, dotted
from runtime.engines.nvidia.plans import Plan, discard, find, names, note_verified, stale
from runtime.engines.nvidia.slots import Execution
from runtime.engines.nvidia.tensorrt import FLAVORS, Flavor, data_types, import_tensorrt, logger_of
from runtime.engines.nvidia.tensorrt_api import (
    ICudaEngine,
    IExecutionContext,
    IRtxCudaEngine,
    TensorRT,
    TensorRTForRTX,
)
from runtime.engines.nvidia.verification import verify
from runtime.errors import EngineError, OutOfDeviceMemoryError, WrongImagesError


def tensorrt_backend(
    artifact: Artifact, flavor: Flavor, precision: Precision, setting: Setting, cache: Path
) -> GpuBackend:
    """The artifact on the plans that the cache holds for this machine's GPUs.

    Plans that were not verified on such a GPU with this version are verified first. Raises
    EngineError where TensorRT or a plan is missing, with the command that builds it, and where a
    plan is wrong.
    """
    library = import_tensorrt(flavor)

    def engines(gpu: Gpu) -> Engines:
        found = find_plans(artifact, flavor, precision, cache, gpu)
        for graph, plans in found.items():
            for plan in plans:
                if not _is_verified(plan, gpu, library.__version__):
                    _verify(artifact, graph, plan, cache, gpu)
        specs = graph_specs(artifact.manifest, precision)
        return {
            graph: TensorRTEngine(library, specs[graph], plans) for graph, plans in found.items()
        }

    name = f"{flavor} {library.__version__}, {precision}"
    return GpuBackend(engines, engine=name, setting=setting)


def find_plans(
    artifact: Artifact, flavor: Flavor, precision: Precision, cache: Path, gpu: Gpu
) -> dict[str, list[Plan]]:
    """The plans of every graph of the artifact for one GPU; EngineError where a graph has none."""
    version = import_tensorrt(flavor).__version__
    result: dict[str, list[Plan]] = {}
    for graph, spec in graph_specs(artifact.manifest, precision).items():
        onnx = artifact.manifest.files[spec.file]
        subject = (cache, onnx, flavor, spec.precision, version, gpu.capability)
        result[graph] = find(*subject)
        if not result[graph]:
            others = stale(*subject)
            raise EngineError(
                f"no {flavor} plan of {spec.file} for {gpu.name} (compute capability "
                f"{dotted(gpu.capability)}) and {flavor} {version}"
                + (f"; there is one of {', '.join(others)}" if others else "")
                + f": build it by `python -m export engine {artifact.folder} --flavor {flavor} "
                f"--precision {precision}`"
            )
    return result


def verify_plan(artifact: Artifact, graph: str, plan: Plan, gpu: Gpu) -> dict[str, Any]:
    """Run one plan at every batch size that it will be used with, compare it with the reference,
    and return the worst figures, and where and by what they were found. Raises WrongImagesError."""
    key = plan.key
    library = import_tensorrt(key.flavor)
    spec = graph_specs(artifact.manifest, key.precision)[graph]

    def engines(_: Gpu) -> Engines:
        return {graph: TensorRTEngine(library, spec, [plan])}

    found: list[dict[str, Any]] = []
    for batch in key.bucket.sizes:
        setting = Setting(runners=1, threads=1, batch=batch)
        backend = GpuBackend(engines, engine=key.file, setting=setting, on=[gpu])
        try:
            if backend.max_batch < batch:
                raise OutOfDeviceMemoryError(f"not enough device memory to verify {key.file}")
            found.append(verify(artifact, graph, spec, backend, batch))
        finally:
            backend.close()
    worst = {name: max(each[name] for each in found) for name in found[0]}
    return worst | {"gpu": gpu.name, "version": library.__version__}


def _is_verified(plan: Plan, gpu: Gpu, version: str) -> bool:
    """On this model of GPU, with this version."""
    verified = plan.verified or {}
    return (verified.get("gpu"), verified.get("version")) == (gpu.name, version)


def _verify(artifact: Artifact, graph: str, plan: Plan, cache: Path, gpu: Gpu) -> None:
    try:
        note_verified(cache, plan, verify_plan(artifact, graph, plan, gpu))
    except WrongImagesError:
        discard(cache, plan.key)
        raise


class TensorRTEngine:
    """One graph's plans on one device, its weights once for each of them."""

    def __init__(self, library: TensorRT, spec: GraphSpec, plans: Sequence[Plan]) -> None:
        self.spec = spec
        self._library = library
        self._flavor = plans[0].key.flavor
        log, self._said = logger_of(self._flavor)
        self._runtime = library.Runtime(log)
        self._engines: dict[int, ICudaEngine] = {}
        for plan in plans:
            self._said.clear()
            engine = self._runtime.deserialize_cuda_engine(plan.data)
            if engine is None:
                refused = EngineError(
                    f"{self._flavor} cannot load its plan {plan.key.file}: "
                    f"{'; '.join(self._said)}: build it again"
                )
                raise as_memory_error(refused)
            self._check_signature(engine, plan)
            bucket = plan.key.bucket
            for batch in bucket.sizes:
                if batch not in self._engines or bucket.is_static:
                    self._engines[batch] = engine
        self.buckets = tuple(sorted(self._engines))

    def execution(self, bucket: int, stream: int) -> Execution:
        context = self._context(self._engines[bucket])
        scratch = int(self._engines[bucket].device_memory_size_v2)
        return _Execution(context, scratch, self.spec, bucket, self._said)

    def close(self) -> None:
        self._engines.clear()

    def _context(self, engine: ICudaEngine) -> IExecutionContext:
        """A context whose memory the lane owns."""
        self._said.clear()
        strategy = self._library.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._flavor == "tensorrt-rtx":
            # Kernels of dynamic shapes are compiled here and now: a CUDA graph would keep the slow
            # ones that stand in for them until a compilation in the background ends.
            rtx = cast(TensorRTForRTX, self._library)
            config = cast(IRtxCudaEngine, engine).create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            eager = rtx.DynamicShapesKernelSpecializationStrategy.EAGER
            config.dynamic_shapes_kernel_specialization_strategy = eager
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            raise OutOfDeviceMemoryError(f"no execution context: {'; '.join(self._said)}")
        return context

    def _check_signature(self, engine: ICudaEngine, plan: Plan) -> None:
        """A plan of the right key whose inputs or outputs are others would read and write beyond
        its buffers."""
        types = data_types(self._library)
        modes = self._library.TensorIOMode
        batch = plan.key.bucket.largest if plan.key.bucket.is_static else -1
        expected = {
            tensor.name: (mode, types[tensor.dtype], (batch, *tensor.at()))
            for mode, tensors in (
                (modes.INPUT, self.spec.inputs),
                (modes.OUTPUT, self.spec.outputs),
            )
            for tensor in tensors
        }
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
            name: (
                engine.get_tensor_mode(name),
                engine.get_tensor_dtype(name),
                tuple(engine.get_tensor_shape(name)),
            )
            for name in names
        }
        if found != expected:
            raise EngineError(
                f"{plan.key.file}: expected {expected}, the engine has {found}: build it again"
            )


class _Execution:
    """A context of one engine at one batch size; a context serves one run at a time."""

    can_be_captured = True

    def __init__(
        self,
        context: IExecutionContext,
        scratch: int,
        spec: GraphSpec,
        bucket: int,
        said: deque[str],
    ) -> None:
        self._context, self.scratch = context, scratch
        self._spec, self._said = spec, said
        for tensor in spec.inputs:
            self._succeeds(context.set_input_shape(tensor.name, (bucket, *tensor.at())))

    def bind(self, addresses: Mapping[str, int], scratch: int) -> None:
        for name, pointer in addresses.items():
            self._succeeds(self._context.set_tensor_address(name, pointer))
        self._context.set_device_memory(scratch, self.scratch)

    def enqueue(self, stream: int) -> None:
        self._succeeds(self._context.execute_async_v3(stream))

    def _succeeds(self, result: bool) -> None:
        if not result:
            said = "; ".join(self._said) or "without saying why"
            self._said.clear()
            raise EngineError(f"TensorRT failed on {self._spec.file}: {said}")


class TensorRTLibrary:
    """One flavor of TensorRT: it runs the plans that `python -m export engine` built."""

    places: tuple[Place, ...] = ("cuda",)

    def __init__(self, flavor: Flavor) -> None:
        self.name: Flavor = flavor

    def version(self, artifact: Artifact, cache: Path) -> dict[str, Any]:
        manifest = artifact.manifest
        specs = [s for p in precisions(manifest) for s in graph_specs(manifest, p).values()]
        plans = {name for spec in specs for name in names(cache, manifest.files[spec.file])}
        return {"version": tensorrt.version(self.name), "plans": sorted(plans)}

    def has_gpu(self) -> bool:
        return tensorrt.is_installed(self.name)

    def require_gpu(self) -> None:
        import_tensorrt(self.name)

    def candidates(
        self, artifact: Artifact, request: EngineRequest, place: Place, cache: Path
    ) -> list[Variant]:
        """Those whose plans are built; where none is, EngineError with the command."""
        if request.backend == "auto" and not self._may_run():
            return []
        found: list[Variant] = []
        missing: list[EngineError] = []
        for precision in precisions(artifact.manifest):
            if request.precision not in ("auto", precision):
                continue
            try:
                for gpu in devices.gpus():
                    find_plans(artifact, self.name, precision, cache, gpu)
                found.append(Variant(self.name, precision, "plain", place))
            except EngineError as error:
                missing.append(error)
        if missing and not found:
            raise missing[0]
        return found

    def open(self, artifact: Artifact, variant: Variant, setting: Setting, cache: Path) -> Backend:
        return tensorrt_backend(artifact, self.name, variant.precision, setting, cache)

    def _may_run(self) -> bool:
        """Whether it is installed and knows this machine's GPUs."""
        if not tensorrt.is_installed(self.name):
            return False
        if self.name == "tensorrt":
            return True
        known = tensorrt.rtx_capabilities()
        return all(dotted(gpu.capability) in known for gpu in devices.gpus())


ENGINES: tuple[EngineLibrary, ...] = tuple(TensorRTLibrary(flavor) for flavor in FLAVORS)
