"""Rounds of loads on servers of which only one runs at a time.

In each round every server is started, checked, warmed up, measured and ended, and the in-process
ceiling is measured before and after ours and after the others. A load that fails is reported
and never counted; a server that fails never stops the others.
"""

import io
import json
import logging
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.speed import servers, wrk
from benchmarks.speed.ceiling import Target, ceilings, in_fresh_process
from benchmarks.speed.servers import Server
from benchmarks.speed.wrk import Load, LoadError, Result

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A load of one subject at so many connections."""

    subject: str
    kind: str
    connections: int
    load: Load

    @property
    def name(self) -> str:
        many = "s" if self.connections > 1 else ""
        return f"{self.subject} {self.kind}, {self.connections} connection{many}"


@dataclass
class Rounds:
    """What was found, a list entry a round: a result, or None where the run failed."""

    ceilings: dict[str, list[float]] = field(default_factory=dict)
    results: dict[tuple[str, str], list[Result | None]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is measured, how long and how often; the first of the servers is ours."""

    servers: Mapping[str, Server]
    work: Mapping[str, Sequence[Work]]
    targets: Mapping[str, Target]
    rounds: int
    seconds: int
    warm_up: int
    """Seconds before each load; without, the ceiling is measured only once a round, at first."""


def run(plan: Plan) -> Rounds:
    """All rounds; a server that fails is reported and skipped, never stops the others."""
    found = Rounds()
    # No two requests of a whole run ask for the same image.
    numbers = count(1_000_000, 1_000_000)
    ours = next(iter(plan.servers))
    for _ in range(plan.rounds):
        ceiling: dict[str, list[float]] = {name: [] for name in plan.targets}
        _measure_ceiling(plan, ceiling)
        for name, server in plan.servers.items():
            for work, result in visit(plan, name, server, numbers).items():
                key = work.name, name
                if isinstance(result, Result):
                    found.results.setdefault(key, []).append(result)
                else:
                    found.results.setdefault(key, []).append(None)
                    found.failures[key] = str(result)
            if name == ours and plan.warm_up:
                _measure_ceiling(plan, ceiling)
        if plan.warm_up:
            _measure_ceiling(plan, ceiling)
        for name, rates in ceiling.items():
            found.ceilings.setdefault(name, []).append(median(rates))
    return found


Found = dict[tuple[str, str], list[Result | None]]
"""(load, server) -> a result a round, or None where the run failed."""


def take_turns(plan: Plan) -> Found:
    """All rounds of servers that are compared with one another, and with no ceiling."""
    found: Found = {}
    numbers = count(1_000_000, 1_000_000)
    for _ in range(plan.rounds):
        for name, server in plan.servers.items():
            for work, result in visit(plan, name, server, numbers).items():
                right = result if isinstance(result, Result) else None
                found.setdefault((work.name, name), []).append(right)
    return found


def _measure_ceiling(plan: Plan, into: dict[str, list[float]]) -> None:
    targets = list(plan.targets.values())
    rates = in_fresh_process(ceilings, targets, min(3.0, plan.seconds))
    for name, value in zip(plan.targets, rates, strict=True):
        into[name].append(value)
        logger.info("%s in process: %.0f images/s", name, value)


def visit(
    plan: Plan, name: str, server: Server, numbers: Iterator[int]
) -> dict[Work, Result | LoadError]:
    """Every load of one server, from its start to its end."""
    found: dict[Work, Result | LoadError] = {}
    reason = "it did not start"
    try:
        with servers.running(server) as started:
            for work in plan.work[name]:
                found[work] = _loaded(plan, started.url, work, numbers)
    except RuntimeError as error:
        logger.warning("%s: %s", name, error)
        reason = f"it did not start: {str(error).splitlines()[-1]}"
    return {work: found.get(work) or LoadError(reason) for work in plan.work[name]}


def _loaded(plan: Plan, url: str, work: Work, numbers: Iterator[int]) -> Result | LoadError:
    try:
        check(url, work.load)
        if plan.warm_up:
            wrk.run(url, work.load, work.connections, plan.warm_up, next(numbers))
            # Its reply comes when what the warm-up left behind is through.
            check(url, work.load)
        result = wrk.run(url, work.load, work.connections, plan.seconds, next(numbers))
    except LoadError as error:
        return error
    logger.info("%s: %.0f images/s", work.name, result.images_per_second)
    return result


def check(url: str, load: Load) -> None:
    """One request by hand: LoadError unless the reply holds the images that will be counted."""
    body = load.body.read_bytes() if isinstance(load.body, Path) else (load.body % 1).encode()
    request = urllib.request.Request(  # noqa: S310 - the loopback
        url + load.path, body, {"content-type": load.media_type, **dict(load.headers)}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            kind, content = reply.headers["content-type"], reply.read()
            head = reply.headers["inference-header-content-length"]
        if head is not None:
            found = json.loads(content[: int(head)])["outputs"][0]["shape"][0]
        elif kind == "image/png":
            found = 1 if Image.open(io.BytesIO(content), formats=["PNG"]).size else 0
        else:
            found = len(np.load(io.BytesIO(content), allow_pickle=False))
    except (OSError, ValueError) as error:
        raise LoadError(f"{load.path}: expected {load.images} images, found {error}") from None
    if found != load.images:
        raise LoadError(f"{load.path}: expected {load.images} images, found {found} ({kind})")
