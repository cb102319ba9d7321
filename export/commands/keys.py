"""Make a pair of keys for `sign`."""

import argparse
from pathlib import Path

from export.sign import make_keys
from runtime.terminal import conclude


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("private", type=Path, help="new file: secret.pem (and secret.pub.pem)")


def run(args: argparse.Namespace) -> None:
    public = make_keys(args.private)
    print(f"{args.private}: the private key, for `sign`; keep it secret")
    print(f"{public}: the public key, for whoever loads what it signed")
    sign = "latentserve", "export", "sign", "ARTIFACT", "--key", args.private
    conclude(f"{args.private}: a new pair of keys", *sign)
