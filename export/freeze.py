"""Networks -> the files of an artifact: checked, converted, compared, and shown on a sheet.

Everything happens in memory, so that a failure leaves nothing behind.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.budget import affordable, affordable_batches
from export.card import NEIGHBOURS, sample_sheet
from export.check import check_network
from export.draft import Draft
from export.parity import measure
from export.sources import Network, Source
from export.tiles.measuring import tilings
from export.variants import with_variants
from runtime.artifact.golden import GOLDEN
from runtime.artifact.manifest import SHEET
from runtime.artifact.reading import Artifact
from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec, Role
from runtime.engines.backend import Backend, Tensors
from runtime.engines.onnxruntime import open_reference
from runtime.images.encoding import encode_npz
from runtime.machine import cores
from runtime.requests.examples import example_inputs
from runtime.requests.inputs import drawn_conditions
from runtime.sampling.streams import Counter

logger = logging.getLogger(__name__)

# Fixed seeds: the same networks give the same files.
_CHECK_SEED, _CHECKED_IMAGES = 0, 16
_PARITY_SEED = 1
# Rows of a batch have truncations of their own, as requests that share a batch do.
_TRUNCATIONS = (1.0, 0.7, 0.4)
_GOLDEN_SEED, _GOLDEN_IMAGES = 2, 4
# Before the conversion nothing is known of a network's cost: large images are checked in few.
_CHECKED_VALUES = 1 << 21
# Above so many multiply-adds an image, one run uses all cores.
_LARGE = 1_000_000_000


def freeze(draft: Draft, sources: Mapping[str, Source]) -> Artifact:
    """The artifact without its card, which `export.write` adds.

    Raises ExportError where a network does not keep to its signature (`export.export`).
    """
    axes = draft.axes
    networks = {
        name: sources[name].network(name, spec, draft.options)
        for name, spec in draft.graphs.items()
    }
    default, smallest = (
        tuple((name, getattr(axis, which)) for name, axis in axes.items())
        for which in ("default", "min")
    )
    values = max(t.values(smallest) for spec in draft.graphs.values() for t in spec.outputs)
    checked = max(2, min(_CHECKED_IMAGES, _CHECKED_VALUES // values))
    seconds: dict[str, float] = {}
    examples = _inputs(draft, networks, checked, _CHECK_SEED, smallest, varied=True)
    for name, inputs in examples.items():
        logger.info("%s: checking the network on %d images", name, checked)
        spec, options = draft.graphs[name], draft.options
        began = time.monotonic()
        check_network(networks[name], name, spec, options, inputs, smallest)
        seconds[name] = (time.monotonic() - began) / (2 * checked)  # it runs twice

    files: dict[str, bytes] = {}
    for name, spec in draft.graphs.items():
        logger.info("%s: converting to ONNX", name)
        files[spec.file] = networks[name].to_onnx(axes)

    artifact = draft.artifact(files, draft.options.batches)
    batches = affordable_batches(artifact.bounds, draft.options.batches, smallest)
    artifact = draft.artifact(files, batches)
    costs = [each.cost(1, default).multiply_adds for each in artifact.bounds.values()]
    # Small networks: one thread, and no spinning workers beside torch's own.
    backend = open_reference(artifact, threads=cores() if max(costs) > _LARGE else 1)
    try:
        parity = tuple(
            measure(name, spec, networks[name], backend, cases)
            for name, spec, cases in _cases(draft, networks, artifact, seconds)
        )
        golden = _golden(backend, _golden_inputs(draft, networks, artifact, smallest))
        added = {GOLDEN: encode_npz(golden)}
        tiling = tilings(artifact, backend)
        sheet = draft.options.sheet
        if sheet is None:
            logger.info("drawing the sheet of the card")
            sheet = sample_sheet(artifact, backend)
        if sheet is not None:
            added[SHEET] = sheet
    finally:
        backend.close()
    if draft.options.neighbours is not None:
        added[NEIGHBOURS] = draft.options.neighbours
    frozen = draft.artifact(files | added, batches, parity, tiling)
    return with_variants(frozen, draft.options.precisions)


def _cases(
    draft: Draft,
    networks: Mapping[str, Network],
    artifact: Artifact,
    seconds: Mapping[str, float],
) -> Iterator[tuple[str, GraphSpec, list[Tensors]]]:
    """Every graph with the inputs to compare it on: a batch of one, an odd one and the largest, at
    the smallest size; and one image at the default size. `seconds`: of one image of the smallest
    size."""
    manifest = artifact.manifest
    smallest, default = manifest.smallest_size, manifest.default_size
    batches = sorted({batch for batch in (1, 3, manifest.max_batch) if batch <= manifest.max_batch})
    if manifest.max_batch == 1:
        batches = [1, 2]  # rows are compared with each other all the same
    pairs: list[tuple[int, Size]] = [(batch, smallest) for batch in batches]
    if default != smallest:
        pairs.insert(0, (1, default))
    cases = [_inputs(draft, networks, n, _PARITY_SEED, size, varied=True) for n, size in pairs]
    for name, spec in draft.graphs.items():
        bounds = artifact.bounds[name]
        work = sum(n * bounds.cost(1, size).multiply_adds for n, size in pairs)
        images = work / max(1, bounds.cost(1, smallest).multiply_adds)
        logger.info(
            "%s: comparing the graph with the network, about %.0f s",
            name, 2 * images * seconds[name],
        )  # fmt: skip
        yield name, spec, [inputs[name] for inputs in cases]


def _golden_inputs(
    draft: Draft, networks: Mapping[str, Network], artifact: Artifact, size: Size
) -> dict[str, Tensors]:
    wanted = min(_GOLDEN_IMAGES, artifact.manifest.max_batch)
    fewest = min(affordable(each, wanted, size) for each in artifact.bounds.values())
    return _inputs(draft, networks, fewest, _GOLDEN_SEED, size)


def _inputs(
    draft: Draft,
    networks: Mapping[str, Network],
    count: int,
    seed: int,
    size: Size,
    *,
    varied: bool = False,
) -> dict[str, Tensors]:
    """Seeded inputs of every graph; `varied`: the last class is among their labels, and rows differ
    in their truncation. An encoder beside a decoder gets the decoded images; but where it gives
    codes, the decoder gets its latents: of others it takes the nearest entries of the codebook, and
    where two are as near, rounding would choose."""
    classes = len(draft.options.labels or ())
    counter = Counter(seed, 0, count)
    drawn: dict[Role, NDArray[Any]] = {
        **drawn_conditions(classes, draft.options.vocabulary, counter)
    }
    if varied:
        drawn["truncation"] = np.resize(np.array(_TRUNCATIONS, np.float32), count)
        if "labels" in drawn:  # a network of fewer classes fails at the last, drawn or not
            drawn["labels"][0] = classes - 1
    inputs: dict[str, Tensors] = {
        name: example_inputs(draft.graphs, name, counter, size, drawn=drawn)
        for name in draft.graphs
    }
    specs = draft.graphs.items()
    decoder = next((name for name, spec in specs if spec.input("latents")), None)
    encoder = next((name for name, spec in specs if not spec.gives_pixels), None)
    if decoder is not None and encoder is not None and draft.graphs[encoder].output("codes"):
        latents = networks[encoder].outputs(inputs[encoder])["latents"]
        inputs[decoder] = {**inputs[decoder], "latents": latents}
    elif decoder is not None and encoder is not None:
        images = networks[decoder].outputs(inputs[decoder])["images"]
        inputs[encoder] = {**inputs[encoder], "images": images}
    return inputs


def _golden(backend: Backend, inputs: Mapping[str, Tensors]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for graph, tensors in inputs.items():
        for name, array in {**tensors, **backend.run(graph, tensors)}.items():
            arrays[f"{graph}.{name}"] = np.ascontiguousarray(array)
    return arrays
