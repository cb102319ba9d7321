"""Sample: images of a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs
from runtime.errors import InputError
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import (
    MAX_COUNT,
    Int64Array,
    Labels,
    as_list,
    check_integer,
    check_labels,
    check_seed,
    check_truncation,
)
from runtime.requests.decode import decoder_inputs
from runtime.requests.request import Described, images_of
from runtime.sampling.streams import MAX_SEED, Counter, Draws, Stream, integers


@dataclass(frozen=True)
class Sample:
    """Images `offset` .. `offset + n - 1` of one seed, or image 0 of each of `seeds`.

    Without `labels` a conditional model draws one class an image from a stream of its own.
    `truncation` t draws latents from the normal truncated to [-t, t]; where the prior is a mixture,
    the normals that its components are made of.
    """

    n: int | None = None
    seed: int | None = None
    offset: int = 0
    seeds: Sequence[int] | None = None
    labels: Labels | None = None
    truncation: float | None = None

    @cached_property
    def counter(self) -> Counter:
        """The validated choice of images."""
        if self.seeds is not None:
            given = as_list("seeds", self.seeds, "a sequence of seeds")
            seeds = [check_seed(f"seeds[{i}]", seed) for i, seed in enumerate(given)]
            if self.seed is not None or self.n not in (None, len(seeds)) or self.offset:
                raise InputError("seeds", "either seeds, or seed with n and offset", "both")
            check_integer("seeds", len(seeds), 1, MAX_COUNT, what="at least one seed")
            return Counter.of_seeds(seeds)
        if self.n is None:
            raise InputError("n", "a number of images, or seeds", "neither")
        n = check_integer("n", self.n, 1, MAX_COUNT)
        if self.seed is None:
            raise InputError("seed", f"an integer in [0, {MAX_SEED})", "none")
        seed = check_seed("seed", self.seed)
        return Counter(seed, check_integer("offset", self.offset, 0, MAX_SEED - n), n)

    def latents(self, model: Described) -> Float32Array:
        """The latents of all images: [n, *latent]."""
        return np.asarray(self._draws(model, 0, self.counter.count))

    def chosen_labels(self, manifest: Manifest) -> Int64Array | None:
        """The class index of every image, given or drawn: [n]; None for an unconditional model."""
        given = check_labels(manifest, self.labels, self.counter.count)
        return self._labels(manifest, given, 0, self.counter.count)

    def inputs(self, model: Described) -> dict[str, NDArray[Any]]:
        """What `decode` is given for all images."""
        labels = self.chosen_labels(model.manifest)
        latents = {"latents": self.latents(model)}
        return latents if labels is None else latents | {"labels": labels}

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        check_truncation(self.truncation)
        given = check_labels(manifest, self.labels, self.counter.count)

        def rows(start: int, stop: int) -> Inputs:
            labels = self._labels(manifest, given, start, stop)
            return decoder_inputs(self._draws(model, start, stop), labels)

        return Job("decode", self.counter.count, rows, images_of)

    def _draws(self, model: Described, start: int, stop: int) -> Draws | Float32Array:
        truncation = check_truncation(self.truncation)
        shape, counter = model.manifest.latent.shape, self.counter.slice(start, stop)
        if model.prior is not None:
            # No engine draws these itself.
            return model.prior.latents(counter, truncation).reshape(counter.count, *shape)
        return Draws(shape, ((counter, truncation),))

    def _labels(
        self, manifest: Manifest, given: Int64Array | None, start: int, stop: int
    ) -> Int64Array | None:
        if given is not None or manifest.labels is None:
            return None if given is None else given[start:stop]
        return integers(self.counter.slice(start, stop), Stream.LABEL, len(manifest.labels))
