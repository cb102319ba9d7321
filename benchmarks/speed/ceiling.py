"""The in-process ceiling of a service: calls of `Model` in a process of their own.

A fresh process each time, so that it shares nothing with the caller: no torch, no other engine.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import runtime
from benchmarks.speed.subjects import random_images
from benchmarks.speed.timing import rate

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A request to an artifact, loaded as the service loads it, in calls of so many images."""

    folder: Path
    request: Literal["sample", "decode", "encode"]
    backend: str
    precision: Any
    images: int


def in_fresh_process(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`call(...)` in a new interpreter that ends afterwards; its exceptions come through."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *args, **kwargs).result()


def ceilings(targets: Sequence[Target], seconds: float) -> list[float]:
    """Images a second of each target, one after the other."""
    return [_ceiling(target, seconds) for target in targets]


def _ceiling(target: Target, seconds: float) -> float:
    with runtime.load(target.folder, backend=target.backend, precision=target.precision) as model:
        model.warm()
        if target.request == "sample":

            def call() -> int:
                return len(model.sample(target.images, seed=0))
        elif target.request == "decode":
            latents = model.latents(target.images, seed=0)
            label = None if model.manifest.labels is None else 0

            def call() -> int:
                return len(model.decode(latents, label))
        else:
            images = random_images(model.manifest, target.images)

            def call() -> int:
                return len(model.encode(images).mean)

        rate(call, min(0.2, seconds))
        return rate(call, seconds)
