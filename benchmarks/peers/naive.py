"""BentoML as its first page shows it: a synchronous endpoint, as many threads as cores.

`bentoml serve benchmarks.peers.naive:Naive`
"""

import bentoml

from benchmarks.peers.common import CORES, Generator, to_png


@bentoml.service(
    workers=1,
    threads=CORES,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
)
class Naive:
    """One image a request, one engine run an image."""

    def __init__(self) -> None:
        self.generator = Generator()

    @bentoml.api
    def sample(self, ctx: bentoml.Context, n: int = 1, seed: int = 0) -> bytes:
        ctx.response.headers["content-type"] = "image/png"
        return to_png(self.generator.images([seed])[0])
