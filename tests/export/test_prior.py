"""A prior fitted by an artifact's own encoder: the next version, and what it says of itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import runtime
from export import ExportError, export_run
from export.__main__ import main
from export.importers.run import training_images
from export.prior import add_prior, fit
from runtime.artifact.manifest import REDUCED
from runtime.artifact.prior import Mixture
from runtime.artifact.reading import read_artifact
from runtime.images.encoding import encode_image, encode_npy
from runtime.sampling.streams import Counter
from tests.export.test_runs import trained
from tests.tiny import mixture_arrays, write_artifact
from train.recipes.vae import digits_vae


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_artifact(tmp_path, "vae")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (300, 8, 8, 1), dtype=np.uint8)


def test_a_fit_finds_the_mixture_that_drew() -> None:
    apart = np.array([[-6, 0], [0, 6], [6, -3]], np.float32)
    truth = Mixture.of(mixture_arrays(3, 2) | {"means": apart}, 2)
    latents = truth.latents(Counter(0, 0, 6000)).reshape(6000, 2, 1)
    found = fit(latents, 3)
    order = np.argsort(found.weights)
    np.testing.assert_allclose(found.weights[order], truth.weights, atol=0.02)
    np.testing.assert_allclose(found.means[order], truth.means, atol=0.05)
    covariances, expected = (
        f @ f.transpose(0, 2, 1) for f in (found.factors[order], truth.factors)
    )
    # 1,000 draws and more of each: a standard error of up to 0.04.
    np.testing.assert_allclose(covariances, expected, atol=0.15)


def test_the_next_version_draws_from_the_latents_of_the_images(
    artifact: Path, images: np.ndarray
) -> None:
    written = add_prior(artifact, images, components=2, seed=3, precisions=REDUCED)
    assert written == artifact.parent / "2"
    assert read_artifact(artifact).manifest.prior == "standard_normal"
    with runtime.load(artifact) as before, runtime.load(written) as after:
        latents = before.encode(images).sample(3)
        assert np.array_equal(after.encode(images).mean, before.encode(images).mean)
        drawn = after.latents(3000, seed=1)
        # 300 draws from the posteriors, 3,000 from the mixture that was fitted to them.
        error = latents.std(axis=0) / np.sqrt(300)
        assert (np.abs(drawn.mean(axis=0) - latents.mean(axis=0)) < 4 * error).all()
        np.testing.assert_allclose(np.cov(drawn.T), np.cov(latents.T), atol=0.2)
    manifest = read_artifact(written).manifest
    details = manifest.provenance.details
    assert details["seed"] == 0, "the artifact's own details stay"
    assert details["prior"]["components"] == 2
    assert details["prior"]["images"] == 300
    assert details["prior"]["log_density"] > details["prior"]["log_density_standard_normal"]
    assert set(manifest.graphs["decode"].files) | set(manifest.left_out) >= set(REDUCED)
    assert "gaussian mixture" in (written / "README.md").read_text()
    # The same images and seed give the same mixture, bit for bit.
    again = add_prior(written, images, components=2, seed=3, precisions=())
    assert again.name == "3"
    assert (again / "prior.npz").read_bytes() == (written / "prior.npz").read_bytes()


def test_what_was_of_other_samples_is_left_out_or_given_anew(
    artifact: Path, images: np.ndarray
) -> None:
    picture = encode_image(images[0])
    first = add_prior(
        artifact, images, components=1, precisions=(), figures={"sure": 0.5}, neighbours=picture
    )
    assert read_artifact(first).manifest.provenance.figures == {"sure": 0.5}
    assert (first / "neighbours.png").read_bytes() == picture
    second = add_prior(first, images, components=1, precisions=())
    assert read_artifact(second).manifest.provenance.figures == {}
    assert not (second / "neighbours.png").exists()


def test_refusals(artifact: Path, tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(ExportError, match="expected an artifact with an encoder, found none"):
        add_prior(write_artifact(tmp_path, "plain"), images)
    with pytest.raises(ExportError, match="at least 10 for each of 31 components, found 300"):
        add_prior(artifact, images, components=31)
    with pytest.raises(ExportError, match="expected at least 1, and 0 to 4294967295, found 0 and"):
        add_prior(artifact, images, components=0)
    with pytest.raises(ExportError, match="found 2 and 4294967296"):
        add_prior(artifact, images, components=2, seed=2**32)
    assert not (artifact.parent / "2").exists()


def test_the_command(
    artifact: Path, tmp_path: Path, images: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images.npy").write_bytes(encode_npy(images))
    options = ["--components", "2", "--precisions", "none"]
    given = ["prior", str(artifact), "--images", f"{tmp_path}/images.npy", *options]
    assert main(given) == 0
    assert "prior: 2 components; " in capsys.readouterr().out
    assert main(["prior", str(artifact), "--data", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert "tiny-vae: --data: expected an artifact of one of this version's runs, found" in error
    assert error.count("\n") == 1
    # Of one of our runs, the data set is known.
    run = trained(replace(digits_vae(), steps=3, batch_size=8), tmp_path / "run")
    exported = export_run(run, out=tmp_path, precisions=())
    assert main(["prior", str(exported), "--data", str(tmp_path), *options]) == 2
    assert "--data: expected none for digits, which needs no files" in capsys.readouterr().err
    assert main(["prior", str(exported), *options]) == 0
    details = read_artifact(exported.parent).manifest.provenance.details
    assert details["prior"]["images"] == 1438
    manifest = read_artifact(exported).manifest
    others = manifest.provenance.model_copy(
        update={"details": {**manifest.provenance.details, "data_checksum": "others"}}
    )
    with pytest.raises(ExportError, match="expected the images of its run, others, found sha256:"):
        training_images(manifest.model_copy(update={"provenance": others}), None)
