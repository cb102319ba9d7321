"""What the service tells Prometheus, in the shapes that serving systems share: requests, images and
engine runs are counted apart, by model, endpoint and outcome."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from runtime import Model

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Every metric of the service. Make one a process: `metrics()`."""

    def __init__(self) -> None:
        # Imported late: BentoML first sets where the metrics of all its processes come together.
        from prometheus_client import Counter, Gauge, Histogram

        # `live`: of a process that has ended, nothing is left.
        def summed(name: str, text: str, labels: Sequence[str] = ()) -> Any:
            return Gauge(name, text, labels, multiprocess_mode="livesum")

        def highest(name: str, text: str, labels: Sequence[str] = ()) -> Any:
            return Gauge(name, text, labels, multiprocess_mode="livemax")

        model, graph = ("model",), ("model", "graph")
        self.requests = Counter(
            "latentserve_requests",
            "Requests answered; status `cut` where a reply broke off.",
            ("endpoint", "model", "status"),
        )
        self.request_seconds = Histogram(
            "latentserve_request_seconds",
            "Seconds from a request's headers to its reply's last byte.",
            ("endpoint", "status"),
            buckets=_SECONDS,
        )
        self.in_flight = summed("latentserve_requests_in_flight", "Requests being answered.")
        self.images = Counter(
            "latentserve_images", "Images of successful replies.", ("endpoint", "model")
        )
        self.encode_seconds = Histogram(
            "latentserve_encode_seconds",
            "Seconds to turn a reply's images or posteriors into bytes.",
            ("format",),
            buckets=(0.0001, 0.00025, 0.0005, *_SECONDS),
        )
        self.queue_images = summed("latentserve_queue_images", "Images waiting.", model)
        self.queue_oldest_seconds = highest(
            "latentserve_queue_oldest_seconds", "How long the oldest request has waited.", model
        )
        self.queue_seconds = Histogram(
            "latentserve_queue_seconds",
            "Seconds that a request waited for its first engine run.",
            graph,
            buckets=_SECONDS,
        )
        self.engine_runs = Counter(
            "latentserve_engine_runs", "Batches run.", ("model", "graph", "outcome")
        )
        self.engine_images = Counter(
            "latentserve_engine_images", "Images of batches that succeeded.", graph
        )
        self.engine_seconds = Histogram(
            "latentserve_engine_seconds", "Seconds of one engine run.", graph, buckets=_SECONDS
        )
        self.batch_images = Histogram(
            "latentserve_batch_images", "Images of one batch.", graph, buckets=_IMAGES
        )
        self.rejected = Counter(
            "latentserve_rejected",
            "Requests without a result, by reason: overloaded, cancelled, failed, not finite (the "
            "posterior held NaN or infinity).",
            ("model", "graph", "reason"),
        )
        self.model_info = highest(
            "latentserve_model_info",
            "1 for each model that is served, 0 for one that was.",
            ("model", "version", "engine"),
        )
        self.artifacts_failed = highest(
            "latentserve_artifacts_failed", "Artifacts in the folder that could not be loaded."
        )
        self._served: set[tuple[str, str, str]] = set()

    def observe_models(self, models: Iterable[Model], failed: int, in_flight: int) -> None:
        """What is looked at now and then, instead of noted at each change."""
        self.in_flight.set(in_flight)
        self.artifacts_failed.set(failed)
        served: set[tuple[str, str, str]] = set()
        for model in models:
            name = model.manifest.name
            self.queue_images.labels(name).set(model.queued)
            self.queue_oldest_seconds.labels(name).set(model.oldest)
            served.add((name, str(model.manifest.version), model.engine))
        for labels in self._served | served:
            self.model_info.labels(*labels).set(labels in served)
        self._served |= served


def forget_ended(folder: Path) -> None:
    """Remove from the files of metrics in `folder` the gauges of processes that have ended. What
    they counted stays: a count never falls."""
    for file in folder.glob("gauge_live*_*.db"):
        process = file.stem.rpartition("_")[2]
        if process.isdecimal() and not _runs(int(process)):
            file.unlink(missing_ok=True)  # another process may remove it as well


def _runs(process: int) -> bool:
    try:  # one that was killed is there until the supervisor looks, every 10 s
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@cache
def metrics() -> Metrics:
    """The process's metrics."""
    return Metrics()


@cache
def series(metric: str, *labels: str) -> Any:
    """One series of a metric. Looking labels up costs more than counting, and their values are
    few."""
    return getattr(metrics(), metric).labels(*labels)


class ModelObserver:
    """`runtime.Observer` of one model, by name: its versions share the series."""

    def __init__(self, model: str) -> None:
        self._model = model

    def queued(self, graph: str, images: int) -> None:
        pass  # the queue's length is looked at when somebody asks

    def taken(self, graph: str, images: int, waited: Sequence[float]) -> None:
        series("batch_images", self._model, graph).observe(images)
        for seconds in waited:
            series("queue_seconds", self._model, graph).observe(seconds)

    def run(self, graph: str, images: int, seconds: float) -> None:
        series("engine_runs", self._model, graph, "ok").inc()
        series("engine_images", self._model, graph).inc(images)
        series("engine_seconds", self._model, graph).observe(seconds)

    def failed(self, graph: str, images: int) -> None:
        series("engine_runs", self._model, graph, "failed").inc()

    def rejected(self, graph: str, images: int, reason: str) -> None:
        series("rejected", self._model, graph, reason).inc()
