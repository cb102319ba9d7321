"""Engines called directly, as their documentation shows: the comparison for ours."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray


def session(graph: bytes, threads: int | None) -> Callable[[Any, Mapping[str, Any]], Any]:
    """`run` of an ONNX Runtime session on the CPU; None leaves its threads as they come.

    Safe to call from several threads at once.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return made.run


def openvino_static(
    graph: bytes, inputs: Mapping[str, NDArray[Any]], streams: int
) -> list[Callable[[], Any]]:
    """OpenVINO in fp32, compiled for the very shapes of `inputs`, a core a stream.

    One call a stream, each running `inputs`; a call belongs to one thread at a time.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(graph)
    model.reshape({name: list(array.shape) for name, array in inputs.items()})
    settings = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", settings)
    requests = [compiled.create_infer_request() for _ in range(streams)]
    given = dict(inputs)
    return [partial(r.infer, given, share_inputs=True, share_outputs=True) for r in requests]
