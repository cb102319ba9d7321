"""Export a StyleGAN: a mapping network and a synthesis network.

Latents become styles, which `truncation` moves towards their mean (computed here, over 10,000
latents), and styles become images. Noise that the synthesis network draws becomes an input.
Where each layer has a style, `sample` mixes those of two seeds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.api import export_imported
from export.arguments import add_value_range, dims, image, json_object, names, shape, sizes
from export.checksum import checksum
from export.modules.building import load_module
from export.options import ExportOptions
from export.sources import Imported
from runtime.artifact.manifest import Provenance

if TYPE_CHECKING:
    from torch import nn

    from export.families.stylegan import StyleOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for network, signature in (
        ("mapping", "latents (and labels) -> styles [B, w] or [B, layers, w]"),
        ("synthesis", "styles (and noise) -> images [B, C, H, W]"),
    ):
        parser.add_argument(network, help=f"package.module:factory, {signature}")
        parser.add_argument(
            f"--{network}-weights",
            type=Path,
            required=True,
            help="safetensors file; one file may hold both networks, each under its prefix",
        )
        parser.add_argument(
            f"--{network}-params", type=json_object, default={}, help="the factory's, as JSON"
        )
        parser.add_argument(
            f"--{network}-arguments",
            type=json_object,
            default={},
            help="further arguments of its forward, as JSON",
        )
    parser.add_argument("--name", required=True, help="of the artifact")
    parser.add_argument("--latent", type=shape, required=True, help="512")
    parser.add_argument("--layers", type=int, help="repeat styles [B, w] for so many layers")
    parser.add_argument(
        "--truncation-cutoff", type=int, metavar="LAYER", help="truncate only the layers below"
    )
    parser.add_argument("--labels", type=names, help="class names by index: cat,dog")
    parser.add_argument("--one-hot", action="store_true", help="labels as one-hot floats")
    parser.add_argument(
        "--noise",
        type=dims,
        action="append",
        default=[],
        metavar="SHAPE",
        help="of a noise tensor that the synthesis network takes behind the styles; what it draws "
        "itself is found",
    )
    add_value_range(parser, "the")
    parser.add_argument(
        "--any-range", action="store_true", help="do not look whether images are in this range"
    )
    parser.add_argument("--batches", type=sizes, default=(1, 4, 16, 64), help="1,4,16,64")
    parser.add_argument("--licence", default="not stated")


def load(args: argparse.Namespace) -> Imported:
    from export.families.stylegan import StyleOptions

    mapping = load_module(args.mapping, args.mapping_params, args.mapping_weights)
    synthesis = load_module(args.synthesis, args.synthesis_params, args.synthesis_weights)
    style = StyleOptions(
        layers=args.layers,
        truncation_cutoff=args.truncation_cutoff,
        one_hot=args.one_hot,
        mapping_arguments=args.mapping_arguments,
        synthesis_arguments=args.synthesis_arguments,
    )
    provenance = Provenance(
        source=f"stylegan {args.mapping} {args.synthesis}",
        details={
            "mapping weights SHA-256": checksum(args.mapping_weights),
            "synthesis weights SHA-256": checksum(args.synthesis_weights),
        },
    )
    return _imported(
        mapping,
        synthesis,
        style,
        latent=args.latent,
        value_range=args.value_range,
        noise=args.noise,
        labels=args.labels,
        any_range=args.any_range,
        name=args.name,
        out=args.out,
        version=args.version,
        batches=args.batches,
        precisions=args.precisions,
        provenance=provenance,
        licence=args.licence,
    )


def export_stylegan(
    mapping: "nn.Module",
    synthesis: "nn.Module",
    style: "StyleOptions | None" = None,
    *,
    latent: int | Sequence[int],
    value_range: tuple[float, float] = (-1.0, 1.0),
    **options: Any,
) -> Path:
    """Export a mapping and a synthesis network as one decoder, with a truncation towards the mean
    style.

    `mapping` takes latents [B, *latent] (and labels int64 [B], where `labels` are given) and gives
    styles [B, w] or [B, layers, w]; `synthesis` takes these, and noise [B, *shape] for each of
    `noise`, and gives images [B, C, H, W] in `value_range`. Normal random numbers that it draws
    become noise inputs. Where each layer has a style, `sample` mixes those of two seeds. `style`
    says how the two are called (`export.families.stylegan.StyleOptions`). `options` are further
    fields of `ExportOptions`: `name`, `out`, `labels`, `noise`, ...

    Raises ExportError, and writes nothing, as `export` does.
    """
    imported = _imported(
        mapping, synthesis, style, latent=latent, value_range=value_range, **options
    )
    return export_imported(imported)


def _imported(
    mapping: "nn.Module",
    synthesis: "nn.Module",
    style: "StyleOptions | None",
    *,
    latent: int | Sequence[int],
    value_range: Sequence[float],
    noise: Sequence[Sequence[int]] = (),
    labels: Sequence[str] | None = None,
    provenance: Provenance | None = None,
    **options: Any,
) -> Imported:
    from export.families.stylegan import MEAN_LATENTS, MEAN_SEED, StyleGAN, StyleOptions

    latent = (latent,) if isinstance(latent, int) else tuple(latent)
    classes = len(labels or ())
    decoder = StyleGAN(
        mapping, synthesis, style or StyleOptions(), latent, classes=classes, noise=noise
    )
    channels, height, width = decoder.image_shape
    provenance = provenance or Provenance(source=f"stylegan {type(synthesis).__qualname__}")
    details = {"mean style": f"of {MEAN_LATENTS:,} latents of seed {MEAN_SEED}"}
    if decoder.mixes:
        details["layers with a style"] = f"{len(decoder.mean)}"
    details = {**provenance.details, **details}
    fields = ExportOptions(
        image=image((height, width, channels), value_range),
        latent=latent,
        noise=decoder.noise,
        labels=labels,
        takes_truncation=True,
        takes_mixing=decoder.mixes,
        provenance=provenance.model_copy(update={"details": details}),
        **options,
    )
    return Imported(fields, {"decode": decoder})
