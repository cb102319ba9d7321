"""torch on a GPU, driven as its documentation shows, and the card's best matrix product.

Each loop copies latents in and images out of page-locked memory, on one stream, with two runs under
way: the host waits for the images of the run before the last.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.gpu.raw import looped
from benchmarks.speed.engines import Measure, MissingError
from benchmarks.speed.networks import Network, graph_module
from runtime.artifact.tensors import Precision

Way = Literal["eager", "channels-last", "compile", "CUDA graph"]

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_SIDE = 8192
_PRODUCTS = 5
_WARM_RUNS = 3


class Decoder(nn.Module):
    """A network that computes in `precision`, with inputs and outputs as artifacts have: latents
    float32 [B, *latent] (and labels int64 [B]) -> images uint8 [B, H, W, C]."""

    def __init__(self, network: Network, precision: Precision, *, channels_last: bool) -> None:
        super().__init__()
        self.dtype = _DTYPES[precision]
        self.graph = graph_module(network, "decode")
        inner = self.graph.module.to(self.dtype)
        if channels_last:
            inner = inner.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.graph.module = _Reduced(inner, self.dtype)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        # Bytes side by side are copied out in one go.
        given = (latents,) if labels is None else (latents, labels)
        return self.graph(*given)[0].contiguous()


class _Reduced(nn.Module):
    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
        return self.network(latents.to(self.dtype), *labels)


def check_cuda() -> None:
    """MissingError unless this torch runs on a GPU; fp32 means fp32 from here on."""
    if not torch.cuda.is_available():
        raise MissingError(f"torch {torch.__version__} sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def loop(
    way: Way,
    network: Network,
    precision: Precision,
    inputs: Mapping[str, NDArray[Any]],
    opened: ExitStack,
) -> Measure:
    """The network's decoder on one batch of inputs, run one way."""
    check_cuda()
    opened.callback(torch.cuda.empty_cache)
    module = Decoder(network, precision, channels_last=way != "eager").cuda()
    host = [torch.from_numpy(array).pin_memory() for array in inputs.values()]
    given = [tensor.cuda() for tensor in host]
    batch = len(host[0])
    call: Callable[..., Tensor] = module
    if way == "compile":
        # What it learnt of other batches would make it compile for any batch.
        torch.compiler.reset()
        call = torch.compile(module, dynamic=False)
    with torch.inference_mode():
        for _ in range(_WARM_RUNS):
            images = call(*given)
        torch.cuda.synchronize()
        if way == "CUDA graph":
            call = _captured(module, given)
    taken = [torch.empty(images.shape, dtype=torch.uint8).pin_memory() for _ in range(2)]
    done = [torch.cuda.Event() for _ in taken]
    turn = 0

    def run() -> None:
        nonlocal turn
        turn = 1 - turn
        with torch.inference_mode():
            done[turn].synchronize()
            for tensor, source in zip(given, host, strict=True):
                tensor.copy_(source, non_blocking=True)
            taken[turn].copy_(call(*given), non_blocking=True)
            done[turn].record()

    return looped(run, torch.cuda.synchronize, batch)


def _captured(module: nn.Module, given: list[Tensor]) -> Callable[..., Tensor]:
    """The module on these very tensors, recorded once."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        images = module(*given)

    def replay(*_: Tensor) -> Tensor:
        graph.replay()
        return images

    return replay


def matrix_peak(precision: Precision, rounds: int) -> float:
    """FLOP/s of a product of two square matrices, the median over the rounds."""
    check_cuda()
    a, b = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=_DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(a)
    multiply = partial(torch.matmul, a, b, out=out)
    multiply()
    found: list[float] = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(_PRODUCTS):
            multiply()
        end.record()
        end.synchronize()
        found.append(_PRODUCTS * 2 * _SIDE**3 / (begin.elapsed_time(end) / 1000))
    return median(found)
