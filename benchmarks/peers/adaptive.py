"""BentoML with adaptive batching (https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html).

A batchable endpoint takes one parameter and gives no bytes of its own kind, so, as documented for
other signatures, a service in front receives requests and calls the batching one.

`bentoml serve benchmarks.peers.adaptive:Adaptive`
"""

import bentoml
import numpy as np

from benchmarks.peers.common import CORES, MAX_BATCH, Generator, to_png


# A worker has one batch in flight, so a worker a core. The client of a service closes its
# connections after 100 requests, those in flight included, which then fail: not here.
@bentoml.service(
    workers=CORES,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    runner_connection={"max_requests": 1 << 30, "max_age": 1e6},
)
class Batches:
    """Seeds to images, batched."""

    def __init__(self) -> None:
        self.generator = Generator()

    # With a tight latency BentoML refuses most requests at 128 connections.
    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)
    def images(self, seeds: list[int]) -> np.ndarray:
        return self.generator.images(seeds)


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Adaptive:
    """Requests to PNG."""

    batches = bentoml.depends(Batches)

    @bentoml.api
    async def sample(self, ctx: bentoml.Context, n: int = 1, seed: int = 0) -> bytes:
        images = await self.batches.to_async.images([seed])  # pyright: ignore
        ctx.response.headers["content-type"] = "image/png"
        return to_png(images[0])
