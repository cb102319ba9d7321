"""Functions for somebody else's pipeline: a batch of columns in, a batch of columns out.

Each is an object that holds its arguments alone, so that it is pickled in a few bytes, and loads
its model when it is first called, once in a process. Ray Data's `map_batches`, a worker of
PyTorch's DataLoader and a plain loop call it alike. What it makes of a row depends on that row
alone, whatever else is in the batch (an engine may round a pixel by one grey level otherwise in a
batch of another size).

A batch is a mapping of columns, each with n values: arrays, or what numpy makes arrays of. Columns
that a function does not read come through; what it works on (`image`, `latents`) is replaced by
what it makes.
"""

import atexit
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.tensors import Precision
from runtime.bulk.encoder import seed_of
from runtime.checks import short
from runtime.engines.backend import Variant
from runtime.engines.library import Device
from runtime.errors import InputError
from runtime.images import ImageSpec, UInt8Array, fit, open_image, upright_size
from runtime.limits import Limits
from runtime.loading import load
from runtime.model import Model
from runtime.requests import decode, encode, sample, translate
from runtime.requests.checks import as_array
from runtime.requests.inputs import noise_streams
from runtime.requests.pictures import picture_spec, size_or_default
from runtime.sampling.streams import MAX_SEED

Batch = Mapping[str, Any]
"""Name -> column of n values."""
Columns = dict[str, Any]

_LATENTS = "numbers of shape [n, *latent]"
_lock = threading.Lock()
_models: dict[tuple[object, ...], Model] = {}


@dataclass(frozen=True)
class _Function:
    """The arguments of `runtime.load`. By default the model uses one core, as suits one worker
    process for each; with `Limits()` it uses all. A relative path may lead nowhere in another
    process: give an absolute one, or a name in $LATENTSERVE_ARTIFACTS."""

    artifact: str | Path
    _: KW_ONLY
    backend: str | Variant = "auto"
    precision: Precision | Literal["auto"] = "auto"
    device: Device = "auto"
    limits: Limits = Limits(cores=1)  # noqa: RUF009 - it is frozen

    @property
    def model(self) -> Model:
        """The model of this process: the same one for all functions of the same arguments."""
        given = self.artifact, self.backend, self.precision, self.device, self.limits
        # With the process's number: a process that was forked has its parent's models without the
        # threads that work for them.
        key = os.getpid(), *given
        with _lock:
            if key not in _models:
                _models[key] = load(
                    self.artifact,
                    backend=self.backend,
                    precision=self.precision,
                    device=self.device,
                    limits=self.limits,
                )
            return _models[key]


@atexit.register
def _close_models() -> None:
    """Before the interpreter shuts down: engines that are closed later may crash."""
    for (process, *_), model in _models.items():
        if process == os.getpid():
            model.close()


os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


@dataclass(frozen=True)
class Sample(_Function):
    """`index` [n] -> `image` uint8 [n, H, W, C]: the images of these numbers, of one seed; and of a
    model with classes `label` [n], the class of each: the batch's own, by name or index, or as it
    was drawn, by index; of a model of prompts `prompt` [n], texts: the batch's own, or the words as
    they were drawn. See `runtime.Sample` for the other arguments."""

    _: KW_ONLY
    seed: int = 0
    truncation: float | None = None
    size: Sequence[int] | None = None

    def __call__(self, batch: Batch) -> Columns:
        model = self.model
        manifest, numbers = model.manifest, _integers(batch, "index")
        labels, prompts = (_given(batch, name, len(numbers)) for name in ("label", "prompt"))

        def request(first: int, rows: NDArray[np.int64]) -> sample.Sample:
            given = self.seed, first, None, _of(labels, rows), self.truncation, self.size
            return sample.Sample(len(rows), *given, prompt=_of(prompts, rows))

        made: Columns = {"image": _images(model, numbers, request)}
        runs = _runs(numbers)
        if labels is None and manifest.labels is not None:
            drawn = [request(*run).chosen_labels(manifest) for run in runs]
            made["label"] = _in_place(runs, [each for each in drawn if each is not None])
        if prompts is None and manifest.vocabulary is not None:
            told = [np.array(request(*run).chosen_prompts(manifest)) for run in runs]
            made["prompt"] = _in_place(runs, told)
        return {**batch, **made}


