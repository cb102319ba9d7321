"""A Gaussian mixture fitted on the latents of training images: the next version of an artifact
draws from it in place of N(0, I)."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.card import NEIGHBOURS, sample_sheet
from export.variants import with_variants, without_variants
from export.write import choose_version, write
from runtime.artifact.manifest import PRIOR, SHEET, Manifest, Reduced
from runtime.artifact.prior import Mixture, standard_normal_log_density
from runtime.artifact.reading import Artifact, read_artifact
from runtime.engines.onnxruntime import open_reference
from runtime.errors import ExportError
from runtime.images import Float32Array
from runtime.images.encoding import encode_npz
from runtime.machine import cores, installed_version, to_install
from runtime.model import Model
from runtime.requests import answers
from runtime.requests.checks import Labels

logger = logging.getLogger(__name__)

COMPONENTS = 100
_FEWEST_DRAWS = 10
"""Latents a component, at least: fewer are no sample of anything."""
# Added to the variances: the posteriors' own are well above it.
_LEAST_VARIANCE = 1e-5
_ITERATIONS = 200
_SEEDS = 2**32
"""Those that scikit-learn knows."""


def add_prior(
    artifact: str | Path,
    images: NDArray[Any],
    *,
    labels: Labels | None = None,
    components: int = COMPONENTS,
    seed: int = 0,
    precisions: Sequence[Reduced] | Literal["auto"] = "auto",
    figures: Mapping[str, float] | None = None,
    neighbours: bytes | None = None,
) -> Path:
    """Write the next version of an artifact that has an encoder, its prior a mixture of so many
    normals, fitted to its training images uint8 [n, H, W, C]; return its folder.

    The mixture is fitted to one draw from each image's posterior: draws from the mean over the
    images of q(z|x), which is what a prior is to cover. Means of posteriors alone would leave out
    how wide these are.

    Figures and the sheet of nearest neighbours were of other samples: they are replaced by
    `figures` and `neighbours`, and left out without them. Variants in reduced precision are
    compared again, on the mixture's latents (`export.variants`). A signature is not carried over.
    Raises ExportError where there is no encoder, or too few images.
    """
    read = read_artifact(artifact)
    if not answers(read.manifest, "reconstruct"):
        raise ExportError(f"{read.manifest.name}: expected an artifact with an encoder, found none")
    if components < 1 or not 0 <= seed < _SEEDS:
        raise ExportError(
            f"components and seed: expected at least 1, and 0 to {_SEEDS - 1}, "
            f"found {components} and {seed}"
        )
    if len(images) < _FEWEST_DRAWS * components:
        raise ExportError(
            f"images: expected at least {_FEWEST_DRAWS} for each of {components} components, "
            f"found {len(images)}"
        )
    plain = without_variants(read)
    with _opened(plain) as model:
        logger.info("encoding %d images", len(images))
        latents = model.encode(images, labels, seed=seed).latents
    mixture = fit(latents, components, seed)
    encoded = encode_npz(mixture.arrays())
    manifest = _described(plain.manifest, mixture, latents, seed, figures or {})
    version = choose_version(read.folder.parent, None)
    checksums = {**manifest.files, PRIOR: sha256(encoded).hexdigest()}
    manifest = manifest.model_copy(update={"version": version, "files": checksums})
    files = plain.files | {PRIOR: encoded}
    drawn = replace(plain, manifest=manifest, files=files)
    with closing(open_reference(drawn, threads=cores())) as backend:
        sheet = sample_sheet(drawn, backend)
    if sheet is not None:
        files[SHEET] = sheet
    if neighbours is None:
        files.pop(NEIGHBOURS, None)
    else:
        files[NEIGHBOURS] = neighbours
    return write(read.folder.parent, with_variants(drawn, precisions))


def fit(latents: Float32Array, components: int, seed: int = 0) -> Mixture:
    """The mixture of `components` normals, each with a full covariance, that fits latents [n,
    *latent] best: expectation maximisation from k-means++ centres, until a step gains less than
    0.001 nats a latent."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: {to_install('export')}") from error

    rows = latents.reshape(len(latents), -1).astype(np.float64)
    estimate = GaussianMixture(
        components,
        covariance_type="full",
        init_params="k-means++",
        max_iter=_ITERATIONS,
        random_state=seed,
        reg_covar=_LEAST_VARIANCE,
    )
    logger.info("fitting %d components to %d latents", components, len(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimate.fit(rows)
    if not estimate.converged_:
        logger.warning("the fit of the prior still gained after %d steps", _ITERATIONS)
    weights = np.maximum(np.asarray(estimate.weights_), np.finfo(np.float64).tiny)
    return Mixture(
        weights / weights.sum(),
        np.asarray(estimate.means_, np.float32),
        np.linalg.cholesky(np.asarray(estimate.covariances_)).astype(np.float32),
    )


def _described(
    manifest: Manifest,
    mixture: Mixture,
    latents: Float32Array,
    seed: int,
    figures: Mapping[str, float],
) -> Manifest:
    """The manifest with the mixture, and what it was fitted to."""
    normal = standard_normal_log_density(latents)
    fitted = {
        "components": len(mixture.weights),
        "images": len(latents),
        "seed": seed,
        "log_density": float(mixture.log_density(latents).mean()),
        "log_density_standard_normal": float(normal.mean()),
    }
    provenance = manifest.provenance
    library = {"scikit-learn": version} if (version := installed_version("scikit-learn")) else {}
    provenance = provenance.model_copy(
        update={
            "details": {**provenance.details, "prior": fitted},
            "versions": {**provenance.versions, **library},
            "figures": dict(figures),
        }
    )
    return manifest.model_copy(update={"provenance": provenance, "prior": "gaussian_mixture"})


def _opened(artifact: Artifact) -> Model:
    backend = open_reference(artifact, threads=cores())
    return Model(artifact, backend, runners=1, batch=artifact.manifest.max_batch)
