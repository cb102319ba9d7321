"""`python -m runtime`: sample, decode and encode with an artifact from the command line."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import InputError, LatentServeError
from runtime.images import UInt8Array
from runtime.images.files import (
    OUTPUTS,
    begin_folder,
    check_output,
    count_finished,
    load_images,
    save_arrays,
    save_images,
)
from runtime.limits import Limits
from runtime.loading import load, tune
from runtime.model import Model
from runtime.requests.checks import Label
from runtime.requests.decode import Decode
from runtime.requests.encode import Encode
from runtime.requests.interpolate import Interpolate
from runtime.requests.reconstruct import Centre
from runtime.requests.sample import Sample

T = TypeVar("T", bound=Sized)

# Beside artifact and seed, what images of one folder must have been asked for with; there may be
# more of them.
_SAME = ("offset", "seeds", "labels", "truncation")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 where the input is at fault)."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s"
    )
    try:
        if "out" in args:
            check_output(args.out)
        chosen: dict[str, Any] = {
            "backend": args.backend,
            "precision": args.precision,
            "device": args.device,
            "limits": Limits(batch=args.batch, runners=args.runners, threads=args.threads),
        }
        if args.run is measure:
            measure(args, chosen)
        else:
            key = args.key if args.run is verify else None
            with load(args.artifact, **chosen, signed_by=key) as model:
                args.run(model, args)
    except LatentServeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print(
            "MemoryError: not enough memory for all images at once: ask for fewer, or write them "
            "as .npy, which needs no more for many than for a few",
            file=sys.stderr,
        )
        return 2
    return 0


def sample(model: Model, args: argparse.Namespace) -> None:
    n = args.n if args.n is not None or args.seeds is not None else 1
    seed = args.seed if args.seed is not None or args.seeds is not None else 0
    request = Sample(n, seed, args.offset, args.seeds, args.labels, args.truncation)

    def arrays() -> dict[str, NDArray[Any]]:
        seeds, numbers = request.counter.numbers()
        labels = request.chosen_labels(model.manifest)
        return {"seeds": seeds, "numbers": numbers} | ({} if labels is None else {"labels": labels})

    def names() -> Iterator[str]:
        made = arrays()
        classes = model.manifest.labels
        for i, (one, number) in enumerate(zip(made["seeds"], made["numbers"], strict=True)):
            label = f"_{classes[made['labels'][i]]}" if classes is not None else ""
            yield f"seed{one}_{number:06d}{label}"

    job, n = request.job(model), request.counter.count
    done = 0
    if args.out.suffix == "":
        asked = {name: getattr(args, name) for name in _SAME}
        asked |= {"seed": seed, "artifact": f"{model.manifest.name}@{model.manifest.version}"}
        begin_folder(args.out, asked, resume=args.resume)
        done = count_finished(args.out, names()) if args.resume else 0
    elif args.resume:
        raise InputError(
            "--continue", "a folder: only there single images are finished", f"{args.out}"
        )
    if args.resume:
        print(f"{done} of {n} images are there", file=sys.stderr)
    batches = model.batches(job.part(done, n)) if done < n else iter(())
    _save(args, batches, n, names(), arrays, done)


def encode(model: Model, args: argparse.Namespace) -> None:
    images, names = load_images(args.images, model.manifest.image)
    asked = Encode(images, args.labels, args.seed)
    parts = [part.arrays() for part in _counted(model.batches(asked), len(images))]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    save_arrays(args.out, arrays | {"names": np.array(names, dtype=np.str_)})


def reconstruct(model: Model, args: argparse.Namespace) -> None:
    images, names = load_images(args.images, model.manifest.image)
    labels = args.labels if model.manifest.encoder_takes_labels else None
    latents = np.concatenate(list(model.batches(Centre(images, labels))))
    rebuilt = model.batches(Decode(latents, args.labels))
    if args.side_by_side:
        whole = np.concatenate(list(rebuilt))
        rebuilt = [np.concatenate([images, whole], axis=2)]
    _save(args, rebuilt, len(images), names)


def interpolate(model: Model, args: argparse.Namespace) -> None:
    if len(args.seeds) != 2:
        raise InputError("--seeds", "two seeds, such as 3,8", f"{len(args.seeds)} of them")
    a, b = model.latents(seeds=args.seeds)
    way = Interpolate(a, b, args.steps, args.kind, args.labels)
    args.columns = args.columns or args.steps
    _save(args, model.batches(way), args.steps)


def manifold(model: Model, args: argparse.Namespace) -> None:
    images = model.manifold(args.steps, labels=args.labels)
    args.columns = args.steps
    _save(args, [images], len(images))


def info(model: Model, args: argparse.Namespace) -> None:
    manifest = model.manifest
    print(f"{manifest.name}@{manifest.version}  ({manifest.kind})")
    print(f"latent   {list(manifest.latent.shape)} {manifest.latent.prior}")
    print(f"images   {manifest.image.height}x{manifest.image.width}x{manifest.image.channels}")
    print(f"labels   {', '.join(manifest.labels) if manifest.labels else 'none'}")
    noise = " (takes noise: encode with a seed)" if manifest.encoder_takes_noise else ""
    print(f"encoder  {'yes' if manifest.encode else 'no'}{noise}")
    print(f"batches  {', '.join(map(str, manifest.batches))}")
    print(f"engine   {model.engine}")
    print(f"source   {manifest.provenance.source}")
    for name, value in manifest.provenance.figures.items():
        print(f"         {name} = {value:g}")
    print(f"licence  {manifest.licence.splitlines()[0]}")


def verify(model: Model, args: argparse.Namespace) -> None:
    # `load` has checked everything by now; what remains is to say what that was.
    manifest = model.manifest
    graphs = ", ".join(spec.file for spec in (*manifest.decode, *manifest.encode))
    print(f"{manifest.name}@{manifest.version} is whole")
    print(f"  schema and digest of the manifest; SHA-256 of {len(manifest.files)} files")
    print(f"  operators, sizes, inputs and outputs of {graphs}")
    print(f"  golden outputs reproduced by {model.engine}")
    if args.key:
        print(f"  signed by a key in {args.key}")
    else:
        print("  (checksums find accidents, not attackers: --key checks who signed it)")


def measure(args: argparse.Namespace, chosen: dict[str, Any]) -> None:
    for m in tune(args.artifact, **chosen, latents=args.n):
        print(
            f"{m.variant!s:<30} {m.images_per_second:>10.0f} images/s, grey levels from the "
            f"reference: mean {m.mean_levels:.4f}, largest {m.max_levels:.0f}"
            f"{'' if m.is_acceptable else ' (outside the tolerance)'}"
        )


def _save(
    args: argparse.Namespace,
    batches: Iterable[UInt8Array],
    n: int,
    names: Iterable[str] | None = None,
    arrays: Callable[[], dict[str, NDArray[Any]]] | None = None,
    done: int = 0,
) -> None:
    counted = _counted(batches, n, done)
    save_images(args.out, counted, n, columns=args.columns, names=names, arrays=arrays, done=done)


def _counted(batches: Iterable[T], n: int, done: int = 0) -> Iterator[T]:
    """The same batches, with a bar of n images while they come."""
    with tqdm(total=n, initial=done, unit="img", disable=None) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    return seeds


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


def _labels(text: str) -> list[Label]:
    return [part.strip() for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runtime", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    engine.add_argument("--backend", default="auto", help="auto, onnxruntime, openvino")
    engine.add_argument("--precision", default="auto", help="auto, fp32, bf16, ...")
    engine.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    engine.add_argument("--batch", type=int, help="images in one engine run")
    engine.add_argument("--runners", type=int, help="engine runs in flight at once")
    engine.add_argument("--threads", type=int, help="cores for one run")
    engine.add_argument("-v", "--verbose", action="store_true", help="say what was loaded")

    writing = argparse.ArgumentParser(add_help=False)
    writing.add_argument("-o", "--out", type=Path, required=True, help=OUTPUTS)
    writing.add_argument("--labels", type=_labels, help="one class for all, or one for each: 3,7,7")

    sheet = argparse.ArgumentParser(add_help=False)
    sheet.add_argument("--columns", type=_positive, help="images across a sheet")

    def command(name: str, run: object, summary: str, *parents: argparse.ArgumentParser):
        made = commands.add_parser(name, help=summary, parents=[engine, *parents])
        made.set_defaults(run=run)
        return made

    add = command("sample", sample, "draw images", writing, sheet)
    add.add_argument("-n", type=int, help="how many (default 1)")
    add.add_argument("--seed", type=int, help="the seed of all n images (default 0)")
    add.add_argument("--offset", type=int, default=0, help="number of the first image")
    add.add_argument("--seeds", type=_seeds, help="image 0 of each of these seeds: 0,1,4-6")
    add.add_argument("--truncation", type=float, help="latents from the normal within [-t, t]")
    add.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="into a folder that an earlier run of the same command left unfinished",
    )

    add = command("encode", encode, "posterior of pictures, into an .npz", writing)
    add.add_argument("images", type=Path, nargs="+", help="picture files, folders, or one .npy")

    add.add_argument(
        "--seed", type=int, help="draw a latent of each posterior, with its log density"
    )

    add = command("reconstruct", reconstruct, "encode pictures and decode again", writing, sheet)
    add.add_argument("images", type=Path, nargs="+", help="picture files, folders, or one .npy")
    add.add_argument("--side-by-side", action="store_true", help="each picture beside its copy")

    add = command("interpolate", interpolate, "from one seed's image to another's", writing, sheet)
    add.add_argument("--seeds", type=_seeds, required=True, help="two seeds: 3,8")
    add.add_argument("--steps", type=int, default=16)
    add.add_argument("--kind", default="slerp", choices=("slerp", "lerp"))

    add = command("manifold", manifold, "a grid over a 2-D latent space", writing)
    add.add_argument("--steps", type=int, default=20, help="images along each side")

    command("info", info, "what an artifact is")
    add = command("verify", verify, "check an artifact thoroughly and say what was checked")
    add.add_argument("--key", type=Path, help="PEM file of public keys, one of which signed it")

    add = command("tune", measure, "measure every way to run it here, and remember the best")
    add.add_argument("-n", type=_positive, default=10_000, help="latents to compare pixels on")
    return parser


if __name__ == "__main__":
    sys.exit(main())
