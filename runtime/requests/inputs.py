"""The inputs of a graph for some rows of a request, by the roles of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.prior import Mixture
from runtime.artifact.size import Size
from runtime.artifact.tensors import Role, Signature, TensorSpec
from runtime.artifact.vocabulary import Vocabulary
from runtime.checks import short
from runtime.errors import InputError
from runtime.requests.checks import Int64Array, Labels, check_labels, check_truncation
from runtime.requests.prompts import drawn_prompts
from runtime.sampling.streams import Counter, Draws, Stream, integers, normals

NO_TRUNCATION = 1.0
"""The value of a `truncation` input in requests that name none: latents as they are."""

UNMIXED = float(1 << 20)
"""The value of a `mixing_layer` input in requests that mix nothing: there is no such layer."""

NORMAL_BOUND = 2.0
"""The prior `truncated_normal` draws normals within [-2, 2], then multiplies by the truncation."""


@dataclass(frozen=True)
class Conditions:
    """What a graph takes beside its latents or images: labels, prompts, a truncation and noise; and
    no latents to mix with, where none are given.

    `noise_of` says of which seed and number the noise of each row is; without it noise is 0.
    """

    spec: Signature
    size: Size
    streams: Mapping[str, int]
    labels: Int64Array | None
    truncation: float
    noise_of: Counter | None
    prompts: Int64Array | None = None
    """Tokens [n, length]."""

    def rows(
        self, start: int, stop: int, given: Mapping[Role, NDArray[Any] | Draws]
    ) -> dict[str, NDArray[Any] | Draws]:
        """All inputs of rows start..stop in the signature's order, those of some roles given."""
        inputs: dict[str, NDArray[Any] | Draws] = {}
        for tensor in self.spec.inputs:
            if tensor.role in given:
                inputs[tensor.name] = given[tensor.role]
            elif tensor.role == "labels" and self.labels is not None:
                inputs[tensor.name] = np.ascontiguousarray(self.labels[start:stop])
            elif tensor.role == "prompt" and self.prompts is not None:
                inputs[tensor.name] = np.ascontiguousarray(self.prompts[start:stop])
            elif tensor.role == "truncation":
                inputs[tensor.name] = np.full(stop - start, self.truncation, np.float32)
            elif tensor.role == "mixing_latents":
                inputs[tensor.name] = np.zeros((stop - start, *tensor.at(self.size)), np.float32)
            elif tensor.role == "mixing_layer":
                inputs[tensor.name] = np.full(stop - start, UNMIXED, np.float32)
            elif tensor.role == "noise":
                inputs[tensor.name] = self._noise(tensor, start, stop)
        return inputs

    def _noise(self, tensor: TensorSpec, start: int, stop: int) -> NDArray[np.float32]:
        if self.noise_of is None:
            return np.zeros((stop - start, *tensor.at(self.size)), np.float32)
        counter = self.noise_of.slice(start, stop)
        drawn = normals(counter, self.streams[tensor.name], tensor.values(self.size))
        return drawn.reshape(stop - start, *tensor.at(self.size))


def conditions(
    manifest: Manifest,
    graph: str,
    spec: Signature,
    size: Size,
    *,
    labels: Int64Array | None = None,
    prompts: Int64Array | None = None,
    truncation: float | None = None,
    noise_of: Counter | None,
) -> Conditions:
    """The conditions of a graph's rows, from checked values."""
    return Conditions(
        spec,
        size,
        # Most graphs take no noise, and this is done for every request.
        {} if spec.input("noise") is None else noise_streams(manifest.graphs, graph),
        labels,
        NO_TRUNCATION if truncation is None else truncation,
        noise_of,
        prompts,
    )


def noise_streams(graphs: Mapping[str, Signature], graph: str) -> dict[str, int]:
    """The random stream of each noise input of a graph, by name.

    The posterior's noise has a stream of its own; all further noise inputs of the artifact are
    numbered in the manifest's order.
    """
    streams: dict[tuple[str, str], int] = {}
    further = 0
    for name, spec in graphs.items():
        posterior = spec.output("log_density") is not None
        for tensor in spec.inputs:
            if tensor.role != "noise":
                continue
            if posterior:
                streams[name, tensor.name], posterior = Stream.POSTERIOR_NOISE, False
            else:
                streams[name, tensor.name] = Stream.FURTHER_NOISE + further
                further += 1
    return {tensor: stream for (name, tensor), stream in streams.items() if name == graph}


def checked_labels(
    manifest: Manifest, graph: str, labels: Labels | None, count: int
) -> Int64Array | None:
    """Labels [count] of a graph that takes them, which must be given; InputError where it does not
    and some are."""
    spec = manifest.graphs[graph]
    if spec.input("labels") is not None:
        return check_labels(manifest, labels, count, required=True)
    if labels is not None and manifest.labels is not None:
        raise InputError("labels", f"none: this {graph}r takes no labels", short(labels))
    return check_labels(manifest, labels, count)


def checked_truncation(spec: Signature, truncation: float | None) -> float | None:
    """The truncation of a request that draws no latents: only a graph's own input takes one."""
    if truncation is not None and spec.input("truncation") is None:
        raise InputError("truncation", "none: the latents are given", short(truncation))
    return check_truncation(truncation)


def latent_draws(
    shape: tuple[int, ...],
    prior: Mixture | None,
    counter: Counter,
    truncation: float | None,
    scale: float = 1.0,
) -> Draws | NDArray[np.float32]:
    """Latents [count, *shape] of a prior, times `scale`; drawn late where they are not scaled."""
    draws = Draws(shape, ((counter, truncation),), prior)
    return draws if scale == 1.0 else np.asarray(draws) * np.float32(scale)


def drawn_labels(classes: int, counter: Counter) -> Int64Array | None:
    """One class an image, each as likely as the others; None for a model without classes."""
    return integers(counter, Stream.LABEL, classes) if classes else None


def drawn_conditions(
    classes: int, vocabulary: Vocabulary | None, counter: Counter
) -> dict[Role, Int64Array]:
    """The labels or prompts of images for which none are given: nothing, for a model that takes
    neither."""
    drawn: dict[Role, Int64Array | None] = {
        "labels": drawn_labels(classes, counter),
        "prompt": drawn_prompts(vocabulary, counter),
    }
    return {role: values for role, values in drawn.items() if values is not None}
