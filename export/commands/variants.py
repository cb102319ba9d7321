"""Write an artifact's next version, with variants in reduced precision."""

import argparse

from export.arguments import add_precisions
from export.report import report
from export.variants import add_variants
from runtime.artifact.manifest import REDUCED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    add_precisions(parser, REDUCED)


def run(args: argparse.Namespace) -> None:
    report(add_variants(args.artifact, args.precisions))
