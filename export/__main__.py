"""`python -m export`: runs and modules become artifacts; artifacts get variants, engines and
signatures."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.api import export
from export.arguments import (
    capability,
    figures,
    image,
    json_object,
    names,
    png,
    precisions,
    shape,
    sizes,
    sizes3,
)
from export.engine import build_engines, parse_buckets
from export.plan import HARDWARE, EngineOptions
from export.prior import COMPONENTS, add_prior
from export.runs import export_run, training_images
from export.sign import make_keys, sign
from export.variants import add_variants
from export.weights import checksum, load_module
from runtime.artifact.manifest import REDUCED, Manifest, Provenance
from runtime.artifact.reading import read_artifact
from runtime.engines.cache import cache_folder
from runtime.engines.nvidia.tensorrt import FLAVORS
from runtime.errors import EngineError, LatentServeError
from runtime.images.files import load_images


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 where the input is at fault)."""
    args = _parser().parse_args(arguments)
    level = logging.DEBUG if args.verbose else logging.WARNING
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("export").setLevel(level)
    try:
        args.run(args)
    except LatentServeError as error:
        logging.getLogger("export").debug("where it failed:", exc_info=True)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def run(args: argparse.Namespace) -> None:
    folder = export_run(
        args.folder,
        out=args.out,
        name=args.name,
        version=args.version,
        step=args.step,
        precisions=args.precisions,
        figures=args.figures,
        neighbours=args.neighbours,
    )
    _report(folder)


def module(args: argparse.Namespace) -> None:
    files = {"weights": args.weights, "encoder weights": args.encoder_weights}
    decode = load_module(args.decoder, args.params, args.weights)
    encode = None
    if args.encoder:
        encode = load_module(args.encoder, args.encoder_params, args.encoder_weights)
    details = {f"{key} SHA-256": checksum(path) for key, path in files.items() if path}
    folder = export(
        decode=decode,
        encode=encode,
        latent=args.latent,
        image=image(args.image, args.value_range),
        labels=args.labels,
        encode_takes_labels=args.encoder_takes_labels,
        encode_takes_noise=args.encoder_takes_noise,
        name=args.name,
        out=args.out,
        version=args.version,
        batches=args.batches,
        precisions=args.precisions,
        provenance=Provenance(source=f"module {args.decoder}", details=details),
        licence=args.licence,
    )
    _report(folder)


def variants(args: argparse.Namespace) -> None:
    _report(add_variants(args.artifact, args.precisions))


def prior(args: argparse.Namespace) -> None:
    manifest = read_artifact(args.artifact).manifest
    if args.data is not None:
        images = training_images(manifest, args.data)
    else:
        images, _ = load_images(args.images, manifest.image)
    folder = add_prior(
        args.artifact,
        images,
        labels=args.labels,
        components=args.components,
        seed=args.seed,
        precisions=args.precisions,
        figures=args.figures,
        neighbours=args.neighbours,
    )
    fitted = _report(folder).provenance.details["prior"]
    print(
        f"  prior: {fitted['components']} components; {fitted['log_density']:.2f} nats a latent, "
        f"{fitted['log_density_standard_normal']:.2f} under N(0, I)"
    )


def engine(args: argparse.Namespace) -> None:
    artifact = read_artifact(args.artifact)
    options = EngineOptions(
        flavor=args.flavor,
        precision=args.precision,
        buckets=parse_buckets(args.batches, args.dynamic),
        capability=args.capability,
        workspace=None if args.workspace is None else args.workspace << 20,
        version_compatible=args.version_compatible,
        hardware=args.hardware,
    )
    failed: list[str] = []
    for built in build_engines(artifact, options, cache_folder(), progress=sys.stderr.isatty()):
        name = f"{built.graph} at batch {built.bucket}"
        if built.error:
            failed.append(name)
            print(f"{name}: not kept: {built.error}", file=sys.stderr)
            continue
        print(built.path)
        print(f"  {name}: {built.size / 1e6:.1f} MB, built in {built.seconds:.1f} s")
        if built.verified is None:
            print("  not verified: no GPU here runs it; the first load on one that does will")
        else:
            print(
                f"  verified: differs from the reference by at most "
                f"{built.verified['max_difference']:.3g}, mean "
                f"{built.verified['mean_difference']:.3g}; equal rows by "
                f"{built.verified['equal_rows_differ_by']:.3g}"
            )
    if failed:
        raise EngineError(f"not built: {', '.join(failed)}")


def keys(args: argparse.Namespace) -> None:
    public = make_keys(args.private)
    print(f"{args.private}: the private key, for `sign`; keep it secret")
    print(f"{public}: the public key, for whoever loads what it signed")


def sign_artifact(args: argparse.Namespace) -> None:
    print(sign(args.artifact, args.key))


