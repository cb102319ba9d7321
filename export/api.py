"""`export`: torch modules become an artifact."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.causes import described_error
from export.draft import make_draft
from export.options import ExportOptions
from export.sources import Imported, Source
from export.write import write
from runtime.errors import ExportError, LatentServeError
from runtime.machine import to_install

if TYPE_CHECKING:  # importing torch takes seconds: only an export pays for it
    from torch import nn


def export(
    *,
    decode: "nn.Module | None" = None,
    encode: "nn.Module | None" = None,
    translate: "nn.Module | None" = None,
    **options: Any,
) -> Path:
    """Write the artifact `out/name/version` and return its folder.

    `options` are the fields of `ExportOptions`: `image`, `latent`, `name`, `out`, `labels`, ...
    At least one module is given:

    - `decode` maps latents float32 [B, *latent] to images float [B, C, H, W] in
      `image.value_range`, or with `depth` to volumes [B, C, D, H, W];
    - `encode` maps such images to (mean, log_variance), each [B, *latent], the log variance in the
      graph clamped to [-30, 20]; where
      `encode_takes_noise`, such images and noise float32 [B, *latent] from N(0, I) to (latents
      [B, *latent], log_density [B]), draws from the posterior with log q(z|x) in nats;
      with `encode_gives` to latents alone, or to latents and codes;
    - `translate` maps images of `image` to images, whose size may be another; with `takes_mask`
      also a mask float [B, 1, H, W] in [0, 1].

    Behind these a module takes what the options name, in this order: class indices int64 [B]
    (`labels`; an encoder where `encode_takes_labels`) or a decoder's prompts int64 [B, length]
    (`vocabulary`), a truncation float32 [B], noise inputs.

    The modules are copied, and the copies put in eval mode on the CPU: yours stay as they are.
    Images of the ONNX graphs are uint8 [B, H, W, C]. The graphs are compared with the modules at
    several batches, and at several sizes where axes are named, as many as their cost allows; the
    figures go into the manifest.

    Raises ExportError, and writes nothing, where a module does not keep to the above, cannot be
    converted, draws random numbers, lets one image depend on another in its batch, or where the
    graphs' outputs differ from the modules'; and where `version` exists already.
    """
    given = {"decode": decode, "encode": encode, "translate": translate}
    modules = {graph: module for graph, module in given.items() if module is not None}
    return export_imported(Imported(ExportOptions(**options), modules))


def export_imported(imported: Imported) -> Path:
    """`export`, of what an importer gave."""
    try:
        sources = {name: _source(given) for name, given in imported.modules.items()}
        from export.freeze import freeze
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: {to_install('export')}") from error
    try:
        draft = make_draft(imported.options, sources)
        return write(imported.options.folder, freeze(draft, sources))
    except ExportError:
        raise
    except LatentServeError as error:
        raise ExportError(str(error)) from error
    except Exception as error:  # a user's module can raise anything, anywhere it is called
        raise ExportError(
            f"{imported.options.name}: cannot be exported: {described_error(error)}"
        ) from error


def _source(given: "nn.Module | Source") -> Source:
    if isinstance(given, Source):
        return given
    from export.modules.source import TorchSource

    return TorchSource(given)
