"""Draw images."""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.artifact.manifest import Manifest
from runtime.bulk.formats import IMAGE_FORMATS, check_format
from runtime.bulk.meter import EngineMeter
from runtime.bulk.pipeline import GROUP
from runtime.bulk.places import opened
from runtime.bulk.samples import Samples
from runtime.commands._arguments import add_prompt, add_sheet, add_size, load_model, seeds
from runtime.commands._output import conclude_output, condition_words, first_command, save
from runtime.commands._ray import sample_by_ray
from runtime.commands._shards import (
    add_shards,
    begin_shards,
    check_no_shards,
    check_shared,
    conclude_shards,
    same_model,
    shards_folder,
)
from runtime.engines.backend import Variant
from runtime.errors import InputError
from runtime.images.files import begin_folder, count_finished, forget
from runtime.model import Model
from runtime.requests.sample import Sample, count_of

# With the artifact and the seed: what the images of one folder must have in common. A later run may
# ask for more images.
_SAME = (
    "offset",
    "seeds",
    "labels",
    "truncation",
    "size",
    "mix_seed",
    "mix_layer",
    "prompt",
    "scale",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sheet(parser)
    add_size(parser)
    add_prompt(parser)
    parser.add_argument("-n", type=int, help="how many (default: one, or one for each label)")
    parser.add_argument("--seed", type=int, help="the seed of all n images (default 0)")
    parser.add_argument("--offset", type=int, default=0, help="number of the first image")
    parser.add_argument("--seeds", type=seeds, help="image 0 of each of these seeds: 0,1,4-6")
    parser.add_argument("--truncation", type=float, help="latents from the normal within [-t, t]")
    parser.add_argument("--mix-seed", type=int, help="with --mix-layer: whose styles to mix in")
    parser.add_argument("--mix-layer", type=int, help="from this layer of the network on")
    parser.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="into a folder that an earlier run of the same command left unfinished",
    )
    add_shards(parser, "images into", IMAGE_FORMATS)


def run(args: argparse.Namespace) -> None:
    if args.seeds is None:
        args.n = count_of(args.labels) if args.n is None else args.n
        args.seed = 0 if args.seed is None else args.seed
    request = Sample(
        args.n,
        args.seed,
        args.offset,
        args.seeds,
        args.labels,
        args.truncation,
        args.size,
        args.mix_seed,
        args.mix_layer,
        args.prompt,
    )
    if args.shards:
        _sample_shards(args, request)
        return
    check_no_shards(args, "format", "group", "ray", "workers")
    with load_model(args) as model:
        job, n = request.job(model), request.counter.count
        done = _begin(args, model, request)
        batches = model.batches(job.part(done, n)) if done < n else iter(())
        save(args, batches, n, _names(model, request), lambda: _arrays(model, request), done)
        conclude_output(args, model, n, *_further(args, model, n))


def _sample_shards(args: argparse.Namespace, request: Sample) -> None:
    """Draw images into shards in the folder `args.out`."""
    out, kind, n = shards_folder(args), args.format or IMAGE_FORMATS[0], request.counter.count
    check_format(kind)
    check_shared(args)
    draw = _sample_here if args.ray is None else sample_by_ray
    with opened(out) as place:
        group = args.group or GROUP
        samples = Samples(place.folder, request, group, args.scale, kind, place.put)

        def begin(manifest: Manifest, variant: Variant) -> None:
            rest = {"n": n, "format": kind, "group": group}
            same = _same(args, manifest) | same_model(manifest, variant) | rest
            begin_shards(place, same, force=args.force)

        made, busy = draw(args, samples, begin)
        conclude_shards(place, f"{n} images, by {made.full_name}", busy)


def _sample_here(
    args: argparse.Namespace, samples: Samples, begin: Callable[[Manifest, Variant], None]
) -> tuple[Manifest, float]:
    """Write the shards in this process; whose they are, and how busy the engine was."""
    meter = EngineMeter()
    with load_model(args, observer=meter) as model:
        samples.request.job(model)  # what is wrong with it, before anything is deleted
        begin(model.manifest, model.variant)
        meter.begin()
        with tqdm(total=samples.request.counter.count, unit="img", disable=None) as bar:
            samples.run(model, bar.update)
        return model.manifest, meter.busy(model.runners)


def _further(args: argparse.Namespace, model: Model, n: int) -> tuple[object, ...]:
    """A command for more of the same: the images that follow, or those between two seeds."""
    manifest = model.manifest
    label = condition_words(args)
    if args.seeds is None:
        same: list[object] = []
        for name in ("truncation", "mix_seed", "mix_layer"):
            if (value := getattr(args, name)) is not None:
                same += f"--{name.replace('_', '-')}", value
        if args.size is not None:
            same += "--size", "x".join(map(str, args.size))
        if args.scale != 1:
            same += "--scale", args.scale
        rest = "-n", n, "--seed", args.seed, "--offset", args.offset + n, "-o", "more.png"
        return "latentserve", "sample", args.artifact, *label, *same, *rest
    conditional = manifest.labels is not None or manifest.vocabulary is not None
    if len(args.seeds) < 2 or (conditional and not label):
        return first_command(args.artifact, manifest)
    between = f"{args.seeds[0]},{args.seeds[1]}"
    rest = "--seeds", between, "-o", "path.png"
    return "latentserve", "interpolate", args.artifact, *label, *rest


def _begin(args: argparse.Namespace, model: Model, request: Sample) -> int:
    """Prepare an output folder; how many images an earlier run has finished in it."""
    if args.out.suffix != "":
        if args.resume:
            expected = "a folder: only there single images are finished"
            raise InputError("--continue", expected, f"{args.out.path}")
        return 0
    begin_folder(args.out.path, _same(args, model.manifest), resume=args.resume)
    if not args.resume:
        forget(args.out.path, _names(model, request))
        return 0
    done = count_finished(args.out.path, _names(model, request))
    print(f"{done} of {request.counter.count} images are there", file=sys.stderr)
    return done


def _same(args: argparse.Namespace, manifest: Manifest) -> dict[str, Any]:
    """What the runs that fill one folder have in common."""
    same = {name: getattr(args, name) for name in _SAME}
    artifact = manifest.full_name
    return same | {"seed": args.seed, "artifact": artifact}


def _arrays(model: Model, request: Sample) -> dict[str, NDArray[Any]]:
    """The seed and the number of every image, and its class or the words of its prompt where the
    model takes one."""
    manifest = model.manifest
    seeds, numbers = request.counter.numbers()
    made: dict[str, NDArray[Any]] = {"seeds": seeds, "numbers": numbers}
    labels, prompts = request.chosen_labels(manifest), request.chosen_prompts(manifest)
    if labels is not None:
        made["labels"] = labels
    if prompts is not None:
        made["prompts"] = np.array(prompts)
    return made


def _names(model: Model, request: Sample) -> Iterator[str]:
    labels, classes = request.chosen_labels(model.manifest), model.manifest.labels
    for i, (seed, number) in enumerate(zip(*request.counter.numbers(), strict=True)):
        label = f"_{classes[labels[i]]}" if classes is not None and labels is not None else ""
        yield f"seed{seed}_{number:06d}{label}"