def _report(folder: Path) -> Manifest:
    manifest = read_artifact(folder).manifest
    print(folder)
    for parity in manifest.parity:
        std = "" if parity.images_std is None else f", images' std {parity.images_std:.1f}"
        origin = "torch" if parity.images is None else f"fp32 over {parity.images} latents"
        print(
            f"  {parity.graph} {parity.precision}: differs from {origin} by at most "
            f"{parity.max_difference:.3g}, mean {parity.mean_difference:.3g}, "
            f"at batches {', '.join(map(str, parity.batches))}{std}"
        )
    for precision, reason in manifest.left_out.items():
        print(f"  decode {precision}: left out: {reason}")
    return manifest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("run", help="export a folder that `python -m train` wrote")
    command.add_argument("folder", type=Path)
    command.add_argument("--step", type=int, help="checkpoint (default: the newest)")
    command.add_argument("--name", help="of the artifact (default: the recipe's)")
    _add_measured(command)
    _add_common(command, run)

    command = commands.add_parser("module", help="export any torch module of your own")
    command.add_argument("decoder", help="package.module:Class, latents -> images [B, C, H, W]")
    command.add_argument("--name", required=True, help="of the artifact")
    command.add_argument("--weights", type=Path, required=True, help="safetensors file")
    command.add_argument(
        "--params", type=json_object, default={}, help="its constructor's, as JSON"
    )
    command.add_argument("--latent", type=shape, required=True, help="128, or 4x8x8")
    command.add_argument(
        "--image", type=shape, required=True, metavar="HEIGHTxWIDTHxCHANNELS", help="32x32x3"
    )
    command.add_argument(
        "--value-range",
        type=float,
        nargs=2,
        default=(-1.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="the module's floats that mean black and white (default: -1 1)",
    )
    command.add_argument("--labels", type=names, help="class names by index: cat,dog")
    command.add_argument(
        "--encoder",
        help="package.module:Class, images -> mean, log_variance; "
        "with --encoder-takes-noise images, noise -> latents, log_density",
    )
    command.add_argument("--encoder-weights", type=Path, help="safetensors file")
    command.add_argument("--encoder-params", type=json_object, default={})
    command.add_argument("--encoder-takes-labels", action="store_true")
    command.add_argument("--encoder-takes-noise", action="store_true")
    command.add_argument("--batches", type=sizes, default=(1, 4, 16, 64), help="1,4,16,64")
    command.add_argument("--licence", default="not stated")
    _add_common(command, module)

    command = commands.add_parser(
        "variants", help="write an artifact's next version, with variants in reduced precision"
    )
    command.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    _add_precisions(command)
    command.set_defaults(run=variants, verbose=False)

    command = commands.add_parser(
        "prior",
        help="write an artifact's next version, its latents drawn from a Gaussian mixture that is "
        "fitted to its training images by its encoder",
    )
    command.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="of one of our runs: its data set's folder")
    source.add_argument(
        "--images", type=Path, nargs="+", help="picture files, folders, or one .npy [n, H, W, C]"
    )
    command.add_argument("--labels", type=names, help="of the images, where the encoder takes them")
    command.add_argument(
        "--components", type=int, default=COMPONENTS, help="of the mixture (%(default)s)"
    )
    command.add_argument("--seed", type=int, default=0, help="of draws and fit (%(default)s)")
    _add_measured(command)
    _add_precisions(command)
    command.add_argument("--verbose", "-v", action="store_true", help="steps, and tracebacks")
    command.set_defaults(run=prior)

    command = commands.add_parser(
        "engine", help="build an artifact's TensorRT engines into the cache, where it is served"
    )
    command.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    command.add_argument(
        "--flavor",
        choices=FLAVORS,
        default="tensorrt",
        help="tensorrt (default), for any NVIDIA GPU; tensorrt-rtx, for RTX cards, built anywhere",
    )
    command.add_argument(
        "--precision", choices=("fp16", "bf16", "fp32"), default="fp16", help="default: fp16"
    )
    command.add_argument(
        "--batches",
        type=sizes,
        default=(1, 16, 64, 256),
        help="batch sizes, an engine each (default: 1,16,64,256)",
    )
    command.add_argument(
        "--dynamic",
        type=sizes3,
        metavar="SMALLEST,BEST,LARGEST",
        help="instead one engine for a range of batch sizes: less to build, 10-25%% slower",
    )
    command.add_argument(
        "--capability",
        type=capability,
        metavar="8.9",
        help="compute capability to build for (default: this machine's GPU)",
    )
    command.add_argument(
        "--workspace", type=int, metavar="MIB", help="GPU memory a layer may use (default: all)"
    )
    command.add_argument(
        "--version-compatible",
        action="store_true",
        help="also run under later TensorRT of the same major version; somewhat slower; not rtx",
    )
    command.add_argument(
        "--hardware",
        choices=HARDWARE,
        default="this",
        help="run on this model of GPU alone (default, fastest), on all of the same compute "
        "capability, or on all since Ampere (slowest; not rtx)",
    )
    command.set_defaults(run=engine, verbose=False)

    command = commands.add_parser("keys", help="make a pair of keys for `sign`")
    command.add_argument("private", type=Path, help="new file: secret.pem (and secret.pub.pem)")
    command.set_defaults(run=keys, verbose=False)

    command = commands.add_parser("sign", help="sign an artifact, so that others know its maker")
    command.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    command.add_argument("--key", type=Path, required=True, help="PEM file of the private key")
    command.set_defaults(run=sign_artifact, verbose=False)
    return parser


def _add_common(command: argparse.ArgumentParser, run: Any) -> None:
    command.add_argument("--out", type=Path, default=Path("artifacts"))
    command.add_argument("--version", type=int, help="default: the next free number")
    _add_precisions(command)
    command.add_argument("--verbose", "-v", action="store_true", help="steps, and tracebacks")
    command.set_defaults(run=run)


def _add_measured(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--figures", type=figures, help="JSON of `python -m benchmarks quality --json`, to state"
    )
    command.add_argument(
        "--neighbours", type=png, help="PNG of `python -m benchmarks quality --out`, to show"
    )


def _add_precisions(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precisions",
        type=precisions,
        default=REDUCED,
        help="tried beside fp32: fp16,bf16 (default), or none",
    )


if __name__ == "__main__":
    sys.exit(main())
