"""Write an artifact's next version, with a Gaussian mixture as its prior.

The mixture is fitted to its training images by its encoder.
"""

import argparse
from functools import partial
from pathlib import Path

from export.arguments import add_measured, add_precisions, names
from export.importers.run import training_images
from export.prior import COMPONENTS, add_prior
from export.report import report
from runtime.artifact.reading import read_artifact
from runtime.images.reading import load_images
from runtime.requests.pictures import picture_spec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data", type=Path, help="of one of our runs: its data set's folder, if it is not made"
    )
    source.add_argument(
        "--images", type=Path, nargs="+", help="picture files, folders, or one .npy [n, H, W, C]"
    )
    parser.add_argument("--labels", type=names, help="of the images, where the encoder takes them")
    parser.add_argument(
        "--components", type=int, default=COMPONENTS, help="of the mixture (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of draws and fit (%(default)s)")
    add_measured(parser)
    add_precisions(parser)


def run(args: argparse.Namespace) -> None:
    manifest = read_artifact(args.artifact).manifest
    if args.images is None:
        images = training_images(manifest, args.data)
    else:
        images, _ = load_images(args.images, partial(picture_spec, manifest, "encode", None))
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
    fitted = read_artifact(folder).manifest.provenance.details["prior"]
    report(
        folder,
        f"prior: {fitted['components']} components; {fitted['log_density']:.2f} nats a latent, "
        f"{fitted['log_density_standard_normal']:.2f} under N(0, I)",
    )
