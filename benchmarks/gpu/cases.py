"""What the GPU benchmark measures, in which order, and its figures, shares and bars.

Nothing here needs a GPU.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import median

from benchmarks.figures import Bar, Figure, least, most
from benchmarks.speed.engines import Measure, MissingError
from benchmarks.speed.timing import Rounds, paired_ratio
from runtime.artifact.tensors import Precision

BATCHES = (1, 16, 64, 256, 1024, 4096)
# The most telling first: where the time runs out, the least is lost.
_ORDER = (256, 4096, 1, 1024, 64, 16)
JUDGED = 256
"""The batch of the bars on ratios."""

BASELINE = "torch channels-last"
ENQUEUE, COPIED = "raw loop, enqueue only", "raw loop, images copied out"
"""TensorRT's raw loops; both launch CUDA graphs."""
PLAIN, GRAPHS = "raw loop", "raw loop, CUDA graph"
"""ONNX Runtime's; both copy the images out."""
RAW = {"tensorrt": COPIED, "tensorrt-rtx": COPIED, "onnxruntime": GRAPHS}
"""Backend -> the raw loop that ours is held against: images in host memory, as ours."""

OURS: Bar = least(0.95)
ENGINES: Bar = least(1.5)
PIXELS: Bar = most(0.5)
RATES: dict[str, Bar] = {"dcgan32": least(4_000_000), "dcgan64": least(1_000_000)}
"""fp16 images a second into host memory that a card of the H200's class must reach."""


@dataclass(frozen=True, order=True)
class Case:
    """One decoder in one precision at one batch size."""

    network: str
    precision: Precision
    batch: int

    @property
    def name(self) -> str:
        return f"{self.network} {self.precision} x{self.batch}"


@dataclass(frozen=True)
class Result:
    """Images a second of every variant of a case, a list entry a round; why others are missing."""

    case: Case
    rates: Rounds = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """The GPU, and what it was measured to do at best."""

    name: str
    matrix: Mapping[Precision, float] = field(default_factory=dict)
    """FLOP/s of a large matrix product."""
    copy_in: float | None = None
    """Bytes/s from page-locked host memory, and `copy_out` back to it."""
    copy_out: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    def figures(self) -> Iterator[Figure]:
        for precision in ("fp16", "fp32"):
            name = f"matrix product, {precision}"
            peak = self.matrix.get(precision)
            value = None if peak is None else peak / 1e12
            yield Figure(self.name, name, value, "TFLOP/s", note=self.missing.get("matrix", ""))
        for name, speed in (
            ("copy, host to device", self.copy_in),
            ("copy, device to host", self.copy_out),
        ):
            value = None if speed is None else speed / 1e9
            yield Figure(self.name, name, value, "GB/s", note=self.missing.get("copy", ""))


@dataclass(frozen=True)
class Cost:
    """What an image takes: FLOPs (None where the network is not known), and bytes copied out."""

    flops: int | None
    bytes: int

    def shares(self, card: Card, precision: Precision, rate: float) -> dict[str, float]:
        """The shares of the card's best that `rate` images a second are."""
        found: dict[str, float] = {}
        peak = card.matrix.get(precision)
        if self.flops is not None and peak:
            found["of matrix peak"] = rate * self.flops / peak
        if card.copy_out:
            found["of copy peak"] = rate * self.bytes / card.copy_out
        return found


