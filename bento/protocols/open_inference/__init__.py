"""The Open Inference Protocol, version 2 (KServe, Triton), over HTTP.

Its models are what artifacts can be asked for. `mnist-vae.decode`, `.encode` and `.translate` are
an artifact's graphs, by the names of their own tensors; `mnist-vae.sample` draws images by a seed;
`mnist-vae` is `sample`, or the main graph of an artifact that cannot be sampled from. An artifact
whose own name ends in such a way comes before another one's graph.
"""

from bento.protocols.open_inference.handlers import JSON_LENGTH, LOOKUPS, PROTOCOLS

__all__ = ["JSON_LENGTH", "LOOKUPS", "PROTOCOLS"]
