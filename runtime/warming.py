"""Warming up: the first runs of a loaded model, which no request should pay for, and its pace."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runtime.artifact.manifest import Manifest
from runtime.batching.capacity import Capacity
from runtime.engines.backend import Backend, zero_inputs
from runtime.sampling.streams import Counter, Stream, normals

_LONG_SECONDS = 0.02
"""Where a run takes longer, an image of a larger batch takes about as long as one of this."""
_STEADY_SECONDS = 0.1
"""Where a run takes longer, the first one takes hardly longer than the next."""


def warmed(
    manifest: Manifest, backends: Sequence[Backend], capacity: Capacity, runners: int
) -> float | None:
    """Run every graph at the manifest's batch sizes, as many at once as will be; no larger ones
    where a run takes long anyway. `backends`: that of all batches, then those of one image.

    Returns the images a second of the main graph, in three significant digits: in the largest batch
    that was run or, where one image fills a run, by what it took when the model was loaded; None
    where that is not known.
    """
    normals(Counter(count=1), Stream.LATENT, 1)  # imports what draws normals
    backend, *solo = backends
    size = manifest.default_size
    images, seconds = 1, capacity.needs(manifest.main_graph, size).seconds
    with ThreadPoolExecutor(runners) as pool:

        def timed(graph: str, batch: int) -> float:
            """Seconds of as many runs at once as there will be."""
            began = time.monotonic()
            inputs = [zero_inputs(manifest, graph, batch)] * runners
            list(pool.map(backend.run, [graph] * runners, inputs))
            return time.monotonic() - began

        for graph in manifest.graphs:
            needs = capacity.needs(graph, size)
            most = needs.most if needs.most > 1 or needs.seconds < _LONG_SECONDS else 0
            for batch in (b for b in manifest.batches if b <= most):
                took = timed(graph, batch)
                if graph == manifest.main_graph:
                    images, seconds = batch * runners, took
                if took > _LONG_SECONDS:
                    break
            for each in solo:
                each.run(graph, zero_inputs(manifest, graph, 1))
        if images > 1 and seconds <= _STEADY_SECONDS:
            seconds = min(seconds, timed(manifest.main_graph, images // runners))
    return float(f"{images / seconds:.3g}") if seconds else None
