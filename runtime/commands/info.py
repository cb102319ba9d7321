"""Describe an artifact."""

import argparse

from runtime.commands._arguments import add_engine, load_model
from runtime.commands._output import first_command, licence_line
from runtime.requests import answered
from runtime.requests.encode import takes_noise
from runtime.terminal import conclude


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)


def run(args: argparse.Namespace) -> None:
    with load_model(args) as model:
        manifest = model.manifest
        print(f"{manifest.full_name}  ({manifest.kind})")
        image = manifest.image()
        if manifest.latent is not None:
            print(f"latent   {list(manifest.latent.shape)} {manifest.prior}")
        print(f"images   {image.height}x{image.width}x{image.channels}")
        for name, axis in manifest.axes.items():
            print(f"{name:<8} {axis}")
        print(f"labels   {', '.join(manifest.labels) if manifest.labels else 'none'}")
        if manifest.vocabulary is not None:
            print(f"prompts  of {', '.join(manifest.vocabulary.words)}")
        print(f"requests {', '.join(answered(manifest))}")
        if takes_noise(manifest):
            print("encoder  takes noise: encode with a seed")
        print(f"batches  {', '.join(map(str, manifest.batches))}")
        print(f"engine   {model.engine}")
        print(f"source   {manifest.provenance.source}")
        for name, value in manifest.provenance.figures.items():
            print(f"         {name} = {value:g}")
        print(f"licence  {licence_line(manifest)}")
        loaded = f"{manifest.full_name}: loaded, and its golden outputs reproduced"
        conclude(loaded, *first_command(args.artifact, manifest))