class Budget:
    """The time there is."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - self._clock())

    @property
    def is_over(self) -> bool:
        return not self.left

    def share(self, parts: int) -> "Budget":
        """An equal share of what is left."""
        return Budget(self.left / parts, self._clock)


def ordered(
    network: str, precisions: Sequence[Precision], batches: Sequence[int]
) -> Iterator[Case]:
    """All cases of a network, the most telling first."""
    known = [batch for batch in _ORDER if batch in batches]
    others = [batch for batch in batches if batch not in _ORDER]
    for batch, precision in product([*known, *others], precisions):
        yield Case(network, precision, batch)


def take_turns(
    case: Case,
    variants: Mapping[str, Measure],
    missing: dict[str, str],
    rounds: int,
    seconds: float,
) -> Result:
    """Time the variants in turns; one that fails is noted, and never stops the others."""
    found: Rounds = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            if name in found:
                try:
                    found[name].append(measure(seconds))
                except Exception as error:  # of any of five libraries
                    missing[name] = reason_of(error)
                    del found[name]
    return Result(case, found, missing)


def reason_of(error: Exception) -> str:
    """Why a variant is missing, in a line."""
    lines = str(error).strip().splitlines() or ["without a word"]
    if isinstance(error, MissingError):
        return lines[0]
    return f"FAILED: {type(error).__name__}: {lines[0]}"[:160]


def figures_of(result: Result, card: Card, cost: Cost) -> Iterator[Figure]:
    """Every variant of a case: images a second, the ratio to plain torch, shares of the card."""
    case, baseline = result.case, result.rates.get(BASELINE)
    for name, rates in result.rates.items():
        value = median(rates)
        shares = cost.shares(card, case.precision, value)
        ratio = None if baseline is None else paired_ratio(rates, baseline)
        against = "" if baseline is None else BASELINE
        yield Figure(
            case.name, name, value, "images/s", ratio, against, rounds=rates, details=shares
        )
    for name, reason in result.missing.items():
        yield Figure(case.name, name, note=reason)


def judge(
    results: Sequence[Result],
    differences: Mapping[tuple[str, str], tuple[float, float]],
    networks: Sequence[str],
    backends: Sequence[str],
    card: Card,
) -> Iterator[Figure]:
    """A row for every bar; one whose figures are missing says that it was not measured.

    `differences`: (network, backend) -> mean and largest grey-level difference of fp16 to fp32.
    """
    by_case = {result.case: result for result in results}
    for network, precision, backend in product(networks, ("fp16", "fp32"), backends):
        result = by_case.get(Case(network, precision, JUDGED))
        for what in ("sample", "decode"):
            subject = f"bar: {network} {precision} x{JUDGED}, ours / {RAW[backend]}"
            yield _ratio(subject, result, f"ours: {backend}, {what}", f"{backend}: {RAW[backend]}")
    for network in networks:
        yield _best_engine(network, by_case.get(Case(network, "fp16", JUDGED)))
    for network, bar in RATES.items():
        if network in networks:
            yield _fastest(network, results, bar, card)
    for network, backend in product(networks, backends):
        subject = f"bar: {network}, fp16 - fp32"
        if (network, backend) in differences:
            mean, largest = differences[network, backend]
            details = {"largest": largest}
            yield Figure(subject, f"ours: {backend}", mean, "levels", bar=PIXELS, details=details)
        else:
            yield Figure(subject, f"ours: {backend}", bar=PIXELS, note=NOT_MEASURED)


NOT_MEASURED = "not measured"


def _ratio(subject: str, result: Result | None, ours: str, raw: str) -> Figure:
    found: Rounds = {} if result is None else result.rates
    if ours not in found or raw not in found:
        reasons = {} if result is None else result.missing
        reason = reasons.get(ours) or reasons.get(raw)
        note = f"{NOT_MEASURED}: {reason}" if reason else NOT_MEASURED
        return Figure(subject, ours, bar=OURS, note=note)
    rates = found[ours]
    ratio = paired_ratio(rates, found[raw])
    return Figure(subject, ours, median(rates), "images/s", ratio, raw, OURS, rounds=rates)


def _best_engine(network: str, result: Result | None) -> Figure:
    """The fastest way of an engine library into host memory, against torch."""
    subject = f"bar: {network} fp16 x{JUDGED}, best engine / {BASELINE}"
    found: Rounds = {} if result is None else result.rates
    engines = [n for n in found if not n.startswith("torch") and not n.endswith(ENQUEUE)]
    if not engines or BASELINE not in found:
        return Figure(subject, "best engine", bar=ENGINES, note=NOT_MEASURED)
    best = max(engines, key=lambda name: median(found[name]))
    ratio = paired_ratio(found[best], found[BASELINE])
    return Figure(subject, best, median(found[best]), "images/s", ratio, BASELINE, ENGINES)


def _fastest(network: str, results: Sequence[Result], bar: Bar, card: Card) -> Figure:
    """Images into host memory, at the batch size and on the backend that suit best."""
    subject = f"bar: {network} fp16, images into host memory"
    rates = {
        f"{name} x{result.case.batch}": median(figures)
        for result in results
        if (result.case.network, result.case.precision) == (network, "fp16")
        for name, figures in result.rates.items()
        if name.startswith("ours") and name.endswith(("sample", "stream"))
    }
    if not rates:
        return Figure(subject, "ours", bar=bar, note=NOT_MEASURED)
    best = max(rates, key=lambda name: rates[name])
    note = "" if "H200" in card.name else f"stated for an H200; this is {card.name}"
    return Figure(subject, best, rates[best], "images/s", bar=bar, note=note)
