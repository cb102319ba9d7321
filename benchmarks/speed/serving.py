"""Images a second over HTTP: of our service, in process, and of other servers.

The real service (`bentoml serve`) through its documented endpoint, loaded by wrk in a closed loop;
beside it servers that do the same with the same graph, engine and cores (`benchmarks/peers`). Only
one server runs at a time; in each round every one is started, checked, warmed up, measured and
ended. The ceiling is the same model in a process of its own, measured before, between and after,
and the ratios to it are taken within the round.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

import runtime
from benchmarks.figures import Bar, Figure, least, most
from benchmarks.speed import servers, wrk
from benchmarks.speed.ceiling import Target
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.rounds import Plan, Rounds, Work, run
from benchmarks.speed.servers import ADAPTIVE, LITSERVE, NAIVE, Server
from benchmarks.speed.subjects import Subject, add_options, opened, random_images
from benchmarks.speed.wrk import Load
from runtime.engines.backend import graph_bytes, graph_specs
from runtime.images.encoding import encode_npy
from runtime.machine import cores

OURS, BARE = "ours", "bare uvicorn on our runtime"
CEILING = "in process"
PNG, NPY, ENCODE = "n=1 PNG", "n=64 npy", "encode of 64"
INFER = "Open Inference decode of 64"

BARS: dict[str, Bar] = {
    f"dcgan64 {NPY}, 8 connections, {OURS}": least(0.95),
    f"dcgan64 {PNG}, 128 connections, {OURS}": least(0.90),
    f"vae32 {ENCODE}, 8 connections, {OURS}": least(0.95),
    f"dcgan64 {INFER}, 8 connections, {OURS}": least(0.95),
    f"dcgan64 {PNG}, 128 connections: against others, {OURS} / {NAIVE}": least(1.8),
    f"dcgan64 {PNG}, 128 connections: against others, {OURS} / {ADAPTIVE}": least(1.8),
    f"dcgan64 {PNG}, 128 connections: against others, {OURS} / {LITSERVE}": least(1.3),
    f"dcgan64 {PNG}, 32 connections: p99 / p50, {OURS}": most(2.0),
}
"""Figure -> what its ratio must hold, in fp32."""

_DATATYPES = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8"}

# The bodies of files, and all replies, are of so many images.
_MANY = 64


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks serving`"""
    options = parser("serving", __doc__)
    add_options(options)
    options.add_argument("--rounds", type=int, help="rounds (default 3; 1 with --quick)")
    options.add_argument("--seconds", type=int, help="a load, whole seconds (10; 1 with --quick)")
    options.add_argument("--connections", type=int, nargs="+", help="for single PNGs (1 8 32 128)")
    options.add_argument("--backend", default="onnxruntime", help="engine library, of all servers")
    options.add_argument("--precision", default="fp32", help="of our service (default fp32)")
    options.add_argument("--no-peers", action="store_true", help="our service alone")
    chosen = options.parse_args(arguments)
    wrk.find_wrk()
    usual = ("dcgan32", "vae32") if chosen.quick else ("dcgan64", "vae32")
    with opened(chosen, usual) as subjects, tempfile.TemporaryDirectory() as folder:
        plan, engine = prepare(chosen, subjects, Path(folder))
        found = run(plan)
    figures = figures_of(plan, found)
    if chosen.artifact is not None or chosen.precision != "fp32":
        figures = [replace(figure, bar=None) for figure in figures]
    publish(
        chosen,
        "serving",
        "Images a second over HTTP",
        figures,
        {
            "engine": engine,
            "cores": cores(),
            "runners": cores(),
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "load": "wrk, one thread, closed loop",
        },
    )


def prepare(
    chosen: argparse.Namespace, subjects: Sequence[Subject], folder: Path
) -> tuple[Plan, str]:
    """The servers and loads of the options, and the engine that all of them use.

    Single images and arrays are sampled from the first subject by name, the service's default
    model. Of the subjects with an encoder, the first is measured.
    """
    subjects = sorted(subjects, key=lambda subject: subject.name)
    subject = subjects[0]
    encoder = next((s for s in subjects if "encode" in s.manifest.graphs), None)
    artifacts = folder / "artifacts"
    for one in subjects:
        shutil.copytree(one.folder, artifacts / one.name / str(one.manifest.version))
    with runtime.load(subject.folder, backend=chosen.backend, precision=chosen.precision) as model:
        engine, variant = model.engine, model.variant
    graph = folder / "graph.onnx"
    spec = graph_specs(subject.manifest, "fp32")["decode"]
    # The very graph that ours runs, in the form that was chosen for it.
    graph.write_bytes(graph_bytes(subject.artifact, spec, variant))
    settings = {
        "LATENTSERVE_BACKEND": chosen.backend,
        "LATENTSERVE_PRECISION": chosen.precision,
    }
    peer = {
        **settings,
        "PEER_GRAPH": str(graph),
        "PEER_ARTIFACT": str(subject.folder),
        "PEER_CORES": str(cores()),
        "PEER_CLASSES": str(len(subject.manifest.labels or ())),
    }
    started = _servers(chosen, artifacts, settings, peer)
    connections = chosen.connections or ([8] if chosen.quick else [1, 8, 32, 128])
    size = int(np.prod(subject.manifest.image().shape))
    single = Load("/sample", 1, '{"n":1,"seed":%d}', least_bytes=100)
    array = Load("/sample", _MANY, '{"n":64,"seed":%d,"format":"npy"}', least_bytes=_MANY * size)
    singles = [Work(subject.name, PNG, c, single) for c in connections]
    work = dict.fromkeys(started, singles)
    work[BARE] = [*singles, Work(subject.name, NPY, 8, array)]
    work[OURS] = list(work[BARE])
    work[OURS].append(Work(subject.name, INFER, 8, _inference(subject, folder)))
    targets = {
        subject.name: _target(subject, "sample", chosen),
        f"{subject.name} {INFER}": _target(subject, "decode", chosen),
    }
    if encoder is not None:
        body = folder / "images.npy"
        body.write_bytes(encode_npy(random_images(encoder.manifest, _MANY)))
        path = f"/encode?model={encoder.name}&format=npy"
        latent = 4 * encoder.manifest.graphs["encode"].outputs[0].values()
        load = Load(path, _MANY, body, "application/x-npy", least_bytes=_MANY * latent)
        work[OURS].append(Work(encoder.name, ENCODE, 8, load))
        targets[f"{encoder.name} {ENCODE}"] = _target(encoder, "encode", chosen)
    plan = Plan(
        started,
        work,
        targets,
        rounds=chosen.rounds or (1 if chosen.quick else 3),
        seconds=chosen.seconds or (1 if chosen.quick else 10),
        warm_up=0 if chosen.quick else 1,
    )
    return plan, engine


