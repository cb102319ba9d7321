"""Reconstruct: images encoded and decoded again."""

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.batching.jobs import Job
from runtime.engines.backend import Tensors
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import Labels, check_seed
from runtime.requests.decode import decoding
from runtime.requests.encode import encoding
from runtime.requests.inputs import checked_labels
from runtime.requests.large_jobs import checked_tile
from runtime.requests.prompts import Prompt, checked_prompts
from runtime.requests.request import Described, graph_of
from runtime.sampling.posterior import usable
from runtime.sampling.streams import Counter


def answered_by(manifest: Manifest) -> bool:
    return {"encode", "decode"} <= manifest.graphs.keys()


@dataclass(frozen=True, eq=False)
class Reconstruct:
    """Images uint8 [n, H, W, C] encoded, and the posterior's mean decoded (where the encoder takes
    noise: the latent of noise 0, which is the mean where nothing bends it).

    A decoder's own noise is that of (`seed`, i).
    """

    images: NDArray[Any]
    labels: Labels | None = None
    seed: int = 0
    prompt: Prompt | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        encoder, decoder = (graph_of(manifest, name) for name in ("encode", "decode"))
        seed = check_seed("seed", self.seed)
        both = encoder.input("labels") is not None or decoder.input("labels") is None
        encode = encoding(manifest, self.images, self.labels if both else None, None, _centre)
        # What the decoder will refuse is refused before the encoder runs.
        labels = checked_labels(manifest, "decode", self.labels, encode.count)
        prompts = checked_prompts(manifest, "decode", self.prompt, encode.count)

        def decode(latents: Float32Array, start: int) -> Job[UInt8Array]:
            stop = start + len(latents)
            job = decoding(
                manifest,
                len(latents),
                lambda first, last: latents[first:last],
                encode.size,
                labels=None if labels is None else labels[start:stop],
                prompt=None if prompts is None else prompts[start:stop],
                truncation=None,
                noise_of=Counter(seed, start, len(latents)),
            )
            return replace(job, tile=checked_tile(manifest, "decode", None))

        return encode.followed_by(decode)


def _centre(outputs: Tensors, start: int) -> Float32Array:
    """The mean, or the latents of noise 0: the first output of every encoder."""
    return usable(next(iter(outputs.values())), start)
