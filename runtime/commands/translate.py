"""Translate pictures: super-resolution, style, inpainting, ...

Each picture keeps its own size, times the model's scale. Into a folder (-o), those of a folder or
zip get their own names.
"""

import argparse
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.artifact.reading import artifacts_of
from runtime.bulk.formats import IMAGE_FORMATS, check_format
from runtime.bulk.network import Prepared
from runtime.bulk.translator import Translator
from runtime.commands._arguments import (
    add_pictures,
    add_sheet,
    add_tile,
    load_model,
    read_pictures,
    results_folder,
)
from runtime.commands._output import conclude_output, counted, layout_of, save
from runtime.commands._shards import (
    add_shards,
    add_sources,
    check_no_shards,
    work_through,
)
from runtime.errors import InputError
from runtime.images import ImageSpec, UInt8Array, fit, open_image, upright_size
from runtime.images.encoding import PICTURE_FORMATS
from runtime.images.files import (
    REQUEST,
    DistinctNames,
    Output,
    begin_folder,
    is_finished,
    save_images,
)
from runtime.images.reading import count_files, is_array, prepared
from runtime.machine import cores
from runtime.model import Model
from runtime.requests.checks import Labels, check_seed, expected_images
from runtime.requests.pictures import MAX_SIDE, picture_spec
from runtime.requests.request import graph_of
from runtime.requests.translate import Translate
from runtime.terminal import SERVE

