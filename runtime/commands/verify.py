"""Check an artifact thoroughly and report what was checked."""

import argparse
from pathlib import Path

from runtime.artifact.reading import artifacts_of
from runtime.commands._arguments import add_engine, load_model
from runtime.terminal import SERVE, conclude


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    parser.add_argument("--key", type=Path, help="PEM file of public keys, one of which signed it")


def run(args: argparse.Namespace) -> None:
    with load_model(args, signed_by=args.key) as model:  # loading is the check
        manifest = model.manifest
        graphs = ", ".join(
            file for graph in manifest.graphs.values() for file in graph.files.values()
        )
        print(f"{manifest.full_name} is whole")
        print(f"  schema and digest of the manifest; SHA-256 of {len(manifest.files)} files")
        print(f"  operators, sizes, inputs and outputs of {graphs}")
        print(f"  golden outputs reproduced by {model.engine}")
        if args.key:
            print(f"  signed by a key in {args.key}")
        else:
            print("  (checksums find accidents, not attackers: --key checks who signed it)")
        folder = artifacts_of(args.artifact)
        conclude(f"{manifest.full_name}: verified", *SERVE, folder)
