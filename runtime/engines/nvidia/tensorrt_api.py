"""The part of TensorRT that we call, as types: its bindings ship none.

One description serves TensorRT 10.13 and later, 11, and TensorRT for RTX. The tests check that
the installed bindings have every name here; they cannot run them.
"""

from collections.abc import Sequence
from typing import Any, Protocol


class Severity(Protocol):
    """`ILogger.Severity`: an enumeration; lower is worse."""

    def __int__(self) -> int: ...


class ITensor(Protocol):
    name: str
    dtype: Any
    shape: Any


class INetworkDefinition(Protocol):
    num_inputs: int
    num_outputs: int

    def get_input(self, index: int) -> ITensor: ...
    def get_output(self, index: int) -> ITensor: ...


class ParserError(Protocol):
    def desc(self) -> str: ...
    def node_name(self) -> str: ...


class OnnxParser(Protocol):
    num_errors: int

    def parse(self, model: bytes) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IOptimizationProfile(Protocol):
    # Positional: the bindings call them `input`, `min`, `opt` and `max`.
    def set_shape(
        self, name: str, smallest: Sequence[int], best: Sequence[int], largest: Sequence[int], /
    ) -> None: ...


class IHostMemory(Protocol):
    nbytes: int


class ITimingCache(Protocol):
    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    progress_monitor: Any

    def clear_flag(self, flag: Any) -> None: ...
    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...


class IRtxBuilderConfig(IBuilderConfig, Protocol):
    """TensorRT for RTX builds for the capabilities named, wherever it runs."""

    num_compute_capabilities: int

    def set_compute_capability(self, cc: Any, index: int) -> bool: ...


class Builder(Protocol):
    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None: ...


class IExecutionContext(Protocol):
    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def set_device_memory(self, memory: int, size: int) -> None: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class ICudaEngine(Protocol):
    num_io_tensors: int
    device_memory_size_v2: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Any: ...
    def get_tensor_dtype(self, name: str) -> Any: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def create_execution_context(self, strategy_or_config: Any, /) -> IExecutionContext | None: ...


class IRuntimeConfig(Protocol):
    dynamic_shapes_kernel_specialization_strategy: Any

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None: ...


class IRtxCudaEngine(ICudaEngine, Protocol):
    def create_runtime_config(self) -> IRuntimeConfig: ...


class Runtime(Protocol):
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None: ...


class TensorRT(Protocol):
    """The module of either flavor. Below each enumeration: the members that we use."""

    __version__: str
    ILogger: Any
    IProgressMonitor: Any
    BuilderFlag: Any
    """TF32, VERSION_COMPATIBLE."""
    DataType: Any
    ExecutionContextAllocationStrategy: Any
    """USER_MANAGED."""
    NetworkDefinitionCreationFlag: Any
    """STRONGLY_TYPED."""
    TensorIOMode: Any
    """INPUT, OUTPUT."""

    def Builder(self, logger: Any) -> Builder: ...  # noqa: N802
    def OnnxParser(self, network: INetworkDefinition, logger: Any) -> OnnxParser: ...  # noqa: N802
    def Runtime(self, logger: Any) -> Runtime: ...  # noqa: N802


class TensorRTForRTX(TensorRT, Protocol):
    ComputeCapability: Any
    DynamicShapesKernelSpecializationStrategy: Any
