"""LitServe with its batching (https://lightning.ai/docs/litserve/features/batching).

A worker a core with a one-thread session each, and the queue that it advises above 100 requests a
second.

`python -m benchmarks.peers.lightning PORT`
"""

import sys
from typing import Any

import litserve
from numpy.typing import NDArray
from starlette.responses import Response

from benchmarks.peers.common import CORES, MAX_BATCH, Generator, to_png


class Sampler(litserve.LitAPI):
    """Seeds to images, batched; a PNG each."""

    def setup(self, device: str) -> None:
        self.generator = Generator()

    def decode_request(self, request: dict[str, Any], **_: Any) -> int:
        return request["seed"]

    def batch(self, inputs: list[int]) -> list[int]:
        return inputs

    def predict(self, x: list[int], **_: Any) -> NDArray[Any]:
        return self.generator.images(x)

    def unbatch(self, output: NDArray[Any]) -> list[NDArray[Any]]:
        return list(output)

    def encode_response(self, output: NDArray[Any], **_: Any) -> Response:
        return Response(to_png(output), media_type="image/png")


def main(port: int) -> None:
    api = Sampler(max_batch_size=MAX_BATCH, batch_timeout=0.005, api_path="/sample")
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=CORES, timeout=60, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
