"""What runs of large images take of the memory, in a process of its own."""

import subprocess
import sys

_SCRIPT = """
from pathlib import Path
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
from runtime.engines.sessions import CPU, open_session, returning_memory

kernel = numpy_helper.from_array(np.full((32, 32, 3, 3), 0.01, np.float32), "w")
nodes = [
    helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=[1] * 4) for i in range(6)
]
shape = [1, 32, 512, 512]
ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x0", "x6")]
graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], [kernel])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
data = model.SerializeToString()
session = open_session(onnxruntime, data, "x", (CPU, {}), threads=1, plans_memory=False)
image, options = np.zeros(shape, np.float32), returning_memory(onnxruntime)


def kilobytes(name):
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name)]
    return int(line.split()[1])


image.fill(0)  # the system gives its memory now
before = kilobytes("VmRSS")
for _ in range(4):
    session.run(None, {"x0": image}, options)
    print(kilobytes("VmHWM") - before)
"""


def test_every_run_of_a_size_has_the_same_peak() -> None:
    command = [sys.executable, "-c", _SCRIPT]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peaks = [int(line) for line in printed.split()]
    layer = 32 * 512 * 512 * 4 >> 10
    # Two layers at a time. Planned memory is four, beside what the run before held.
    assert max(peaks) < 3 * layer
