"""The variants of the GPU benchmark, opened one case at a time: torch, raw loops, and ours."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

import runtime
from benchmarks.figures import Figure
from benchmarks.gpu.cases import (
    COPIED,
    ENQUEUE,
    GRAPHS,
    JUDGED,
    PLAIN,
    Budget,
    Card,
    Case,
    Cost,
    Result,
    reason_of,
    take_turns,
)
from benchmarks.speed.engines import Measure, MissingError
from benchmarks.speed.subjects import Subject
from benchmarks.speed.timing import rate
from runtime.artifact.tensors import GraphSpec, Precision
from runtime.engines.cache import cache_folder
from runtime.engines.nvidia.cuda import CudaRuntime
from runtime.engines.nvidia.devices import Gpu
from runtime.engines.nvidia.tensorrt import Flavor
from runtime.errors import EngineError
from runtime.images import UInt8Array

logger = logging.getLogger(__name__)

Backend = Literal["tensorrt", "tensorrt-rtx", "onnxruntime"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
Variants = dict[str, Measure]

OUT_OF_TIME = "not measured: the time was over (--minutes)"
# Above so many FLOPs a run, checking an engine's images on the CPU takes minutes.
_MOST_WORK = 2e12
# Images that one call of ours gets: batches enough to fill the lanes, and no more memory than that.
_FED_BATCHES, _FED_IMAGES, _FEWEST_BATCHES = 64, 16384, 8
_COMPARED = 4096


@dataclass
class Session:
    """What lasts through a run."""

    gpu: Gpu
    rounds: int
    seconds: float
    compiled: Sequence[int]
    """Batches at which torch.compile is worth its time."""
    left_out: dict[Backend, str]
    """Backend -> why; empty where it is not."""
    runners: int | None = None
    card: Card = field(default_factory=lambda: Card("none"))
    engines: dict[str, str] = field(default_factory=dict)
    built: list[Figure] = field(default_factory=list)
    images: dict[tuple[str, str, Precision], UInt8Array] = field(default_factory=dict)
    """(network, backend, precision) -> images of one seed."""

    @property
    def cuda(self) -> CudaRuntime:
        return CudaRuntime(self.gpu.index)

    def differences(self) -> dict[tuple[str, str], tuple[float, float]]:
        """(network, backend) -> mean and largest grey-level difference of fp16 to fp32."""
        found: dict[tuple[str, str], tuple[float, float]] = {}
        for (network, backend, precision), images in self.images.items():
            exact = self.images.get((network, backend, "fp32"))
            if precision == "fp16" and exact is not None:
                levels = np.abs(images.astype(np.int16) - exact)
                found[network, backend] = float(levels.mean()), float(levels.max())
        return found


def measure(session: Session, subject: Subject, case: Case, cost: Cost, budget: Budget) -> Result:
    """All variants of one case, timed in turns."""
    if cost.flops is not None and cost.flops * case.batch > _MOST_WORK:
        work = cost.flops * case.batch / 1e12
        reason = f"left out: {work:.1f} TFLOP a run, which the CPU's check cannot follow"
        return Result(case, missing={"all variants": reason})
    if budget.is_over:
        return Result(case, missing={"all variants": OUT_OF_TIME})
    logger.info("%s (%.0f s left for this network)", case.name, budget.left)
    timed: Variants = {}
    reasons: dict[str, str] = {}
    with ExitStack() as stack:
        for names, make in Opener(session, subject, case, stack).makers():
            try:
                if budget.is_over:
                    raise MissingError(OUT_OF_TIME)
                variants = make()
                for call in variants.values():
                    call(0.0)  # untimed: memory is claimed, kernels are chosen or compiled
            except Exception as error:  # of any of five libraries; the others go on
                reasons |= dict.fromkeys(names, reason_of(error))
                logger.info("  %s: %s", names[0], reasons[names[0]])
            else:
                timed |= variants
        return take_turns(case, timed, reasons, session.rounds, session.seconds)


@dataclass
class Opener:
    """Opens the variants of one case; the stack closes them."""

    session: Session
    subject: Subject
    case: Case
    stack: ExitStack

    def makers(self) -> Iterator[tuple[Sequence[str], Callable[[], Variants]]]:
        """The names of some variants, and what makes them."""
        for way in ("eager", "channels-last", "compile", "CUDA graph"):
            name = "torch.compile" if way == "compile" else f"torch {way}"
            yield [name], partial(self._torch, way, name)
        for backend in BACKENDS:
            if self.session.left_out[backend]:
                continue
            if backend == "onnxruntime":
                for loop in (PLAIN, GRAPHS):
                    yield [f"{backend}: {loop}"], partial(self._onnxruntime, loop)
            else:
                names = [f"{backend}: {loop}" for loop in (ENQUEUE, COPIED)]
                yield names, partial(self._tensorrt, backend)
            names = [f"ours: {backend}, {call}" for call in ("sample", "stream", "decode")]
            yield names, partial(self._ours, backend)

    @property
    def _spec(self) -> GraphSpec:
        specs = self.subject.manifest.graphs["decode"].specs
        return next(spec for spec in specs if spec.precision == self.case.precision)

    @property
    def _inputs(self) -> dict[str, NDArray[Any]]:
        return self.subject.inputs("decode", self.case.batch)

    def _torch(self, way: Any, name: str) -> Variants:
        network = self.subject.network
        if network is None:
            raise MissingError("no torch module is known for an artifact")
        if way == "compile" and self.case.batch not in self.session.compiled:
            raise MissingError("left out: compiling takes its time (--compile names batches)")
        from benchmarks.gpu.torch import loop

        return {name: loop(way, network, self.case.precision, self._inputs, self.stack)}

    def _onnxruntime(self, loop: str) -> Variants:
        from benchmarks.gpu.raw import onnxruntime_loop

        data = self.subject.artifact.files[self._spec.file]
        session = self.session
        made = onnxruntime_loop(
            *(data, self._spec, session.gpu, session.cuda, self._inputs, self.case.batch),
            self.stack,
            graphs=loop == GRAPHS,
        )
        return {f"onnxruntime: {loop}": made}

    def _tensorrt(self, flavor: Flavor) -> Variants:
        from benchmarks.gpu.raw import tensorrt_loops
        from runtime.engines.tensorrt import find_plans

        self._build(flavor)
        artifact, gpu = self.subject.artifact, self.session.gpu
        plans = find_plans(artifact, flavor, self.case.precision, cache_folder(), gpu)["decode"]
        plan = next(plan for plan in plans if plan.key.bucket.largest == self.case.batch)
        loops = tensorrt_loops(
            plan, self._spec, self.session.cuda, self._inputs, self.case.batch, self.stack
        )
        names = (f"{flavor}: {loop}" for loop in (ENQUEUE, COPIED))
        return dict(zip(names, loops, strict=True))

    def _build(self, flavor: Flavor) -> None:
        """Build, verify and keep the plans of this batch size, and note how long each took."""
        from export.engine import EngineOptions, build_engines
        from runtime.engines.nvidia.plans import Bucket

        case = self.case
        options = EngineOptions(flavor, case.precision, (Bucket.of(case.batch),))
        for built in build_engines(self.subject.artifact, options, cache_folder()):
            figure = Figure(
                f"{case.network}: seconds to build, {flavor}",
                f"{built.graph} {case.precision} x{case.batch}",
                None if built.error else built.seconds,
                "s",
                note=(built.error or "").partition("\n")[0],
            )
            self.session.built.append(figure)
            if built.error:
                raise EngineError(built.error)

    def _ours(self, backend: Backend) -> Variants:
        subject, case = self.subject, self.case
        limits = runtime.Limits(
            batch=case.batch,
            queue_images=max(4096, 16 * case.batch),
            runners=self.session.runners,
        )
        model = self.stack.enter_context(
            runtime.load(
                subject.folder,
                backend=backend,
                precision=case.precision,
                device="cuda",
                limits=limits,
            )
        )
        self.session.engines[f"{case.name}, {backend}"] = model.engine
        if model.max_batch < case.batch:
            raise MissingError(f"out of device memory: batches of {model.max_batch} at most")
        if case.batch == JUDGED:
            compared = subject.fewer_if_slow(_COMPARED)
            key = case.network, backend, case.precision
            self.session.images[key] = model.sample(compared, seed=1)
        fed = subject.fewer_if_slow(min(_FED_BATCHES * case.batch, _FED_IMAGES))
        count = max(_FEWEST_BATCHES * case.batch, fed)
        inputs = subject.inputs("decode", count)
        latents, labels = inputs["latents"], inputs.get("labels")
        calls: dict[str, Callable[[], int]] = {
            "sample": lambda: len(model.sample(count, seed=0)),
            "stream": lambda: sum(map(len, model.stream(count, seed=0))),
            "decode": lambda: len(model.decode(latents, labels)),
        }
        return {f"ours: {backend}, {name}": partial(rate, call) for name, call in calls.items()}