@dataclass(frozen=True)
class Encode(_Function):
    """`image` -> what the encoder gives: `mean` and `log_variance` [n, *latent]; with a `seed`, and
    of a flow, `latents` [n, *latent] and `log_density` [n]; of an encoder without a posterior
    `latents`, and `codes` where it has a codebook.

    The images are uint8 [n, H, W, C] of a size that the model takes, or the bytes of picture files,
    which are brought to `size` ([height, width]; without it the model's default). Encoders that
    know classes are given `label` [n]. With a seed, a draw is that of `python -m runtime encode
    --shards --seed` for the row's `key`, or without keys for its `index`. `tile`: see
    `runtime.Encode`.
    """

    _: KW_ONLY
    seed: int | None = None
    size: Sequence[int] | None = None
    tile: int | None = None

    def __call__(self, batch: Batch) -> Columns:
        model = self.model

        def spec(picture: tuple[int, int]) -> ImageSpec:
            size = size_or_default(model.manifest, self.size, tiled=self.tile is not None)
            return picture_spec(model.manifest, "encode", size, size)

        images = _pictures(batch, "image", spec)
        count, seeds = len(images), None
        if self.seed is not None:
            seeds = [seed_of(self.seed, key) for key in _keys(batch, count)]
        labels = _given(batch, "label", count)
        request = encode.Encode(images, labels, seeds=seeds, tile=self.tile)
        return {**_without(batch, "image"), **model.run(request).arrays()}


@dataclass(frozen=True)
class Decode(_Function):
    """`latents` (or, without these, `mean`) [n, *latent] -> `image` uint8 [n, H, W, C].

    Decoders that know classes are given `label` [n], those of prompts `prompt` [n]. Where the
    decoder takes noise, that of a row is of (`seed`, its `index`), a column that must then be
    there. See `runtime.Decode`.
    """

    _: KW_ONLY
    seed: int = 0
    truncation: float | None = None
    size: Sequence[int] | None = None
    tile: int | None = None

    def __call__(self, batch: Batch) -> Columns:
        model = self.model
        name = next((each for each in ("latents", "mean") if each in batch), "latents")
        latents = as_array(name, _column(batch, name), _LATENTS)
        labels, prompts = (_given(batch, each, len(latents)) for each in ("label", "prompt"))

        def request(first: int, rows: NDArray[np.int64]) -> decode.Decode:
            given = self.seed, self.truncation, self.size, self.tile
            chosen, prompt = _of(labels, rows), _of(prompts, rows)
            return decode.Decode(latents[rows], chosen, *given, offset=first, prompt=prompt)

        numbers = _noise_numbers(model, "decode", batch, len(latents))
        return {**_without(batch, name), "image": _images(model, numbers, request)}


@dataclass(frozen=True)
class Translate(_Function):
    """`image` -> `image`: what the network makes of each, with `mask` where there is one.

    Both are uint8 [n, H, W, C] (masks [n, H, W] too), or the bytes of picture files: all of one
    size, or brought to `size` ([height, width]). Networks that know classes are given `label` [n].
    Where the network takes noise, that of a row is of (`seed`, its `index`), a column that must
    then be there. See `runtime.Translate`.
    """

    _: KW_ONLY
    seed: int = 0
    truncation: float | None = None
    size: Sequence[int] | None = None
    tile: int | None = None

    def __call__(self, batch: Batch) -> Columns:
        model = self.model

        def spec(picture: tuple[int, int]) -> ImageSpec:
            return picture_spec(model.manifest, "translate", self.size, picture, self.tile)

        images, masks = _pictures(batch, "image", spec), None
        labels = _given(batch, "label", len(images))
        if "mask" in batch and images.ndim == 4:  # of others, the request says what they are

            def grey(picture: tuple[int, int]) -> ImageSpec:
                return ImageSpec(height=images.shape[1], width=images.shape[2], channels=1)

            masks = _given({"mask": _pictures(batch, "mask", grey)}, "mask", len(images))

        def request(first: int, rows: NDArray[np.int64]) -> translate.Translate:
            chosen = _of(masks, rows), _of(labels, rows)
            given = self.seed, self.truncation, self.tile, first
            return translate.Translate(images[rows], *chosen, *given)

        numbers = _noise_numbers(model, "translate", batch, len(images))
        made = _images(model, numbers, request)
        return {**_without(batch, "image", "mask"), "image": made}


