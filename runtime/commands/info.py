"""Describe an artifact."""

import argparse

from runtime.commands._arguments import add_engine, load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)


def run(args: argparse.Namespace) -> None:
    with load_model(args) as model:
        manifest = model.manifest
        print(f"{manifest.name}@{manifest.version}  ({manifest.kind})")
        print(f"latent   {list(manifest.latent.shape)} {manifest.latent.prior}")
        print(f"images   {manifest.image.height}x{manifest.image.width}x{manifest.image.channels}")
        print(f"labels   {', '.join(manifest.labels) if manifest.labels else 'none'}")
        noise = " (takes noise: encode with a seed)" if manifest.encoder_takes_noise else ""
        print(f"encoder  {'yes' if manifest.encode else 'no'}{noise}")
        print(f"batches  {', '.join(map(str, manifest.batches))}")
        print(f"engine   {model.engine}")
        print(f"source   {manifest.provenance.source}")
        for name, value in manifest.provenance.figures.items():
            print(f"         {name} = {value:g}")
        print(f"licence  {manifest.licence.splitlines()[0]}")
