"""The public face: every way to ask for an image gives the same image; bad input is named."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import Decode, Encode, InputError, Interpolate, Limits, Model, Reconstruct, Sample
from runtime.artifact.reading import read_artifact
from runtime.batching.capacity import FixedCapacity
from runtime.engines.onnxruntime import open_reference
from runtime.sampling.streams import Counter, Stream, normals
from tests.runtime.fakes import WAIT, FakeBackend, Recorder
from tests.tiny import LABELS

# DESIGN: fp32 on any backend and in any batch differs by at most one grey level.
LEVELS = 1


def assert_same_pixels(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= LEVELS


def test_image_i_is_the_same_however_it_is_asked_for(plain: Model) -> None:
    whole = plain.sample(150, seed=7)
    assert whole.std() > 20
    for i in (0, 63, 64, 149):
        assert_same_pixels(plain.sample(1, seed=7, offset=i), whole[i : i + 1])
    assert_same_pixels(plain.sample(70, seed=7, offset=50), whole[50:120])
    assert_same_pixels(np.concatenate(list(plain.stream(150, seed=7))), whole)
    assert_same_pixels(plain.decode(plain.latents(150, seed=7)), whole)
    assert_same_pixels(plain.submit(Sample(150, 7)).result(), whole)


def test_batch_size_runners_and_threads_change_nothing(artifacts: Path, plain: Model) -> None:
    expected = plain.sample(40, seed=3)
    for limits in (Limits(batch=1), Limits(batch=7, runners=3), Limits(runners=1, threads=2)):
        with runtime.load(artifacts / "tiny-plain", limits=limits) as model:
            assert_same_pixels(model.sample(40, seed=3), expected)


def test_seeds_are_image_zero_of_each(conditional: Model) -> None:
    images = conditional.sample(seeds=[4, 9, 4])
    for image, seed in zip(images, [4, 9, 4], strict=True):
        assert_same_pixels(image[None], conditional.sample(1, seed=seed))
    streamed = np.concatenate(list(conditional.stream(seeds=range(40))))
    assert_same_pixels(streamed, conditional.sample(seeds=range(40)))


def test_latents_come_from_the_latent_stream(plain: Model) -> None:
    expected = normals(Counter(7, 5, 3), Stream.LATENT, 4)
    assert plain.latents(3, seed=7, offset=5).tobytes() == expected.tobytes()


def test_truncation_reaches_the_latents(plain: Model) -> None:
    held = plain.latents(100, seed=1, truncation=0.5)
    assert np.abs(held).max() <= 0.5
    assert_same_pixels(plain.sample(100, seed=1, truncation=0.5), plain.decode(held))


def test_labels_by_name_by_index_for_all_or_each(conditional: Model) -> None:
    by_name = conditional.sample(3, seed=1, labels=["zero", "two", "one"])
    assert_same_pixels(by_name, conditional.sample(3, seed=1, labels=[0, 2, 1]))
    assert_same_pixels(by_name, conditional.sample(3, seed=1, labels=np.array([0, 2, 1])))
    for_all = conditional.sample(3, seed=1, labels="two")
    assert_same_pixels(for_all, conditional.sample(3, seed=1, labels=[2, 2, 2]))
    assert np.abs(for_all.astype(int) - by_name).max() > LEVELS


def test_absent_labels_are_drawn_and_told(conditional: Model) -> None:
    labels = Sample(200, 5).chosen_labels(conditional.manifest)
    assert labels is not None
    assert set(labels.tolist()) == set(range(len(LABELS)))
    assert_same_pixels(
        conditional.sample(200, seed=5), conditional.sample(200, seed=5, labels=labels)
    )
    later = Sample(50, 5, 20).chosen_labels(conditional.manifest)
    assert later is not None
    assert later.tolist() == labels[20:70].tolist()


def test_a_given_label_does_not_disturb_the_latents(conditional: Model) -> None:
    drawn = conditional.sample(1, seed=5)
    label = Sample(1, 5).chosen_labels(conditional.manifest)
    assert label is not None
    assert_same_pixels(conditional.sample(1, seed=5, labels=int(label[0])), drawn)


def test_stream_in_order_with_labels_for_each(conditional: Model) -> None:
    labels = [i % 3 for i in range(100)]
    streamed = np.concatenate(list(conditional.stream(100, seed=2, labels=labels)))
    assert_same_pixels(streamed, conditional.sample(100, seed=2, labels=labels))


def test_leaving_a_stream_cancels_what_is_ahead(artifacts: Path) -> None:
    artifact = read_artifact(artifacts / "tiny-plain")
    engine = open_reference(artifact)
    backend, recorder = FakeBackend(engine, free=1), Recorder()
    backend.gate.clear()
    with Model(artifact, backend, batch=4, runners=1, observer=recorder) as model:
        stream = model.stream(1000, seed=1)
        next(stream)
        for _ in range(2):  # the first batch, and the second, which is held in the engine
            assert backend.entered.acquire(timeout=WAIT)
        assert model.queued > 0
        stream.close()  # pyright: ignore[reportAttributeAccessIssue]
        assert model.queued == 0
        backend.gate.set()
    assert ("rejected", 4, "cancelled") in recorder.events


def test_a_stream_has_no_more_than_its_window_under_way(artifacts: Path) -> None:
    artifact = read_artifact(artifacts / "tiny-plain")
    backend, recorder = FakeBackend(open_reference(artifact)), Recorder()
    capacity = FixedCapacity(3)  # fewer than a batch: as where images are large
    with Model(
        artifact, backend, batch=4, runners=2, capacity=capacity, observer=recorder
    ) as model:
        job = Sample(1000, 1).job(model)
        parts = model.parts(job)
        assert next(parts).result(WAIT).shape[0] == model.run_rows(job) == 3
        assert sum(e[1] for e in recorder.events if e[0] == "queued") == model.window(job) == 15
        parts.close()


def test_streaming_takes_no_memory_for_labels(conditional: Model) -> None:
    tracemalloc.start()
    next(conditional.stream(50_000_000, seed=1))
    next(conditional.stream(50_000_000, seed=1, labels="two"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20  # one byte a label would already be 48 MB


def test_warming_runs_every_graph_at_every_batch(artifacts: Path) -> None:
    artifact = read_artifact(artifacts / "tiny-vae")
    engine = open_reference(artifact)
    backend = FakeBackend(engine)
    with Model(artifact, backend, batch=artifact.manifest.max_batch, runners=1) as model:
        assert model.images_per_second is None
        model.warm()
        assert model.images_per_second
    timed = 1  # of the main graph, once it is warm
    assert len(backend.batches) == 2 * len(artifact.manifest.batches) + timed


def test_encode_reconstruct_and_posterior(vae: Model) -> None:
    images = vae.sample(20, seed=3)
    posterior = vae.encode(images)
    assert posterior.mean.shape == posterior.log_variance.shape == (20, 2)
    alone = vae.encode(images[4:5])
    # Sums of float32 in another order: values of about 1 differ by some 1e-6.
    np.testing.assert_allclose(alone.mean[0], posterior.mean[4], atol=1e-5)
    assert_same_pixels(vae.reconstruct(images), vae.decode(posterior.mean))
    parts = list(vae.batches(Reconstruct(images)))
    assert len(parts) > 1
    assert_same_pixels(np.concatenate(parts), vae.reconstruct(images))
    drawn = posterior.sample(seed=9)
    noise = normals(Counter(9, 0, 20), Stream.POSTERIOR_NOISE, 2)
    expected = posterior.mean + np.exp(posterior.log_variance / 2) * noise
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    assert not np.array_equal(drawn, posterior.sample(seed=10))


@pytest.mark.parametrize("kind", ["slerp", "lerp"])
def test_interpolate_ends_at_its_ends(plain: Model, kind: Any) -> None:
    a, b = plain.latents(2, seed=1)
    images = plain.interpolate(a, b, 9, kind)
    assert_same_pixels(images[[0, -1]], plain.decode(np.stack([a, b])))
    assert len(images) == 9


def test_manifold_is_a_grid_of_quantiles(vae: Model) -> None:
    images = vae.manifold(5)
    assert images.shape == (25, 8, 8, 1)
    assert_same_pixels(images[12:13], vae.decode([[0.0, 0.0]]))


def test_the_highest_version_is_loaded(tmp_path: Path) -> None:
    from tests.tiny import write_artifact

    for version in (1, 2, 10):
        write_artifact(tmp_path, version=version, seed=version)
    with runtime.load(tmp_path / "tiny-plain") as model:
        assert model.manifest.version == 10
    with runtime.load(tmp_path / "tiny-plain" / "2") as model:
        assert model.manifest.version == 2


def test_bare_names_are_looked_up(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSERVE_ARTIFACTS", str(artifacts))
    for name in ("tiny-vae", "tiny-vae@1"):
        with runtime.load(name) as model:
            assert model.manifest.name == "tiny-vae"


BAD_REQUESTS = {
    "n of none": (Sample(0, 1), "n: expected an integer from 1 to .*, found 0"),
    "n absent": (Sample(seed=1), "n: expected a number of images, or seeds, found neither"),
    "n true": (Sample(True, 1), "n: expected an integer .* found True"),
    "n a float": (Sample(2.0, 1), "n: expected an integer .* found 2.0"),  # pyright: ignore
    "no seed": (Sample(1), r"seed: expected an integer in \[0, 9007199254740992\), found none"),
    "seed below 0": (Sample(1, -1), "seed: expected an integer from 0 .* found -1"),
    "seed too large": (Sample(1, 2**53), "seed: expected .* found 9007199254740992"),
    "offset below 0": (Sample(1, 1, -3), "offset: expected .* found -3"),
    "both": (Sample(2, 1, seeds=[1, 2]), "seeds: expected either seeds, or seed"),
    "no seeds": (Sample(seeds=[]), "seeds: expected at least one seed, found 0"),
    "bad seed": (Sample(seeds=[1, -2]), r"seeds\[1\]: expected .* found -2"),
    "labels": (Sample(1, 1, labels=0), "labels: expected none: tiny-plain has no classes, found 0"),
    "truncation": (Sample(1, 1, truncation=0), "truncation: expected a number above 0 .* found 0"),
    "NaN truncation": (Sample(1, 1, truncation=float("nan")), "truncation: .* found nan"),
    "latent shape": (Decode([[1.0, 2.0]]), r"latents: expected .* \['n', 4\], .* shape \[1, 2\]"),
    "no latents": (Decode(np.zeros((0, 4))), r"latents: expected .* found shape \[0, 4\]"),
    "NaN": (Decode([[0, 0, 0, 0], [0, 0, 0, np.nan]]), "latents: expected finite .* in row 1"),
    "infinity": (Decode([[0, 0, 0, np.inf]]), "latents: expected finite .* in row 0"),
    "words": (Decode([["a", "b", "c", "d"]]), "latents: expected float32 .* found <U1"),
    "ragged": (Decode([[1.0], [1.0, 2.0]]), "latents: expected float32 .* found no array"),
    "seeds no list": (Sample(seeds=5), "seeds: expected a sequence of seeds, found 5"),  # pyright: ignore
    "interpolate kind": (Interpolate([0] * 4, [1] * 4, 5, "arc"), "kind: expected 'slerp'"),  # pyright: ignore
    "interpolate steps": (Interpolate([0] * 4, [1] * 4, 1), "steps: expected an integer from 2"),
    "ragged end": (Interpolate([0] * 4, [[1], [1, 2]], 5), "b: expected float32 .* no array"),
    "short end": (Interpolate([0] * 3, [1] * 4, 5), r"a: expected .* found shape \[3\]"),
    "nothing to reconstruct by": (
        Reconstruct(np.zeros((1, 8, 8, 3), np.uint8)),
        "model: expected one with an encoder",
    ),
    "no encoder": (Encode(np.zeros((1, 8, 8, 3), np.uint8)), "model: expected one with an encoder"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests_name_field_expected_and_found(plain: Model, name: str) -> None:
    request, message = BAD_REQUESTS[name]
    with pytest.raises(InputError, match=f"^{message}"):
        plain.submit(request)  # pyright: ignore


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("nine", r"labels: expected one of \['zero', .*\], or an index below 3, found 'nine'"),
        (3, "labels: expected .* found 3"),
        (-1, "labels: expected .* found -1"),
        ([0, True], r"labels\[1\]: expected .* found True"),
        ([0, 1, 2], "labels: expected 1 or 2 labels, found 3"),
        ([], "labels: expected 1 or 2 labels, found 0"),
        (1.5, "labels: expected one of .* found 1.5"),
        ("3", "labels: expected one of .* found 3"),
        ("-1", "labels: expected one of .* found '-1'"),
    ],
)
def test_bad_labels(conditional: Model, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        conditional.sample(2, seed=0, labels=labels)


def test_labels_as_text_or_numpy_numbers_are_indices(conditional: Model) -> None:
    expected = conditional.sample(2, seed=0, labels=[1, 1])
    for labels in ("1", ["1"], np.int64(1), np.array(1), (1, "1"), np.array([1, 1], np.int32)):
        assert_same_pixels(conditional.sample(2, seed=0, labels=labels), expected)
        streamed = list(conditional.stream(2, seed=0, labels=labels))
        assert_same_pixels(np.concatenate(streamed), expected)


@pytest.mark.parametrize("name", ["batch", "queue_images", "runners", "threads"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_bad_limits(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"limits.{name}: expected an integer from 1"):
        Limits(**{name: value})


def test_decoding_needs_labels_where_the_model_does(conditional: Model) -> None:
    with pytest.raises(InputError, match="labels: expected one of .* found none"):
        conditional.decode(np.zeros((1, 6)))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((1, 8, 8, 1), np.float32),
        np.zeros((0, 8, 8, 1), np.uint8),
    ],
)
def test_bad_images(vae: Model, images: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"images: expected uint8 of shape \['n', 8, 8, 1\]"):
        vae.encode(images)


def test_bad_input_loses_nothing(plain: Model) -> None:
    good = plain.submit(Sample(30, 1))
    with pytest.raises(InputError):
        plain.decode([[np.nan] * 4])
    assert len(good.result()) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "magic"}, "backend: expected one of .* found 'magic'"),
        ({"precision": "int3"}, r"precision: expected one of \('auto', 'fp32', .*\), found 'int3'"),
        (
            {"precision": "fp16"},
            r"precision: expected one that runs here: \('auto', .*'fp32'\), found 'fp16'",
        ),
    ],
)
def test_bad_options(artifacts: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        runtime.load(artifacts / "tiny-plain", **options)


def test_a_gpu_asked_for_and_absent_is_an_error(artifacts: Path) -> None:
    with pytest.raises(runtime.EngineError, match=r"'\.\[onnx-gpu\]'"):
        runtime.load(artifacts / "tiny-plain", device="cuda")


def test_a_closed_model_says_so(artifacts: Path) -> None:
    model = runtime.load(artifacts / "tiny-plain")
    model.close()
    for use in (lambda: model.sample(1, seed=1), lambda: model.sample(2, seed=1), model.warm):
        with pytest.raises(runtime.EngineError, match="closed: load it again"):
            use()
