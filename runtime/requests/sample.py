"""Sample: images of a seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.size import Size
from runtime.artifact.tensors import Role, Signature
from runtime.batching.jobs import Job
from runtime.checks import as_list, check_integer, short
from runtime.engines.backend import Inputs, arrays
from runtime.errors import InputError
from runtime.images import Float32Array, UInt8Array
from runtime.requests.checks import (
    MAX_COUNT,
    Int64Array,
    Labels,
    check_labels,
    check_seed,
    check_size,
    check_truncation,
)
from runtime.requests.inputs import (
    NO_TRUNCATION,
    NORMAL_BOUND,
    conditions,
    drawn_conditions,
    drawn_labels,
    latent_draws,
)
from runtime.requests.prompts import (
    Prompt,
    check_prompts,
    count_of_prompts,
    drawn_prompts,
    texts_of,
)
from runtime.requests.request import Described, graph_of, images_of
from runtime.sampling.streams import MAX_SEED, Counter, Draws, repeated

MAX_LAYERS = 100


def answered_by(manifest: Manifest) -> bool:
    return "decode" in manifest.graphs and manifest.prior != "none"


@dataclass(frozen=True)
class Sample:
    """Images `offset` .. `offset + n - 1` of one seed, or image 0 of each of `seeds`.

    Without `labels` a conditional model draws one class an image from a stream of its own; a model
    of prompts draws one of its examples without a `prompt`.
    `truncation` t draws latents from the normal truncated to [-t, t]; where the prior is a mixture,
    the normals that its components are made of. A decoder with a `truncation` input is given t
    instead, and 1 without it; where the prior is a truncated normal, its latents are multiplied
    by t besides. `size` is [height, width], where the artifact names these axes.

    `mix_seed` and `mix_layer` mix styles, where the network has one a layer: image i has its own
    in the layers below `mix_layer`, and from there on that of image i of `mix_seed`.
    """

    n: int | None = None
    seed: int | None = None
    offset: int = 0
    seeds: Sequence[int] | None = None
    labels: Labels | None = None
    truncation: float | None = None
    size: Sequence[int] | None = None
    mix_seed: int | None = None
    mix_layer: int | None = None
    prompt: Prompt | None = None

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
        spec, size = graph_of(model.manifest, "decode"), self._size(model.manifest)
        return np.asarray(self._draws(model, spec, size)(self.counter))

    def chosen_labels(self, manifest: Manifest) -> Int64Array | None:
        """The class index of every image, given or drawn: [n]; None for an unconditional model."""
        given = check_labels(manifest, self.labels, self.counter.count)
        return drawn_labels(len(manifest.labels or ()), self.counter) if given is None else given

    def chosen_prompts(
        self, manifest: Manifest, start: int = 0, stop: int | None = None
    ) -> list[str] | None:
        """The words of every image's prompt, given or drawn, or of those from start to stop; None
        where none are read."""
        words, counter = manifest.vocabulary, self.counter
        stop = counter.count if stop is None else stop
        given = check_prompts(manifest, self.prompt, counter.count)
        if given is None:
            given = drawn_prompts(words, counter.slice(start, stop))
        else:
            given = given[start:stop]
        return texts_of(words, given)

    def inputs(self, model: Described) -> dict[str, NDArray[Any]]:
        """The graph's inputs for all images."""
        job = self.job(model)
        return arrays(job.rows(0, job.count))

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        spec, size = graph_of(manifest, "decode"), self._size(manifest)
        counter, draws = self.counter, self._draws(model, spec, size)
        mixed = self._mixed(spec)
        labels = check_labels(manifest, self.labels, counter.count)
        prompts = check_prompts(manifest, self.prompt, counter.count)
        draws_labels = labels is None and spec.input("labels") is not None
        classes = len(manifest.labels or ()) if draws_labels else 0
        words = manifest.vocabulary if prompts is None else None
        rest = conditions(
            manifest,
            "decode",
            spec,
            size,
            labels=labels,
            prompts=prompts,
            truncation=self.truncation,
            noise_of=counter,
        )

        def rows(start: int, stop: int) -> Inputs:
            part = counter.slice(start, stop)
            given: dict[Role, Any] = {"latents": draws(part)}
            given |= drawn_conditions(classes, words, part)
            if mixed is not None:
                given["mixing_latents"] = np.asarray(draws(mixed.slice(start, stop)))
                given["mixing_layer"] = np.full(stop - start, self.mix_layer, np.float32)
            return rest.rows(start, stop, given)

        return Job("decode", counter.count, rows, images_of, size)

    def _size(self, manifest: Manifest) -> Size:
        if manifest.prior == "none":
            raise InputError(
                "model",
                "one with a prior to sample from",
                f"{manifest.name}, whose latents another model makes: decode them",
            )
        return check_size(manifest, self.size)

    def _mixed(self, spec: Signature) -> Counter | None:
        """The images whose styles are mixed in; None where none are."""
        if self.mix_seed is None and self.mix_layer is None:
            return None
        if spec.input("mixing_latents") is None:
            name = "mix_layer" if self.mix_seed is None else "mix_seed"
            found = short(getattr(self, name))
            raise InputError(name, "none: this model mixes no styles", found)
        if self.mix_seed is None or self.mix_layer is None:
            field = "mix_seed" if self.mix_seed is None else "mix_layer"
            raise InputError(field, "mix_seed and mix_layer together", "one of them")
        check_integer("mix_layer", self.mix_layer, 0, MAX_LAYERS)
        seed, counter = check_seed("mix_seed", self.mix_seed), self.counter
        if counter.seeds is not None:
            return repeated(seed, counter.count)
        return replace(counter, seed=seed)

    def _draws(
        self, model: Described, spec: Signature, size: Size
    ) -> Callable[[Counter], Draws | Float32Array]:
        """The latents of some of the images; where the graph truncates by itself, not truncated."""
        truncation, prior, scale = check_truncation(self.truncation), model.prior, 1.0
        if model.manifest.prior == "truncated_normal":
            truncation, scale = NORMAL_BOUND, NO_TRUNCATION if truncation is None else truncation
        elif spec.input("truncation") is not None:
            truncation = None
        latents = spec.input("latents")
        shape = () if latents is None else latents.at(size)
        return lambda counter: latent_draws(shape, prior, counter, truncation, scale)


def count_of(labels: Labels | None, prompt: Prompt | None = None) -> int:
    """How many images are meant where no number is given: one, or one for each of several
    labels or prompts."""
    if labels is None or isinstance(labels, int | str | np.integer):
        return count_of_prompts(prompt)
    return len(as_list("labels", labels, "one class, or one for each image"))
