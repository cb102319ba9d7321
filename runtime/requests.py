"""What can be asked of a model: typed requests, validated once, turned into jobs for the queue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.backends import Inputs, Tensors
from runtime.batching import Job
from runtime.checks import (
    MAX_COUNT,
    Int64Array,
    Labels,
    as_list,
    check_images,
    check_integer,
    check_labels,
    check_latent,
    check_latents,
    check_seed,
    check_truncation,
    short,
)
from runtime.errors import InputError, NotFiniteError
from runtime.images import Float32Array, UInt8Array
from runtime.latents import PathKind, interpolate
from runtime.manifest import Manifest
from runtime.posterior import Posterior, PosteriorDraw, posterior_noise
from runtime.prior import Mixture
from runtime.streams import MAX_SEED, Counter, Draws, Stream, integers

Encoded = Posterior | PosteriorDraw

T = TypeVar("T")


class Described(Protocol):
    """What a request must know of a model: an artifact or a loaded model tells it."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def prior(self) -> Mixture | None:
        """None: N(0, I)."""
        ...


class Request(Protocol[T]):
    """Something a model can be asked for; `job` validates it against the model."""

    def job(self, model: Described) -> Job[T]: ...


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
            return _inputs(self._draws(model, start, stop), labels)

        return Job("decode", self.counter.count, rows, _images)

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


@dataclass(frozen=True, eq=False)
class Decode:
    """Images of given latents [n, *latent] (and labels, for a conditional model)."""

    latents: ArrayLike
    labels: Labels | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        latents = check_latents("latents", self.latents, manifest)
        labels = check_labels(manifest, self.labels, len(latents), required=True)
        return Job("decode", len(latents), _rows_of(_inputs(latents, labels)), _images)


@dataclass(frozen=True, eq=False)
class Interpolate:
    """`steps` images on the way from latent `a` to latent `b`, each [*latent], ends included."""

    a: ArrayLike
    b: ArrayLike
    steps: int
    kind: PathKind = "slerp"
    labels: Labels | None = None

    def job(self, model: Described) -> Job[UInt8Array]:
        manifest = model.manifest
        if self.kind not in ("slerp", "lerp"):
            raise InputError("kind", "'slerp' or 'lerp'", short(self.kind))
        steps = check_integer("steps", self.steps, 2, MAX_COUNT)
        a, b = (check_latent(f, x, manifest) for f, x in (("a", self.a), ("b", self.b)))
        labels = check_labels(manifest, self.labels, steps, required=True)

        def rows(start: int, stop: int) -> Inputs:
            fractions = np.arange(start, stop) / (steps - 1)
            latents = interpolate(a, b, fractions, self.kind)
            return _inputs(latents, None if labels is None else labels[start:stop])

        return Job("decode", steps, rows, _images)


@dataclass(frozen=True, eq=False)
class Encode:
    """The posterior of images uint8 [n, H, W, C] of the model's exact size; with a `seed` one
    latent drawn from each image's posterior, by noise that depends on (seed, i) alone.

    An encoder that takes noise (a flow) has no posterior to tell without a draw: it needs a seed.
    """

    images: NDArray[Any]
    labels: Labels | None = None
    seed: int | None = None

    def job(self, model: Described) -> Job[Encoded]:
        manifest = model.manifest
        inputs = _encoder_inputs(self.images, self.labels, manifest)
        count = len(inputs["images"])
        if self.seed is None:
            if manifest.encoder_takes_noise:
                expected = f"an integer in [0, {MAX_SEED}): this encoder draws latents"
                raise InputError("seed", expected, "none")
            return Job[Encoded]("encode", count, _rows_of(inputs), _posterior)
        seed = check_seed("seed", self.seed)
        if not manifest.encoder_takes_noise:
            drawn = partial(_drawn, seed)
            return Job[Encoded]("encode", count, _rows_of(inputs), drawn(0), finish_from=drawn)

        def rows(start: int, stop: int) -> Inputs:
            noise = posterior_noise(seed, start, stop - start, manifest.latent.shape)
            return {**_rows_of(inputs)(start, stop), "noise": noise}

        return Job[Encoded]("encode", count, rows, _draw)


@dataclass(frozen=True, eq=False)
class Centre:
    """The latents that reconstruct images uint8 [n, H, W, C]: each posterior's mean or, where the
    encoder takes noise, what it makes of noise 0, which is the mean where nothing bends it."""

    images: NDArray[Any]
    labels: Labels | None = None

    def job(self, model: Described) -> Job[Float32Array]:
        manifest = model.manifest
        inputs = _encoder_inputs(self.images, self.labels, manifest)

        def rows(start: int, stop: int) -> Inputs:
            given = _rows_of(inputs)(start, stop)
            if manifest.encoder_takes_noise:
                given["noise"] = np.zeros((stop - start, *manifest.latent.shape), np.float32)
            return given

        return Job("encode", len(inputs["images"]), rows, _centre)


def _inputs(latents: Float32Array | Draws, labels: Int64Array | None) -> Inputs:
    if labels is None:
        return {"latents": latents}
    return {"latents": latents, "labels": np.ascontiguousarray(labels)}


def _encoder_inputs(
    images: NDArray[Any], labels: Labels | None, manifest: Manifest
) -> dict[str, NDArray[Any]]:
    """What `encode` is given for all images, but noise."""
    if not manifest.encode:
        raise InputError("model", "one with an encoder", f"{manifest.name}, which has none")
    checked = check_images("images", images, manifest)
    inputs: dict[str, NDArray[Any]] = {"images": checked}
    if manifest.encoder_takes_labels:
        each = check_labels(manifest, labels, len(checked), required=True)
        inputs["labels"] = np.ascontiguousarray(each)
    elif labels is not None:
        raise InputError("labels", "none: this encoder takes no labels", short(labels))
    return inputs


def _rows_of(inputs: Inputs) -> Callable[[int, int], dict[str, NDArray[Any] | Draws]]:
    return lambda start, stop: {name: array[start:stop] for name, array in inputs.items()}


def _images(outputs: Tensors) -> UInt8Array:
    return outputs["images"]


def _posterior(outputs: Tensors) -> Posterior:
    return Posterior(_finite(outputs["mean"]), _finite(outputs["log_variance"]))


def _draw(outputs: Tensors) -> PosteriorDraw:
    return PosteriorDraw(_finite(outputs["latents"]), _finite(outputs["log_density"]))


def _drawn(seed: int, start: int) -> Callable[[Tensors], PosteriorDraw]:
    return lambda outputs: _posterior(outputs).draw(seed, start)


def _centre(outputs: Tensors) -> Float32Array:
    return _finite(outputs["mean" if "mean" in outputs else "latents"])


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise NotFiniteError("encode gave values that are not finite")
    return values
