"""`load`: from an artifact on the disk to a model that is ready to sample."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from runtime.artifact.golden import REDUCED_IMAGES, check_golden
from runtime.artifact.reading import Artifact, read_artifact
from runtime.artifact.tensors import Precision
from runtime.batching.capacity import GraphCapacity
from runtime.engines.backend import REFERENCE, WORTH_SHARING, Setting, Variant
from runtime.engines.cache import cache_folder
from runtime.engines.choice import Chosen, choose, choose_anew, take
from runtime.engines.library import Device, EngineRequest
from runtime.engines.measuring import Measured
from runtime.engines.nvidia import devices
from runtime.engines.solo import open_solo
from runtime.errors import EngineError
from runtime.limits import RUN_BYTES, Limits
from runtime.model import Model
from runtime.observer import Observer

logger = logging.getLogger(__name__)


def load(
    artifact: str | Path | Artifact,
    *,
    backend: str | Variant = "auto",
    precision: Precision | Literal["auto"] = "auto",
    device: Device = "auto",
    limits: Limits | None = None,
    observer: Observer | None = None,
    cache: str | Path | None = None,
    signed_by: str | Path | None = None,
    solo: bool = True,
) -> Model:
    """Verify an artifact and make it ready: a path (`artifacts/mnist-vae`, `…/mnist-vae/1`), or a
    name in $LATENTSERVE_ARTIFACTS (default `artifacts/`), the highest version unless one is given;
    or what `read_artifact` has read.

    `backend` is `auto`, `onnxruntime`, `openvino`, `tensorrt` or `tensorrt-rtx`, `precision` is
    `auto`, `fp32` (which pins pixels to 1 grey level of the reference) or another that this machine
    or the artifact has. TensorRT runs the plans that `python -m export engine` built.
    What they leave open is measured the first time, which takes a second or so, and remembered in
    `cache` ($LATENTSERVE_CACHE, default `latentserve` in the user's cache folder). With the
    `variant` of a model that was loaded here before as `backend`, nothing is left open.

    With `solo`, one image on an idle model is made on all cores, by a second engine, where that is
    a fifth faster here and the image takes a millisecond or more.

    With `signed_by`, a PEM file of public keys, an artifact is refused unless one of them signed it
    (`python -m export sign`).
    Before it returns, the artifact's golden images are reproduced on this machine's engine.
    Raises ArtifactError (damaged or unsafe), EngineError (engine missing, or wrong pixels),
    InputError (unknown backend or precision).
    """
    if not isinstance(artifact, Artifact):
        artifact = read_artifact(artifact, signed_by=signed_by)
    verified, limits = artifact, limits or Limits()
    cache = Path(cache) if cache else cache_folder()
    if isinstance(backend, Variant):
        chosen = take(verified, backend, partial(limits.setting, verified), cache)
    else:
        chosen = _choose(verified, EngineRequest(backend, precision, device), limits, cache)
    engine, setting, own = chosen.backend, chosen.setting, None
    try:
        memory = _memory(verified, limits, chosen)
        seconds = check_golden(verified, engine, chosen.variant.precision)
        if solo and max(seconds.values()) >= WORTH_SHARING:
            settings = partial(limits.setting, verified)
            own = open_solo(verified, chosen.variant, engine, settings, cache)
    except BaseException:
        engine.close()
        raise
    model = Model(
        verified,
        engine,
        variant=chosen.variant,
        runners=setting.runners,
        batch=min(setting.batch, engine.max_batch or setting.batch),
        queue_images=limits.queue_images,
        capacity=None if memory is None else _capacity(verified, limits, setting, memory, seconds),
        observer=observer,
        solo=own,
    )
    manifest = verified.manifest
    logger.info(
        "loaded %s@%d: %s (%s), %d runs at once, batches up to %d",
        manifest.name, manifest.version, model.engine, chosen.reason,
        model.runners, model.max_batch,
    )  # fmt: skip
    return model


def _choose(verified: Artifact, request: EngineRequest, limits: Limits, cache: Path) -> Chosen:
    """The fastest engine; the reference alone where a GPU's fails and no engine was named."""
    settings = partial(limits.setting, verified)
    try:
        return choose(verified, request, settings, cache)
    except EngineError as error:
        if request.backend != "auto" or not devices.gpus():
            raise
        # A plan that is damaged, gives wrong images or has no room is not the only way.
        logger.warning("going on with %s alone: %s", REFERENCE.engine, error)
        return choose(verified, replace(request, backend=REFERENCE.engine), settings, cache)


def _memory(artifact: Artifact, limits: Limits, chosen: Chosen) -> int | None:
    """The bytes that runs may take; EngineError if not one row of the smallest size fits. None on a
    GPU: lanes take their memory when they are opened, as much as there is."""
    if chosen.variant.device == "cuda":
        return None
    memory, size = limits.bytes, artifact.manifest.smallest_size
    for graph, bounds in artifact.bounds.items():
        needed = bounds.cost(1, size).bytes
        if needed > memory:
            raise EngineError(
                f"{artifact.manifest.name}: {graph}: one image takes {-(-needed >> 20)} MiB of "
                f"memory, and {memory >> 20} MiB may be taken: free some, or raise Limits.memory"
            )
    return memory


def _capacity(
    artifact: Artifact,
    limits: Limits,
    setting: Setting,
    memory: int,
    seconds: Mapping[str, float],
) -> GraphCapacity:
    """How many rows are in one run, and how long they take, by the `seconds` of one of the smallest
    size in each graph."""
    size = artifact.manifest.smallest_size
    pace = {
        graph: seconds[graph] / max(1, bounds.cost(1, size).multiply_adds)
        for graph, bounds in artifact.bounds.items()
    }
    return GraphCapacity(
        artifact.bounds,
        setting.batch,
        setting.runners,
        memory,
        # More only where somebody said so.
        run_bytes=memory if limits.batch else RUN_BYTES,
        pace=pace,
    )


def tune(
    artifact: str | Path,
    *,
    backend: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    device: Device = "auto",
    limits: Limits | None = None,
    cache: str | Path | None = None,
    latents: int = REDUCED_IMAGES,
) -> list[Measured]:
    """Measure again, and thoroughly, what `load` with the same arguments chooses from, over so many
    latents; the choice is remembered, and every variant's figures are returned."""
    verified = read_artifact(artifact)
    return choose_anew(
        verified,
        EngineRequest(backend, precision, device),
        partial((limits or Limits()).setting, verified),
        Path(cache) if cache else cache_folder(),
        latents,
    )