def _servers(
    chosen: argparse.Namespace,
    artifacts: Path,
    settings: Mapping[str, str],
    peer: Mapping[str, str],
) -> dict[str, Server]:
    """Ours first; the peers unless the options leave them out."""
    started = {OURS: servers.ours(artifacts, settings), BARE: servers.peer("bare", peer)}
    return started if chosen.no_peers else started | servers.others(peer)


def _inference(subject: Subject, folder: Path) -> Load:
    """Raw inputs of the decoder by the Open Inference Protocol, and raw images back."""
    inputs = subject.inputs("decode", _MANY)
    described = [
        {
            "name": name,
            "datatype": _DATATYPES[array.dtype.name],
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in inputs.items()
    ]
    asked = {"inputs": described, "parameters": {"binary_data_output": True}}
    head, body = json.dumps(asked).encode(), folder / "inference"
    body.write_bytes(head + b"".join(array.tobytes() for array in inputs.values()))
    return Load(
        f"/v2/models/{subject.name}.decode/infer",
        _MANY,
        body,
        "application/octet-stream",
        least_bytes=_MANY * int(np.prod(subject.manifest.image().shape)),
        headers=(("Inference-Header-Content-Length", str(len(head))),),
    )


def _target(
    subject: Subject, request: Literal["sample", "decode", "encode"], chosen: argparse.Namespace
) -> Target:
    images = subject.fewer_if_slow(512 if chosen.quick else 2048)
    return Target(subject.folder, request, chosen.backend, chosen.precision, images)


def figures_of(plan: Plan, found: Rounds) -> list[Figure]:
    """The figures of all rounds: each load on each server, then ours against others, then p99."""
    figures: list[Figure] = []
    loads = dict.fromkeys(one for several in plan.work.values() for one in several)
    for work in loads:
        own = found.ceilings.get(f"{work.subject} {work.kind}")
        ceiling = found.ceilings[work.subject] if own is None else own
        figures.append(Figure(work.name, CEILING, median(ceiling), "images/s", rounds=ceiling))
        for server in plan.servers:
            if work in plan.work[server]:
                figures.append(_against_ceiling(work, server, ceiling, found))
    for work in (one for one in loads if one.kind == PNG):
        figures += _against_others(plan, work, found)
    for work in (one for one in loads if one.kind == PNG and one.connections > 1):
        figures += _latencies(plan, work, found)
    return figures


def _against_ceiling(work: Work, server: str, ceiling: Sequence[float], found: Rounds) -> Figure:
    results = found.results[work.name, server]
    good = [(r, c) for r, c in zip(results, ceiling, strict=True) if r is not None]
    failed = len(results) - len(good)
    reason = found.failures.get((work.name, server), "")
    note = f"FAILED in {failed} of {len(results)} rounds: {reason}" if failed else ""
    if not good:
        return Figure(work.name, server, note=note)
    return Figure(
        work.name,
        server,
        median(r.images_per_second for r, _ in good),
        "images/s",
        median(r.images_per_second / c for r, c in good),
        CEILING,
        BARS.get(f"{work.name}, {server}"),
        note,
        [r.images_per_second for r, _ in good],
        {name: median(getattr(r, name) for r, _ in good) for name in ("p50", "p99")},
    )


def _against_others(plan: Plan, work: Work, found: Rounds) -> list[Figure]:
    subject = f"{work.name}: against others"
    ours = found.results[work.name, OURS]
    figures: list[Figure] = []
    for server in plan.servers:
        theirs = found.results[work.name, server]
        ratios = [
            mine.images_per_second / other.images_per_second
            for mine, other in zip(ours, theirs, strict=True)
            if mine is not None and other is not None
        ]
        name = f"{OURS} / {server}"
        if server != OURS and ratios:
            bar = BARS.get(f"{subject}, {name}")
            figures.append(Figure(subject, name, ratio=median(ratios), bar=bar, rounds=ratios))
    return figures


def _latencies(plan: Plan, work: Work, found: Rounds) -> list[Figure]:
    subject = f"{work.name}: p99 / p50"
    figures: list[Figure] = []
    for server in plan.servers:
        good = [r for r in found.results[work.name, server] if r is not None and r.p50]
        if good:
            ratios = [r.p99 / r.p50 for r in good]
            bar = BARS.get(f"{subject}, {server}")
            figures.append(Figure(subject, server, ratio=median(ratios), bar=bar, rounds=ratios))
    return figures
