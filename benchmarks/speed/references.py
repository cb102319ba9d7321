"""Parameters and FLOPs of the reference networks of the speed figures."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import table, write_json
from benchmarks.speed.networks import NETWORKS, build, flops, parameters


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks references`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks references", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args(arguments)
    figures = {}
    for name in NETWORKS:
        network = build(name)
        parts = {"decode": (network.decode, network.inputs(1))}
        if network.encode is not None:
            parts["encode"] = (network.encode, (network.images(1),))
        for part, (module, inputs) in parts.items():
            figures[f"{name} {part}"] = {
                "parameters": parameters(module),
                "flops": flops(module, inputs),
            }
    rows = [
        (name, f"{f['parameters'] / 1e6:.3f} M", f"{f['flops'] / 1e6:.1f} M")
        for name, f in figures.items()
    ]
    print(table(("network", "parameters", "FLOP an image"), rows))
    write_json(options.json, "references", figures)
