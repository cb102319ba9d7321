"""`load`: from an artifact on the disk to a model that is ready to sample."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.artifact.golden import REDUCED_IMAGES, check_golden
from runtime.artifact.manifest import Manifest, Precision
from runtime.artifact.reading import read_artifact
from runtime.engines.backend import Backend, Device, Setting, Variant
from runtime.engines.cache import cache_folder
from runtime.engines.choice import Measured, choose, choose_anew
from runtime.engines.gpu import LANES_PER_GPU
from runtime.engines.nvidia import devices
from runtime.engines.opening import open_backend
from runtime.engines.variants import on_gpu
from runtime.errors import EngineError
from runtime.machine import cores
from runtime.model import Model
from runtime.observer import Observer
from runtime.requests.checks import check_integer

logger = logging.getLogger(__name__)

_GPU_BATCH = 256
"""Images in one run on a GPU, unless `Limits.batch` says otherwise."""


@dataclass(frozen=True)
class Limits:
    """How much one model may take.

    `batch`: images in one engine run (None: the largest the artifact was verified at; on a GPU 256,
    or more where that is more). `queue_images`: images waiting before callers wait or are refused.
    `runners`: engine runs in flight at once; `threads`: cores each of them uses. None derives
    both from the cores this process may use: one thread a run, a run for each core, up to 8; on
    GPUs, two runs for each.
    """

    batch: int | None = None
    queue_images: int = 4096
    runners: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None:
                check_integer(f"limits.{name}", value, 1, 1 << 20)


def load(
    artifact: str | Path,
    *,
    backend: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    device: Device = "auto",
    limits: Limits | None = None,
    observer: Observer | None = None,
    cache: Path | None = None,
    signed_by: str | Path | None = None,
) -> Model:
    """Verify an artifact and make it ready: a path (`artifacts/mnist-vae`, `…/mnist-vae/1`), or a
    name in $LATENTSERVE_ARTIFACTS (default `artifacts/`); the highest version unless one is given.

    `backend` is `auto`, `onnxruntime`, `openvino`, `tensorrt` or `tensorrt-rtx`, `precision` is
    `auto`, `fp32` (which pins pixels to 1 grey level of the reference) or another that this machine
    or the artifact has. TensorRT runs the plans that `python -m export engine` built.
    What they leave open is measured the first time, which takes a second or so, and remembered in
    `cache` ($LATENTSERVE_CACHE, default `latentserve` in the user's cache folder).

    With `signed_by`, a PEM file of public keys, an artifact is refused unless one of them signed it
    (`python -m export sign`).
    Before it returns, the artifact's golden images are reproduced on this machine's engine.
    Raises ArtifactError (damaged or unsafe), EngineError (engine missing, or wrong pixels),
    InputError (unknown backend or precision).
    """
    verified = read_artifact(artifact, signed_by=signed_by)
    limits = limits or Limits()
    cache = cache or cache_folder()

    def opened(backend: str) -> tuple[Variant, str, Setting, Backend]:
        setting = _setting(verified.manifest, limits, on_gpu(backend, device))
        variant, reason = choose(
            verified,
            backend=backend,
            precision=precision,
            device=device,
            setting=setting,
            cache=cache,
        )
        setting = _setting(verified.manifest, limits, variant.device == "cuda")
        return variant, reason, setting, open_backend(verified, variant, setting, cache)

    try:
        variant, reason, setting, engine = opened(backend)
    except EngineError as error:
        if backend != "auto" or not devices.gpus():
            raise
        # A plan that is damaged, or turned out wrong, or has no room: it is not the only way.
        logger.warning("going on without TensorRT: %s", error)
        variant, reason, setting, engine = opened("onnxruntime")
    try:
        check_golden(verified, engine, variant.precision)
    except BaseException:
        engine.close()
        raise
    model = Model(
        verified,
        engine,
        runners=setting.runners,
        batch=min(setting.batch, engine.max_batch or setting.batch),
        queue_images=limits.queue_images,
        observer=observer,
    )
    manifest = verified.manifest
    logger.info(
        "loaded %s@%d: %s (%s), %d runs at once, batches up to %d",
        manifest.name, manifest.version, engine.description, reason,
        model.runners, model.max_batch,
    )  # fmt: skip
    return model


def tune(
    artifact: str | Path,
    *,
    backend: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    device: Device = "auto",
    limits: Limits | None = None,
    cache: Path | None = None,
    latents: int = REDUCED_IMAGES,
) -> list[Measured]:
    """Measure anew, and thoroughly, what `load` with the same arguments chooses from, over so many
    latents; the choice is remembered, and every variant's figures are returned."""
    verified = read_artifact(artifact)
    return choose_anew(
        verified,
        backend=backend,
        precision=precision,
        device=device,
        setting=_setting(verified.manifest, limits or Limits(), on_gpu(backend, device)),
        cache=cache or cache_folder(),
        latents=latents,
    )


def _setting(manifest: Manifest, limits: Limits, gpu: bool) -> Setting:
    if gpu:
        # Beyond the batches of the export: engines on GPUs are compared with the reference here.
        runners = limits.runners or LANES_PER_GPU * len(devices.gpus())
        return Setting(runners, 1, limits.batch or max(_GPU_BATCH, manifest.max_batch))
    # On CPUs several one-thread runs beat one run on several threads.
    runners = limits.runners or min(8, cores())
    threads = limits.threads or max(1, cores() // runners)
    return Setting(runners, threads, min(limits.batch or manifest.max_batch, manifest.max_batch))
