"""Requests a second for one image of a small network: what a request costs beside its image.

The shipped `mnist-vae` as PNG to 64 connections, by our service with one worker and with one a
core; beside it an app behind uvicorn that does nothing, our runtime behind nothing but uvicorn (and
both behind granian, where it is installed), and other servers with the same graph, engine and
cores. The servers take turns in every round, and a ratio is that of two in the same round. At last,
the latency of ours while one more client asks for 4,096 images again and again.
"""

import argparse
import shutil
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import httpx

import runtime
from benchmarks.figures import Bar, Figure, least, most
from benchmarks.speed import servers, wrk
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.rounds import Found, Plan, Work, take_turns
from benchmarks.speed.servers import ADAPTIVE, GRANIAN, LITSERVE, NAIVE, ROOT
from benchmarks.speed.wrk import Load, Result
from runtime.artifact.reading import read_artifact
from runtime.machine import cores

SMALL = ROOT / "artifacts" / "mnist-vae"
EMPTY, BARE = "empty uvicorn", "bare uvicorn on our runtime"
EMPTY_GRANIAN, BARE_GRANIAN = "empty granian", "bare granian on our runtime"
ONE, EACH = "ours, one worker", "ours, a worker a core"
PEERS = (NAIVE, ADAPTIVE, LITSERVE)

OF_EMPTY: Bar = least(0.15)
OF_PEERS: Bar = least(4.0)
"""What ours, with a worker a core, must hold on two cores."""
TAIL: Bar = most(3.0)
"""p99 / p50 of ours, one worker, beside a client of many images."""

_LARGE = {"n": 4096, "seed": 1, "format": "npy"}


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks small`"""
    options = parser("small", __doc__)
    options.add_argument("--rounds", type=int, help="rounds (default 5; 1 with --quick)")
    options.add_argument("--seconds", type=int, help="a load, whole seconds (5; 1 with --quick)")
    options.add_argument("--connections", type=int, default=64, help="(default 64)")
    options.add_argument("--no-peers", action="store_true", help="without other servers")
    chosen = options.parse_args(arguments)
    wrk.find_wrk()
    with tempfile.TemporaryDirectory() as folder:
        plan = prepare(chosen, Path(folder))
        found = take_turns(plan)
        beside = [_beside(plan) for _ in range(plan.rounds)]
    publish(
        chosen,
        "small",
        "One small image a request",
        [*figures_of(plan, found), _tail(plan, beside)],
        {
            "cores": cores(),
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "load": "wrk, one thread, closed loop",
        },
    )


def prepare(chosen: argparse.Namespace, folder: Path) -> Plan:
    """The servers, and their one load."""
    artifact = read_artifact(SMALL)
    manifest = artifact.manifest
    served = folder / "artifacts"
    shutil.copytree(SMALL, served / manifest.name)
    graph = folder / "graph.onnx"
    graph.write_bytes(artifact.files[manifest.graphs["decode"].files["fp32"]])
    exact = {"LATENTSERVE_BACKEND": "onnxruntime", "LATENTSERVE_PRECISION": "fp32"}
    with runtime.load(SMALL, backend="onnxruntime", precision="fp32"):
        pass  # the engine's cache is filled: no server starts by measuring
    given = {
        **exact,
        "PEER_GRAPH": str(graph),
        "PEER_ARTIFACT": str(SMALL),
        "PEER_CORES": str(cores()),
    }
    started = {
        EMPTY: servers.peer("empty", given, ready="/"),
        BARE: servers.peer("bare", given),
        ONE: servers.ours(served, exact),
        EACH: servers.ours(served, {**exact, "LATENTSERVE_WORKERS": str(cores())}),
    }
    if find_spec(GRANIAN):
        compiled = {**given, "PEER_HTTP": GRANIAN}
        started[EMPTY_GRANIAN] = servers.peer("empty", compiled, ready="/")
        started[BARE_GRANIAN] = servers.peer("bare", compiled)
    if not chosen.no_peers:
        started |= servers.others(given)
    load = Load("/sample", 1, '{"n":1,"seed":%d}', least_bytes=50)
    work = Work(manifest.name, "n=1 PNG", chosen.connections, load)
    return Plan(
        started,
        {name: [work] for name in started},
        targets={},
        rounds=chosen.rounds or (1 if chosen.quick else 5),
        seconds=chosen.seconds or (1 if chosen.quick else 5),
        warm_up=0 if chosen.quick else 1,
    )


def _beside(plan: Plan) -> Result:
    """The load on ours, one worker, while one client asks for many images without a pause."""
    (work,) = plan.work[ONE]
    ended = threading.Event()

    def ask(url: str) -> None:
        while not ended.is_set():
            httpx.post(f"{url}/sample", json=_LARGE, timeout=60).raise_for_status()

    with (
        servers.running(plan.servers[ONE]) as started,
        ThreadPoolExecutor(1) as pool,
    ):
        if plan.warm_up:
            wrk.run(started.url, work.load, work.connections, plan.warm_up, 1)
        asking = pool.submit(ask, started.url)
        try:
            return wrk.run(started.url, work.load, work.connections, plan.seconds, 1_000_000)
        finally:
            ended.set()
            asking.result()


def _tail(plan: Plan, beside: Sequence[Result]) -> Figure:
    (work,) = plan.work[ONE]
    return Figure(
        f"{work.name}, {_LARGE['n']:,} images beside: p99 / p50",
        ONE,
        ratio=median(one.p99 / one.p50 for one in beside),
        bar=TAIL,
        details={name: median(getattr(one, name) for one in beside) for name in ("p50", "p99")},
    )


def figures_of(plan: Plan, found: Found) -> list[Figure]:
    """Each server against the empty one, then ours against the others."""
    (work,) = plan.work[EMPTY]
    rates = {
        server: [None if r is None else r.images_per_second for r in found[work.name, server]]
        for server in plan.servers
    }
    two = cores() == 2
    figures = [
        _against(work.name, server, EMPTY, rates, OF_EMPTY if two and server == EACH else None)
        for server in plan.servers
    ]
    others = f"{work.name}: against others"
    for peer in (name for name in PEERS if name in plan.servers):
        ratio = _against(others, EACH, peer, rates, OF_PEERS if two else None)
        figures.append(replace(ratio, variant=f"{EACH} / {peer}", value=None, rounds=[]))
    return figures


def _against(
    subject: str,
    server: str,
    other: str,
    rates: dict[str, list[float | None]],
    bar: Bar | None,
) -> Figure:
    pairs = zip(rates[server], rates[other], strict=True)
    good = [(own, theirs) for own, theirs in pairs if own is not None and theirs is not None]
    failed = len(rates[server]) - len(good)
    note = f"FAILED in {failed} of {len(rates[server])} rounds" if failed else ""
    if not good:
        return Figure(subject, server, note=note)
    return Figure(
        subject,
        server,
        median(own for own, _ in good),
        "requests/s",
        median(own / theirs for own, theirs in good),
        other,
        bar,
        note,
        [own for own, _ in good],
    )
