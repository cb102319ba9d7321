"""Images a second of torch, ONNX Runtime, OpenVINO and ours on the same networks.

All variants do the same work (float latents in, uint8 images out, or back) on the same seeded
inputs and the same cores, in interleaved rounds. The ratios are to the plain export on ONNX Runtime
with its defaults: what `torch.onnx` and five lines give.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import runtime
from benchmarks.figures import Bar, Figure, least
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.raw import openvino_static, session
from benchmarks.speed.subjects import NETWORKS, Subject, add_options, opened
from benchmarks.speed.timing import interleaved, paired_ratio, rate
from runtime.engines.openvino import is_installed, precisions
from runtime.machine import cores

BASELINE = "ONNX Runtime, default threads"
OURS_FP32, OURS_AUTO = "ours, fp32", "ours, auto"

BARS: dict[str, Bar] = {
    f"dcgan64 decode x64, {OURS_FP32}": least(1.3),
    f"dcgan32 decode x64, {OURS_FP32}": least(1.7),
    f"resnet32 decode x64, {OURS_FP32}": least(1.9),
    f"vae32 decode x64, {OURS_FP32}": least(2.0),
    f"dcgan64 decode x64, {OURS_AUTO}": least(1.7),
    f"dcgan32 decode x64, {OURS_AUTO}": least(1.5),
    f"resnet32 decode x64, {OURS_AUTO}": least(2.2),
}
"""Figure -> what its ratio must reach; those of `auto` hold where the CPU computes in bf16."""

NO_BF16 = "not applicable: no bf16 on this CPU"
BATCHES = (64, 1)
# Images that one call of ours gets: enough batches that the last, partial round is lost among them.
_FED = 16

Measure = Callable[[float], float]
"""Seconds to spend -> images a second."""


class MissingError(Exception):
    """A variant that this machine or environment cannot run; the text says why."""


@dataclass(frozen=True)
class Case:
    """One graph of one subject at one batch size."""

    subject: Subject
    graph: str
    batch: int

    @property
    def name(self) -> str:
        return f"{self.subject.name} {self.graph} x{self.batch}"


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks engines`"""
    options = parser("engines", __doc__)
    add_options(options)
    options.add_argument("--rounds", type=int, help="rounds (default 5; 2 with --quick)")
    options.add_argument("--seconds", type=float, help="a variant's turn (1.5; 0.2 with --quick)")
    options.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    chosen = options.parse_args(arguments)
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    seconds = chosen.seconds or (0.2 if chosen.quick else 1.5)
    compiles = not (chosen.quick or chosen.no_compile)
    figures: list[Figure] = []
    engines: dict[str, str] = {}
    with opened(chosen, ("dcgan32",) if chosen.quick else NETWORKS) as subjects:
        for subject in subjects:
            with ours(subject) as models:
                engines |= {f"{subject.name}, {name}": m.engine for name, m in models.items()}
                for graph in subject.manifest.graphs:
                    for batch in BATCHES:
                        case = Case(subject, graph, batch)
                        figures += measure(case, models, rounds, seconds, compiles)
    publish(
        chosen,
        "engines",
        "Images a second of one network on several engines",
        figures,
        {"cores": cores(), "rounds": rounds, "seconds": seconds, "ours": engines},
    )


@contextmanager
def ours(subject: Subject) -> Iterator[dict[str, runtime.Model]]:
    """The subject loaded by `runtime`, once a precision, as a user would."""
    with ExitStack() as stack:
        yield {
            OURS_FP32: stack.enter_context(runtime.load(subject.folder, precision="fp32")),
            OURS_AUTO: stack.enter_context(runtime.load(subject.folder, precision="auto")),
        }