_SAME = "size", "labels", "seed", "tile", "scale"
"""With artifact and mask: what the results of one folder have in common."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sheet(parser)
    add_pictures(parser)
    add_tile(parser)
    parser.add_argument(
        "--mask", type=Path, help="a picture of the same size, white where the network is to act"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the network's noise (default 0)")
    parser.add_argument(
        "--format",
        choices=(*PICTURE_FORMATS, *IMAGE_FORMATS),
        help="of the pictures in a folder (default png), or of shards (default tar)",
    )
    parser.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="leave out pictures whose results the same command has left in the folder",
    )
    add_shards(parser, "folders, WebDataset tars and Parquet files into")
    add_sources(parser)


def run(args: argparse.Namespace) -> None:
    if args.shards:
        if args.mask is not None:
            raise InputError("--mask", "none with --shards, whose pictures differ", f"{args.mask}")
        check_format(_chosen(args, IMAGE_FORMATS, "shards"))
        work_through(args, _prepared)
        return
    check_no_shards(args, "group", "strict", "column", "ray", "workers")
    with load_model(args) as model:
        if args.out.suffix == "" and not is_array(args.images):
            folder = _Folder(args, model)
            folder.fill()
            _conclude(args, model, folder.found)
            return
        if args.resume:
            raise InputError("--continue", "a folder of pictures", f"{args.out.path}")
        images, names = read_pictures(model, "translate", args)
        mask = None if args.mask is None else _mask(args, model, images)
        request = Translate(images, mask, args.labels, args.seed, tile=args.tile)
        save(args, model.batches(request), len(images), names)
        _conclude(args, model, len(images))


def _prepared(args: argparse.Namespace, model: Model) -> Prepared:
    """The translator of a model, as the arguments have it."""
    same: dict[str, Any] = {
        "size": args.size,
        "labels": args.labels,
        "seed": check_seed("seed", args.seed),
        "tile": args.tile,
        "scale": args.scale,
        "format": _chosen(args, IMAGE_FORMATS, "shards"),
    }
    translator = Translator(model, ThreadPoolExecutor(cores(), "bulk-writer"), **same)
    height, width, _ = model.manifest.image().shape
    translator.spec_of((height, width))  # what is wrong for all pictures
    return Prepared(translator, translator.spec_of, same)


def _chosen(args: argparse.Namespace, formats: Sequence[str], of: str) -> str:
    if args.format is not None and args.format not in formats:
        raise InputError("--format", f"for {of} one of {', '.join(formats)}", args.format)
    return args.format or formats[0]


def _conclude(args: argparse.Namespace, model: Model, count: int) -> None:
    conclude_output(args, model, count, *SERVE, artifacts_of(args.artifact))


def _mask(args: argparse.Namespace, model: Model, images: NDArray[Any]) -> UInt8Array:
    """The mask for images, which were fitted to the model as it is."""
    spec = graph_of(model.manifest, "translate")
    if images.ndim != 4 or 0 in images.shape or max(images.shape[1:3]) > MAX_SIDE:
        most = f"{expected_images(spec, model.manifest)}, at most {MAX_SIDE} pixels a side"
        raise InputError("images", most, f"{images.dtype} of shape {list(images.shape)}")
    grey = ImageSpec(height=images.shape[1], width=images.shape[2], channels=1)
    opened = open_image(args.mask, max_pixels=args.max_pixels)
    if is_array(args.images):
        _check_mask(upright_size(opened), images.shape[1:3], str(args.images[0]))
    for path in args.images:
        if path.is_file() and not is_array([path]):
            picture = open_image(path, max_pixels=args.max_pixels)
            _check_mask(upright_size(opened), upright_size(picture), path.name)
    return fit(opened, grey)[None]


def _check_mask(mask: tuple[int, ...], picture: tuple[int, ...], name: str) -> None:
    if mask != picture:
        expected = f"height and width of {name}, {picture[0]} x {picture[1]}"
        raise InputError("mask", expected, f"{mask[0]} x {mask[1]}")


class _Folder:
    """Pictures of any sizes into a folder. Each is a request of its own: those of one size run
    together all the same, and a few are made ahead of the one that is written."""

    def __init__(self, args: argparse.Namespace, model: Model) -> None:
        self.args, self.model = args, model
        self.suffix = PICTURE_FORMATS[_chosen(args, tuple(PICTURE_FORMATS), "pictures")].suffixes[0]
        self.mask = None
        if args.mask is not None:
            self.mask = open_image(args.mask, max_pixels=args.max_pixels)
        self.names = DistinctNames()  # of a.jpg and a.png
        self.number = 0
        """Of the picture, counted from 1."""
        self.found = 0
        self.path = args.out.path
        self.begun = 0
        """When the job began that --continue goes on with, nanoseconds: what is older is another
        one's."""
        self.is_recorded = False
        """Whether the folder says what was asked of it, as far as it ever will."""

    def fill(self) -> None:
        args = self.args
        if args.resume:
            self._resume()
        pictures = prepared(
            args.images,
            self._submitted,
            max_pixels=args.max_pixels,
            wanted=self._wanted,
            without=results_folder(args),
        )
        ahead: deque[tuple[Path, Future[UInt8Array]]] = deque()

        def written() -> Iterator[UInt8Array]:
            for path, future, window in pictures:
                ahead.append((path, future))
                while len(ahead) >= window:
                    yield self._write(*ahead.popleft())
            while ahead:
                yield self._write(*ahead.popleft())

        try:
            for _ in counted(written(), count_files(args.images)):
                pass
        finally:
            for _, future in ahead:
                future.cancel()
        if not self.found:
            raise InputError("images", "at least one picture", f"none in {args.images}")
        labels = len(args.labels or ())
        if labels > 1 and labels != self.number:
            raise InputError("labels", f"1 or {self.number} labels", f"{labels}")

    def _resume(self) -> None:
        """Find out what of the folder is this job's; InputError where it was asked for another."""
        out = self.path
        record = out / REQUEST
        if record.exists():
            begin_folder(out, self._same(), resume=True)
            self.begun = record.stat().st_mtime_ns
        # Else these are results of an earlier release, which wrote no record.
        self.is_recorded = record.exists() or (out.is_dir() and any(out.iterdir()))

    def _same(self) -> dict[str, Any]:
        """What all results of one folder have in common."""
        same = {name: getattr(self.args, name) for name in _SAME}
        same["artifact"] = self.model.manifest.full_name
        mask = self.mask
        same["mask"] = mask and sha256(np.asarray(mask).tobytes()).hexdigest()
        return same

    def _wanted(self, name: str) -> bool:
        """Choose the file for a picture's result; false where it is there already."""
        own = PurePosixPath(*(part for part in PurePosixPath(name).parts if part != ".."))
        self.number += 1
        self.path = self.args.out.path / f"{self.names.of(str(own))}{self.suffix}"
        is_there = (
            self.args.resume
            and is_finished(self.path)
            and self.path.stat().st_mtime_ns >= self.begun
        )
        self.found += is_there
        return not is_there

    def _submitted(self, picture: Image.Image, name: str) -> tuple[Path, "Future[UInt8Array]", int]:
        args, model, number = self.args, self.model, self.number - 1
        size = upright_size(picture)
        spec = picture_spec(model.manifest, "translate", args.size, size, args.tile)
        mask = None
        if self.mask is not None:
            _check_mask(upright_size(self.mask), size, name)
            mask = fit(self.mask, spec.model_copy(update={"channels": 1}))[None]
        label: Labels | None = args.labels
        if label is not None and len(args.labels) > 1:
            label = args.labels[number : number + 1]
        image = fit(picture, spec)[None]
        request = Translate(image, mask, label, args.seed, tile=args.tile, offset=number)
        job = request.job(model)
        self.found += 1
        return self.path, model.submit(job), max(1, model.window(job))

    def _write(self, path: Path, future: "Future[UInt8Array]") -> UInt8Array:
        images = future.result()
        if not self.is_recorded:  # not earlier: there may be no picture, and then no folder
            begin_folder(self.args.out.path, self._same(), resume=False)
            self.is_recorded = True
        out = Output(path, self.suffix)
        save_images(out, [images], len(images), layout=layout_of(self.args))
        return images
