"""What a user of another server writes too: a session, latents of a seed, a PNG.

Environment variables say what the peers serve: PEER_GRAPH is the ONNX file, PEER_CORES how many
cores they may use, PEER_CLASSES how many classes the graph knows, if any.
"""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BATCH = 64
CORES = int(os.environ.get("PEER_CORES", "1"))


class Generator:
    """The graph on ONNX Runtime; each run takes one core."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_GRAPH"], options, providers=["CPUExecutionProvider"]
        )
        inputs = {given.name: given.shape[1:] for given in self._session.get_inputs()}
        self._latent = tuple(inputs["latents"])
        self._classes = int(os.environ.get("PEER_CLASSES", "0"))

    def images(self, seeds: Sequence[int]) -> NDArray[np.uint8]:
        """An image a seed: uint8 [n, H, W, C]."""
        generators = [np.random.default_rng(seed) for seed in seeds]
        latents = [g.standard_normal(self._latent, np.float32) for g in generators]
        inputs: dict[str, Any] = {"latents": np.stack(latents)}
        if self._classes:
            inputs["labels"] = np.array([g.integers(self._classes) for g in generators])
        (images,) = self._session.run(None, inputs)
        return images  # pyright: ignore[reportReturnType]


def to_png(image: NDArray[np.uint8]) -> bytes:
    """An image uint8 [H, W, C] by Pillow, at the level that costs least."""
    buffer = io.BytesIO()
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    Image.fromarray(pixels).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
