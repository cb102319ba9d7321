"""What encoders tell: moments and draws of a normal, draws alone of an encoder that takes noise.

`flow` has the weights of `vae`, so that its draws are those of the same posterior.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import runtime
from runtime import ArtifactError, Encode, InputError, Model, Posterior
from runtime.__main__ import main
from runtime.artifact.reading import read_artifact
from runtime.requests.encode import takes_noise
from runtime.sampling.streams import Counter, Stream, normals
from tests.tiny import rewrite_manifest, write_artifact

# Sums of float32 in another order: values of about 1 differ by some 1e-6.
CLOSE = 1e-5


def loaded(folder: Path) -> Model:
    return runtime.load(folder, backend="onnxruntime", precision="fp32")


@pytest.fixture(scope="module")
def flow_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("flow"), "vae", name="tiny-flow", noise=True)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with loaded(write_artifact(tmp_path_factory.mktemp("vae"), "vae")) as model:
        yield model


@pytest.fixture(scope="module")
def flow(flow_artifact: Path) -> Iterator[Model]:
    with loaded(flow_artifact) as model:
        yield model


@pytest.fixture(scope="module")
def images(vae: Model) -> np.ndarray:
    return vae.sample(40, seed=3)


def test_a_draw_and_its_density(vae: Model, flow: Model, images: np.ndarray) -> None:
    assert (takes_noise(vae.manifest), takes_noise(flow.manifest)) == (False, True)
    posterior = vae.encode(images)
    noise = normals(Counter(9, 0, 40), Stream.POSTERIOR_NOISE, 2)
    scale = np.exp(posterior.log_variance / 2)
    latents = posterior.mean + scale * noise
    density = stats.norm.logpdf(latents, posterior.mean, scale).sum(axis=1)
    for model in (vae, flow):
        draw = model.encode(images, seed=9)
        np.testing.assert_allclose(draw.latents, latents, atol=CLOSE)
        np.testing.assert_allclose(draw.log_density, density, atol=1e-4)
    assert np.array_equal(posterior.sample(9), posterior.draw(9).latents)
    np.testing.assert_allclose(posterior.log_density(latents), density, atol=1e-4)
    other = flow.encode(images, seed=10)
    assert np.abs(other.latents - latents).max() > 0.1


@pytest.mark.parametrize("kind", ["vae", "flow"])
def test_draw_i_is_its_own_whatever_the_batch(
    request: pytest.FixtureRequest, kind: str, images: np.ndarray
) -> None:
    model: Model = request.getfixturevalue(kind)
    whole = model.encode(images, seed=4)
    few = model.encode(images[:3], seed=4)
    np.testing.assert_allclose(few.latents, whole.latents[:3], atol=CLOSE)
    np.testing.assert_allclose(few.log_density, whole.log_density[:3], atol=1e-4)
    parts = list(model.batches(Encode(images, seed=4)))  # 16 images each: the batch
    assert [len(part) for part in parts] == [16, 16, 8]
    for name, array in whole.arrays().items():
        joined = np.concatenate([part.arrays()[name] for part in parts])
        np.testing.assert_allclose(joined, array, atol=1e-4)


def test_parts_of_parts_keep_their_numbers(vae: Model, images: np.ndarray) -> None:
    job = Encode(images, seed=4).job(vae).part(8, 30).part(5, 10)
    found = vae.submit(job).result().arrays()["latents"]
    np.testing.assert_allclose(found, vae.encode(images, seed=4).latents[13:18], atol=CLOSE)


def test_requests_meet_in_one_batch(flow: Model, images: np.ndarray) -> None:
    futures = [flow.submit(Encode(images[i : i + 3], seed=i)) for i in range(30)]
    for i, future in enumerate(futures):
        expected = flow.encode(images[i : i + 3], seed=i).latents
        np.testing.assert_allclose(future.result().arrays()["latents"], expected, atol=CLOSE)


def test_noise_0_reconstructs(vae: Model, flow: Model, images: np.ndarray) -> None:
    mean = vae.decode(vae.encode(images).mean).astype(int)
    for model in (vae, flow):
        assert np.abs(model.reconstruct(images) - mean).max() <= 1


def test_a_flow_has_no_moments(flow: Model, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="seed: expected .* draws latents, found none"):
        flow.encode(images)
    with pytest.raises(InputError, match="seed: expected an integer"):
        flow.encode(images, seed=-1)


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [(("mean", "log_variance"), ("images", "noise")), (("latents", "log_density"), ("images",))],
)
def test_noise_belongs_to_latents_with_density(
    tmp_path: Path, outputs: tuple[str, ...], inputs: tuple[str, ...]
) -> None:
    kinds = [write_artifact(tmp_path / str(noise), "vae", noise=noise) for noise in (False, True)]
    graphs = [read_artifact(kind).manifest.model_dump(mode="json")["graphs"] for kind in kinds]
    specs = [each["encode"] for each in graphs]
    tensors = {t["name"]: t for spec in specs for t in (*spec["inputs"], *spec["outputs"])}
    mixed = specs[1] | {
        "inputs": [tensors[name] for name in inputs],
        "outputs": [tensors[name] for name in outputs],
    }
    rewrite_manifest(kinds[1], graphs=graphs[1] | {"encode": mixed})
    with pytest.raises(ArtifactError, match="encode: expected noise where"):
        read_artifact(kinds[1])


def test_the_command(flow_artifact: Path, flow: Model, images: np.ndarray, tmp_path: Path) -> None:
    pictures, out = tmp_path / "images.npy", tmp_path / "draws.npz"
    np.save(pictures, images)
    given = [str(flow_artifact), str(pictures), "--precision", "fp32", "-o", str(out)]
    assert main(["encode", *given]) == 2
    assert main(["encode", *given, "--seed", "4"]) == 0
    with np.load(out) as found:
        expected = flow.encode(images, seed=4)
        np.testing.assert_allclose(found["latents"], expected.latents, atol=CLOSE)
        np.testing.assert_allclose(found["log_density"], expected.log_density, atol=1e-4)
    assert main(["reconstruct", *given[:-1], str(tmp_path / "again.npy")]) == 0
    rebuilt = np.load(tmp_path / "again.npy").astype(int)
    assert np.abs(rebuilt - flow.reconstruct(images)).max() <= 1


@pytest.mark.parametrize("seed", [-1, 2**53, 1.5, True])
def test_seeds_of_draws_are_checked(seed: Any) -> None:
    zeros = np.zeros((2, 3), np.float32)
    with pytest.raises(InputError, match="seed: expected an integer from 0"):
        Posterior(zeros, zeros).sample(seed)


def bordered() -> np.ndarray:
    """A white border of 4 pixels on black: unlike every digit."""
    picture = np.full((1, 28, 28, 1), 255, np.uint8)
    picture[:, 4:-4, 4:-4] = 0
    return picture


@pytest.mark.parametrize("name", ["mnist-vae", "mnist-vae-2d"])
def test_a_picture_unlike_all_others_has_finite_latents_that_can_be_decoded(
    name: str, tmp_path: Path
) -> None:
    folder = Path(__file__).parents[2] / "artifacts" / name
    np.save(tmp_path / "border.npy", bordered())
    with loaded(folder) as model:
        posterior = model.encode(bordered())
        assert posterior.log_variance.max() <= 20
        assert posterior.log_variance.min() >= -30
        for seed in range(50):
            draw = model.encode(bordered(), seed=seed)
            assert np.isfinite(draw.log_density).all()
            json.dumps({n: a.tolist() for n, a in draw.arrays().items()}, allow_nan=False)
            assert model.decode(draw.latents).shape == (1, 28, 28, 1)
            np.testing.assert_allclose(posterior.sample(seed), draw.latents, rtol=1e-3)
    for name, seed in {"mean": (), "drawn": ("--seed", "1")}.items():
        given = [str(folder), str(tmp_path / "border.npy"), "--precision", "fp32"]
        out = tmp_path / f"{name}.npz"
        assert main(["encode", *given, *seed, "-o", str(out)]) == 0
        with np.load(out) as arrays:
            floats = [array for array in arrays.values() if array.dtype.kind == "f"]
            assert len(floats) == 2
            assert all(np.isfinite(array).all() for array in floats)


NONSENSE = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "huge": 3e6}


@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize(
    ("noise", "output"), [(False, 0), (False, 1), (True, 0), (True, 1)], ids=str
)
def test_nonsense_of_an_encoder_names_the_picture(
    tmp_path: Path, value: float, noise: bool, output: int
) -> None:
    artifact = read_artifact(write_artifact(tmp_path, "vae", noise=noise))
    job = Encode(np.zeros((9, 8, 8, 1), np.uint8), seed=3).job(artifact).part(4, 9)
    outputs: dict[str, np.ndarray] = {
        "first": np.zeros((5, 2), np.float32),
        "second": np.zeros((5, 2), np.float32),
    }
    if noise:
        outputs["second"] = np.zeros(5, np.float32)
    list(outputs.values())[output][2] = value
    if output == 1 and value == 3e6:  # a density, or a variance that is bounded
        draw = job.finish(outputs, job.first).arrays()
        assert all(np.isfinite(array).all() for array in draw.values())
        return
    with pytest.raises(InputError, match=r"images\[6\]: expected .* finite values"):
        job.finish(outputs, job.first)


def test_a_draw_that_no_decoder_takes_is_not_given() -> None:
    mean, log_variance = np.zeros((3, 2), np.float32), np.full((3, 2), 20, np.float32)
    draw = Posterior(mean, log_variance + 1e30).draw(0)
    assert np.abs(draw.latents).max() < 1e6  # 8 standard deviations of e^10
    mean[1] = np.copysign(999_999, draw.latents[1])  # further out than it is already
    with pytest.raises(InputError, match=r"images\[1\]: expected .* at most 1e\+06, found 1"):
        Posterior(mean, log_variance).sample(0)
