"""Sign an artifact, so that others know its maker."""

import argparse
from pathlib import Path

from export.sign import sign
from runtime.terminal import conclude


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    parser.add_argument("--key", type=Path, required=True, help="PEM file of the private key")
    parser.add_argument("--force", action="store_true", help="replace the signature by another key")


def run(args: argparse.Namespace) -> None:
    signature = sign(args.artifact, args.key, force=args.force)
    print(signature)
    verify = "latentserve", "verify", args.artifact, "--key", args.key.with_suffix(".pub.pem")
    conclude(f"{signature.parent}: signed", *verify)