_Request = sample.Sample | decode.Decode | translate.Translate
_Run = tuple[int, NDArray[np.int64]]
"""A number, and the rows that have it and those that follow."""


def _runs(numbers: NDArray[np.int64]) -> list[_Run]:
    """All rows in the order of their numbers, cut where these have a gap."""
    order = np.argsort(numbers, kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order]) != 1) + 1
    return [(int(numbers[rows[0]]), rows) for rows in np.split(order, cuts)]


def _images(
    model: Model,
    numbers: NDArray[np.int64],
    request: Callable[[int, NDArray[np.int64]], _Request],
) -> UInt8Array:
    """The images of all rows: those of consecutive numbers by one request, all requests at once."""
    runs = _runs(numbers)
    futures: list[Future[UInt8Array]] = [model.submit(request(*run)) for run in runs]
    return _in_place(runs, [future.result() for future in futures])


def _in_place(runs: Sequence[_Run], made: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """What was made of each run, in the order of the batch."""
    whole = np.concatenate(made)
    result = np.empty_like(whole)
    result[np.concatenate([rows for _, rows in runs])] = whole
    return result


def _column(batch: Batch, name: str) -> Any:
    if name not in batch:
        raise InputError(name, f"a column {name!r} in the batch", f"{sorted(batch)}")
    column: Any = batch[name]
    try:
        rows = len(column)
    except TypeError:  # one value, or an array of one
        raise InputError(name, "a column, with a value a row", short(column)) from None
    if rows == 0:
        raise InputError(name, "at least one row", "none")
    return column


def _integers(batch: Batch, name: str) -> NDArray[np.int64]:
    expected = "integers, one a row"
    column = as_array(name, _column(batch, name), expected)
    if column.ndim != 1 or column.dtype.kind not in "iu":
        raise InputError(name, expected, f"{column.dtype} of shape {list(column.shape)}")
    wrong = (column < 0) | (column >= MAX_SEED)
    if wrong.any():
        found = f"{column[wrong.argmax()]} in row {wrong.argmax()}"
        raise InputError(name, f"integers in [0, {MAX_SEED}), one a row", found)
    return column.astype(np.int64)


def _given(batch: Batch, name: str, rows: int) -> NDArray[Any] | None:
    """A column that may not be there."""
    if name not in batch:
        return None
    expected = f"one for each of {rows} rows"
    column = as_array(name, batch[name], expected)
    if column.shape[:1] != (rows,):
        raise InputError(name, expected, f"{column.dtype} of shape {list(column.shape)}")
    return column


def _of(column: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    """These rows of a column that may not be there."""
    return None if column is None else column[rows]


def _keys(batch: Batch, rows: int) -> list[str]:
    """What a row's draw depends on beside the seed."""
    if "key" not in batch:
        batch = {"key": _integers(batch, "index")}
    _given(batch, "key", rows)
    return [str(key) for key in batch["key"]]


def _noise_numbers(model: Model, graph: str, batch: Batch, count: int) -> NDArray[np.int64]:
    """The number of each row's noise; any, where the graph takes none."""
    takes_noise = graph in model.manifest.graphs and noise_streams(model.manifest.graphs, graph)
    return _integers(batch, "index") if takes_noise else np.arange(count)


def _without(batch: Batch, *names: str) -> Columns:
    return {name: column for name, column in batch.items() if name not in names}


def _pictures(
    batch: Batch, name: str, spec_of: Callable[[tuple[int, int]], ImageSpec]
) -> UInt8Array:
    """A column of images, or of the bytes of picture files, of a size that is chosen by that of the
    first: uint8 [n, H, W, C]."""
    column = _column(batch, name)
    if not isinstance(column[0], bytes | bytearray | memoryview):
        return as_array(name, column, "images [n, H, W, C], or the bytes of picture files")
    opened = [open_image(bytes(data)) for data in column]
    spec = spec_of(upright_size(opened[0]))
    return np.stack([fit(image, spec) for image in opened])
