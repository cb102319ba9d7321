"""Timing for machines that others use too: variants take turns, and only medians are reported.

A machine's speed drifts by tens of percent within minutes, so figures of different minutes say
nothing about each other. Variants are timed in rounds (A B C, A B C, …); ratios are taken within a
round, and the median over the rounds is the figure.
"""

import threading
import time
from collections.abc import Callable, Mapping
from statistics import median

Rounds = dict[str, list[float]]
"""Variant -> one figure a round."""

SETTLE = 0.15
"""Seconds of rest before a variant's turn: the worker threads of some engines spin for a while
after their last run, and would take a core from the next engine."""


def interleaved(variants: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Measure every variant once a round, in turns; each call returns its figure."""
    found: Rounds = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            time.sleep(SETTLE)
            found[name].append(measure())
    return found


def medians(rounds: Rounds) -> dict[str, float]:
    """The median over the rounds, variant by variant."""
    return {name: median(figures) for name, figures in rounds.items()}


def paired_ratio(figures: list[float], baseline: list[float]) -> float:
    """The median over the rounds of figure / baseline: what drifts from round to round cancels."""
    if len(figures) != len(baseline):
        raise ValueError(
            f"rounds: expected as many of a variant as of its baseline, found {len(figures)} and "
            f"{len(baseline)}"
        )
    return median(figure / base for figure, base in zip(figures, baseline, strict=True))


def rate(call: Callable[[], int], seconds: float, threads: int = 1) -> float:
    """Images a second of `threads` threads, each making one call after another for `seconds`, one
    call at least.

    A call returns how many images it made. Each thread's own images are divided by its own time,
    so that one waiting for its last call to end does not count as slow.
    """
    if threads == 1:
        return _rate_of_one(call, seconds)
    rates: list[float] = []
    failures: list[BaseException] = []
    start = threading.Barrier(threads)

    def loop() -> None:
        try:
            start.wait()
            rates.append(_rate_of_one(call, seconds))
        except BaseException as error:  # handed on to the caller's thread
            failures.append(error)

    workers = [threading.Thread(target=loop, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return sum(rates)


def _rate_of_one(call: Callable[[], int], seconds: float) -> float:
    images, elapsed = 0, 0.0
    began = time.perf_counter()
    while not images or elapsed < seconds:
        images += call()
        elapsed = time.perf_counter() - began
    return images / elapsed
