"""Sign an artifact, so that others know its maker."""

import argparse
from pathlib import Path

from export.sign import sign


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    parser.add_argument("--key", type=Path, required=True, help="PEM file of the private key")


def run(args: argparse.Namespace) -> None:
    print(sign(args.artifact, args.key))