def measure(
    case: Case,
    models: dict[str, runtime.Model],
    rounds: int,
    seconds: float,
    compiles: bool,
) -> list[Figure]:
    """All variants of one case, timed in turns."""
    makers: dict[str, Callable[[Case], Measure]] = {
        BASELINE: _onnxruntime_default,
        f"ONNX Runtime, {cores()} one-thread runs": _onnxruntime_runs,
        "torch eager": partial(_torch, compiles=False),
        "torch.compile": partial(_torch, compiles=True),
        f"OpenVINO fp32, {cores()} streams": _openvino,
        **{name: partial(_ours, model) for name, model in models.items()},
    }
    if not compiles:
        del makers["torch.compile"]
    timed: dict[str, Callable[[], float]] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            variant = make(case)
            variant(0.0)  # one call untimed: memory is claimed, kernels are chosen or compiled
        except MissingError as reason:
            missing[name] = str(reason)
        else:
            timed[name] = partial(variant, seconds)
    found = interleaved(timed, rounds)
    return [
        Figure(case.name, name, note=missing[name])
        if name in missing
        else _judged(case, name, found[name], found[BASELINE])
        for name in makers
    ]


def _judged(case: Case, name: str, rates: list[float], baseline: list[float]) -> Figure:
    bar = BARS.get(f"{case.name}, {name}") if case.subject.network is not None else None
    applies = name != OURS_AUTO or has_bf16()
    return Figure(
        case.name,
        name,
        median(rates),
        "images/s",
        paired_ratio(rates, baseline),
        "baseline",
        bar if applies else None,
        NO_BF16 if bar is not None and not applies else "",
        rates,
    )


def has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 (AVX512-BF16 or AMX), as OpenVINO reports it."""
    return is_installed() and "bf16" in precisions()


def _onnxruntime_default(case: Case) -> Measure:
    run = session(case.subject.graph_file(case.graph), threads=None)
    return _looped(lambda inputs: run(None, inputs), case, threads=1)


def _onnxruntime_runs(case: Case) -> Measure:
    run = session(case.subject.graph_file(case.graph), threads=1)
    return _looped(lambda inputs: run(None, inputs), case, threads=cores())


def _openvino(case: Case) -> Measure:
    if not is_installed():
        raise MissingError("openvino is not installed")
    data, inputs = case.subject.graph_file(case.graph), case.subject.inputs(case.graph, case.batch)
    # A request belongs to one thread at a time.
    idle = deque(openvino_static(data, inputs, streams=cores()))

    def one() -> int:
        run = idle.pop()
        run()
        idle.append(run)
        return case.batch

    return lambda seconds: rate(one, seconds, cores())


def _looped(call: Callable[[dict[str, Any]], Any], case: Case, threads: int) -> Measure:
    inputs = case.subject.inputs(case.graph, case.batch)

    def one() -> int:
        call(inputs)
        return case.batch

    return lambda seconds: rate(one, seconds, threads)


def _torch(case: Case, *, compiles: bool) -> Measure:
    if case.subject.network is None:
        raise MissingError("no torch module is known for an artifact")
    import torch

    from benchmarks.speed.networks import graph_module

    module = graph_module(case.subject.network, case.graph)
    tensors = [torch.from_numpy(a) for a in case.subject.inputs(case.graph, case.batch).values()]
    torch.set_num_threads(cores())
    call: Callable[..., Any] = module
    if compiles:
        # What it learnt of other batches would make it compile for any batch.
        torch.compiler.reset()
        # Freezing is what its documentation advises for inference on CPUs.
        call = torch.compile(module, dynamic=False, options={"freezing": True})

    def one() -> int:
        with torch.inference_mode():
            call(*tensors)
        return case.batch

    try:
        one()
    except Exception as error:  # a missing compiler shows in many ways
        if not compiles:
            raise
        reason = str(error).strip().splitlines()[0]
        raise MissingError(
            f"it does not compile here: {type(error).__name__}: {reason}"[:100]
        ) from None
    return lambda seconds: rate(one, seconds)


def _ours(model: runtime.Model, case: Case) -> Measure:
    # One large array, of which the queue makes full batches; or one image a call, in as many
    # threads as there are runs at once.
    threads = model.runners if case.batch == 1 else 1
    many = case.subject.fewer_if_slow(case.batch * model.runners * _FED)
    count = 1 if case.batch == 1 else many
    inputs = case.subject.inputs(case.graph, count)
    labels = inputs.get("labels")

    def one() -> int:
        if case.graph == "decode":
            model.decode(inputs["latents"], labels)
        else:
            model.encode(inputs["images"], labels)
        return count

    return lambda seconds: rate(one, seconds, threads)
