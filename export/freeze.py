"""Modules -> the files of an artifact: checked, converted, compared, and shown on a sheet.

Everything happens in memory, so that a failure leaves nothing behind.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.card import NEIGHBOURS, SHEET, sample_sheet
from export.check import check_decoder, check_encoder
from export.convert import to_onnx
from export.modules import DecodeModule, EncodeModule
from export.parity import measure, parity_batches, run_torch
from export.variants import with_variants
from runtime.artifact.golden import GOLDEN
from runtime.artifact.manifest import GraphName, GraphSpec, Manifest, Reduced
from runtime.artifact.reading import Artifact
from runtime.engines.backend import Backend, Tensors
from runtime.engines.onnxruntime import open_reference
from runtime.images.encoding import encode_npz
from runtime.model import Model
from runtime.requests.sample import Sample
from runtime.sampling.posterior import posterior_noise

logger = logging.getLogger(__name__)

# Fixed seeds: the same modules give the same files.
_CHECK_SEED, _CHECKED_IMAGES = 0, 16
_PARITY_SEED = 1
_GOLDEN_SEED, _GOLDEN_IMAGES = 2, 4


def freeze(
    draft: Manifest,
    decoder: nn.Module,
    encoder: nn.Module | None,
    precisions: Sequence[Reduced] = (),
    neighbours: bytes | None = None,
) -> Artifact:
    """Everything but the card and the checksums, which `export.write` adds.

    Raises ExportError where a module does not keep to its contract (`export.export`).
    """
    decode = DecodeModule(decoder, draft.image)
    drafted = Artifact(Path(draft.name), draft, {})
    check_decoder(decode.decoder, Sample(_CHECKED_IMAGES, _CHECK_SEED).inputs(drafted), draft)
    modules: dict[GraphName, nn.Module] = {"decode": decode}
    if encoder is not None:
        encode = modules["encode"] = EncodeModule(encoder, draft.image)
        inputs = _inputs(drafted, decode, _CHECKED_IMAGES, _CHECK_SEED)["encode"]
        check_encoder(encode.encoder, inputs, draft)

    specs = _specs(draft)
    files: dict[str, bytes] = {}
    for graph, spec in specs.items():
        logger.info("%s: converting to ONNX", graph)
        files[spec.file] = to_onnx(modules[graph], spec)

    # One thread: the reference, and no spinning workers beside torch's own.
    artifact = Artifact(Path(draft.name), draft, files)
    backend = open_reference(artifact)
    with Model(artifact, backend, runners=1, batch=draft.max_batch) as model:
        logger.info("comparing the graphs with the torch modules")
        cases = [_inputs(artifact, decode, batch, _PARITY_SEED) for batch in parity_batches(draft)]
        parity = tuple(
            measure(graph, spec, modules[graph], backend, [case[graph] for case in cases])
            for graph, spec in specs.items()
        )
        files[GOLDEN] = encode_npz(
            _golden(backend, _inputs(artifact, decode, _GOLDEN_IMAGES, _GOLDEN_SEED))
        )
        files[SHEET] = sample_sheet(model)
    if neighbours is not None:
        files[NEIGHBOURS] = neighbours
    manifest = draft.model_copy(update={"parity": parity})
    return with_variants(Artifact(artifact.folder, manifest, files), precisions)


def _specs(manifest: Manifest) -> dict[GraphName, GraphSpec]:
    encode: dict[GraphName, GraphSpec] = {"encode": manifest.encode[0]} if manifest.encode else {}
    return {"decode": manifest.decode[0], **encode}


def _inputs(
    artifact: Artifact, decode: DecodeModule, count: int, seed: int
) -> dict[GraphName, Tensors]:
    """Seeded inputs of every graph; an encoder is given the decoder's own images."""
    manifest = artifact.manifest
    decoder = Sample(count, seed).inputs(artifact)
    if not manifest.encode:
        return {"decode": decoder}
    spec = manifest.encode[0]
    images = run_torch(decode, decoder, manifest.decode[0])["images"]
    given = {**decoder, "images": images}
    given["noise"] = posterior_noise(seed, 0, count, manifest.latent.shape)
    encoder = {tensor.name: given[tensor.name] for tensor in spec.inputs}
    return {"decode": decoder, "encode": encoder}


def _golden(backend: Backend, inputs: dict[GraphName, Tensors]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for graph, tensors in inputs.items():
        for name, array in {**tensors, **backend.run(graph, tensors)}.items():
            arrays[f"{graph}.{name}"] = np.ascontiguousarray(array)
    return arrays
