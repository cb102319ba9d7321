"""Warming up: the first runs of a loaded model, which no request should pay for, and its pace."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runtime.artifact.manifest import Manifest
from runtime.batching.capacity import Capacity
from runtime.engines.backend import Backend, zero_inputs
from runtime.sampling.streams import Counter, Stream, normals

_STEADY_SECONDS = 0.1
"""Where runs take longer, the first one takes hardly longer than the next."""
_WARM_SECONDS = 1.0
"""Where a run takes longer, no larger one follows."""


def warmed(
    manifest: Manifest, backends: Sequence[Backend], capacity: Capacity, runners: int
) -> float | None:
    """Run every graph at the manifest's batch sizes, as many at once as will be; no larger ones
    where a run takes seconds anyway. `backends`: that of all batches, then those of one image.

    Returns the images a second of the main graph, in three significant digits: of further runs, or
    where these take long by what one image took when the model was loaded; None where that is not
    known.
    """
    normals(Counter(count=1), Stream.LATENT, 1)  # imports what draws normals
    backend, *solo = backends
    size = manifest.default_size
    with ThreadPoolExecutor(runners) as pool:

        def timed(graph: str, batch: int) -> float:
            """Seconds of as many runs at once as there will be."""
            began = time.monotonic()
            inputs = [zero_inputs(manifest, graph, batch)] * runners
            list(pool.map(backend.run, [graph] * runners, inputs))
            return time.monotonic() - began

        took: dict[tuple[str, int], float] = {}
        for graph in manifest.graphs:
            most = capacity.needs(graph, size).most
            for batch in (b for b in manifest.batches if b <= most and most > 1):
                took[graph, batch] = timed(graph, batch)
                if took[graph, batch] > _WARM_SECONDS:
                    break
            for each in solo:
                each.run(graph, zero_inputs(manifest, graph, 1))
        graph = manifest.main_graph
        needs = capacity.needs(graph, size)
        batch = max((b for b in manifest.batches if b <= needs.most), default=1)
        images = batch * runners
        if needs.seconds * images > _WARM_SECONDS:
            seconds, images = needs.seconds, 1
        else:
            seconds = took.get((graph, batch), math.inf)
            if not _STEADY_SECONDS < seconds < math.inf:
                seconds = min(seconds, timed(graph, batch))
        return float(f"{images / seconds:.3g}") if seconds else None
