"""Images a second on an NVIDIA GPU: torch, ONNX Runtime, TensorRT and ours.

From latents in host memory to uint8 images in host memory, on the same network.

The variants of a case (a network, a precision, a batch size) take turns. What is not installed is
left out and named; cases for which the time is over are named too. The most
informative come first, so a shorter run is the beginning of a longer one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figures import Figure, tabulated, write_figures
from benchmarks.gpu.cases import (
    BATCHES,
    JUDGED,
    Budget,
    Card,
    Cost,
    Result,
    figures_of,
    judge,
    ordered,
    reason_of,
)
from benchmarks.gpu.variants import BACKENDS, Backend, Session, measure
from benchmarks.speed.publishing import parser
from benchmarks.speed.subjects import Subject, add_options, opened
from benchmarks.speed.timing import rate
from runtime.artifact.tensors import Precision
from runtime.engines.nvidia import devices
from runtime.engines.nvidia.devices import NO_GPU
from runtime.engines.nvidia.tensorrt import is_installed
from runtime.engines.sessions import has_cuda
from runtime.errors import EngineError
from runtime.requests.sample import Sample

PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks gpu`"""
    options = parser("gpu", __doc__)
    add_options(options)
    options.add_argument("--markdown", type=Path, metavar="FILE.md", help="write the tables there")
    options.add_argument("--minutes", type=float, default=9.0, help="the time there is (default 9)")
    options.add_argument(
        "--batches", type=int, nargs="+", help="batch sizes (1 to 4096; 256 quick)"
    )
    options.add_argument("--backends", nargs="+", choices=BACKENDS, help="of ours (default all)")
    options.add_argument("--compile", type=int, nargs="*", help="torch.compile at these (256)")
    options.add_argument("--runners", type=int, help="runs of ours at once (default: two a GPU)")
    options.add_argument("--rounds", type=int, help="rounds (default 3; 2 with --quick)")
    options.add_argument("--seconds", type=float, help="a variant's turn (0.1; 0.02 with --quick)")
    chosen = options.parse_args(arguments)
    there = devices.gpus()
    if not there:
        raise SystemExit(f"nothing was measured: {NO_GPU}")
    budget = Budget(60 * chosen.minutes)
    compiled = chosen.compile if chosen.compile is not None else [] if chosen.quick else [JUDGED]
    session = Session(
        there[0],
        rounds=chosen.rounds or (2 if chosen.quick else 3),
        seconds=chosen.seconds or (0.02 if chosen.quick else 0.1),
        compiled=compiled,
        runners=chosen.runners,
        left_out={backend: missing(backend, chosen.backends) for backend in BACKENDS},
    )
    session.card = card(session)
    batches = chosen.batches or ((JUDGED,) if chosen.quick else BATCHES)
    run(chosen, session, budget, batches)


def run(
    chosen: argparse.Namespace, session: Session, budget: Budget, batches: Sequence[int]
) -> None:
    """Every case of every network, each network in its share of the time; then the report."""
    results: list[Result] = []
    figures: list[Figure] = list(session.card.figures())
    networks = ("vae32",) if chosen.quick else ("dcgan32", "dcgan64", "vae32", "resnet32")
    with opened(chosen, networks, ("fp16",)) as subjects:
        for number, subject in enumerate(subjects):
            share = budget.share(len(subjects) - number)
            cost = cost_of(subject)
            figures.append(host_latents(subject, session))
            there = subject.manifest.graphs["decode"].files
            precisions: list[Precision] = [p for p in PRECISIONS if p in there]
            for case in ordered(subject.name, precisions, batches):
                results.append(measure(session, subject, case, cost, share))
                figures += figures_of(results[-1], session.card, cost)
                # Written each time: a run that is ended early still reports what it found.
                write_figures(chosen.json, "gpu", figures + session.built, about(session))
        names = [subject.name for subject in subjects]
    backends = [backend for backend, reason in session.left_out.items() if not reason]
    bars = list(judge(results, session.differences(), names, backends or BACKENDS, session.card))
    figures += [*session.built, *bars]
    print(tabulated(figures))
    for backend, reason in session.left_out.items():
        if reason:
            print(f"{backend}: {reason}")
    write_figures(chosen.json, "gpu", figures, about(session))
    if chosen.markdown is not None or chosen.plot is not None:
        from benchmarks.gpu.report import draw, markdown

        if chosen.markdown is not None:
            chosen.markdown.write_text(markdown(results, bars))
        if chosen.plot is not None:
            draw(chosen.plot, f"Images a second into host memory\n{session.card.name}", results)


def about(session: Session) -> dict[str, Any]:
    """How it was measured."""
    gpu = session.gpu
    return {
        "gpu": gpu.name,
        "capability": devices.dotted(gpu.capability),
        "memory": gpu.memory,
        "gpus": len(devices.gpus()),
        "rounds": session.rounds,
        "seconds": session.seconds,
        "runners": session.runners,
        "left out": {name: reason for name, reason in session.left_out.items() if reason},
        "ours": session.engines,
    }


def missing(backend: Backend, chosen: Sequence[str] | None) -> str:
    """Why a backend is left out; empty where it is not."""
    if chosen is not None and backend not in chosen:
        return "left out: not among --backends"
    if backend == "onnxruntime":
        try:
            return "" if has_cuda() else "this onnxruntime has no CUDA provider (extra onnx-gpu)"
        except EngineError as error:
            return str(error)
    if not is_installed(backend):
        return f"{backend} is not installed (extra {backend})"
    if backend == "tensorrt-rtx" and chosen is None and is_installed("tensorrt"):
        # Both libraries define the same symbols: one process is for one of them.
        return "left out beside tensorrt: --backends tensorrt-rtx measures it"
    return ""


def card(session: Session) -> Card:
    """The card's best, as far as torch and cuda-bindings are there to measure it."""
    matrix: dict[Precision, float] = {}
    reasons: dict[str, str] = {}
    try:
        from benchmarks.gpu.torch import matrix_peak

        matrix = {precision: matrix_peak(precision, session.rounds) for precision in PRECISIONS}
    except Exception as error:  # no torch, one without CUDA, or a card that another one uses
        reasons["matrix"] = reason_of(error)
    try:
        from benchmarks.gpu.raw import copy_speeds

        copy_in, copy_out = copy_speeds(session.cuda, session.rounds)
    except EngineError as error:
        reasons["copy"] = reason_of(error)
        copy_in = copy_out = None
    return Card(session.gpu.name, matrix, copy_in, copy_out, reasons)


def host_latents(subject: Subject, session: Session) -> Figure:
    """How many latents one thread of the host draws: the limit, times the runs at once, where the
    GPU does not draw them."""
    request = Sample(4096, seed=0)
    rates = [
        rate(lambda: len(request.latents(subject.artifact)), session.seconds)
        for _ in range(session.rounds)
    ]
    name = f"{subject.name}: latents on the host"
    return Figure(name, "one thread", median(rates), "images/s", rounds=rates)


def cost_of(subject: Subject) -> Cost:
    """FLOPs and bytes of one image."""
    size = int(np.prod(subject.manifest.image().shape))
    if subject.network is None:
        return Cost(None, size)
    from benchmarks.speed.networks import flops

    return Cost(flops(subject.network.decode, subject.network.inputs(1)), size)
