"""The plane of a 2-D latent as it is served: a picture, and the classes that are found on it."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import runtime
from benchmarks.quality.judge import load_classifier
from benchmarks.quality.served import data_set_of
from benchmarks.quality.verdicts import SURE
from benchmarks.report import table
from benchmarks.results import record
from export import export_run
from runtime.images import contact_sheet, to_picture

SIDE = 20
"""Images along each side of the grid."""


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks manifold RUN`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks manifold", description=__doc__)
    parser.add_argument("run", type=Path, help="a folder that `python -m train` wrote")
    parser.add_argument("--out", type=Path, help="write the grid there, PNG")
    parser.add_argument("--record", metavar="NAME", help="keep the figures for docs/results.md")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        runtime.load(export_run(options.run, out=folder)) as model,
    ):
        images = model.manifold(SIDE)
        probabilities, _ = load_classifier(data_set_of(model))(images)
    sure = probabilities[probabilities.max(axis=1) >= SURE].argmax(axis=1)
    figures = {"classes_on_grid": len(np.unique(sure)), "sure_on_grid": len(sure) / len(images)}
    print(table((f"{options.run.name}, {SIDE} x {SIDE}", "value"), list(figures.items())))
    if options.out is not None:
        to_picture(contact_sheet(images, SIDE)).save(options.out)
    record.write(options.record, options.run, figures)
