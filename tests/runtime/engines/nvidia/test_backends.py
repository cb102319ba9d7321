"""The GPU backends as `load` opens them, on fake GPUs: all of our code, none of NVIDIA's."""

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import Limits
from runtime.engines.nvidia import devices
from runtime.engines.nvidia.cuda import CudaRuntime, import_cuda
from runtime.engines.nvidia.plans import names
from runtime.errors import EngineError, InputError
from tests.runtime.engines.nvidia.fakes import (
    FakeCuda,
    FakeSession,
    FakeTensorRT,
    fake_gpu,
    plan_note,
)
from tests.tiny import write_artifact

Build = Callable[..., list[str | None]]


def on_tensorrt(folder: Path, cache: Path, **options: object) -> runtime.Model:
    return runtime.load(folder, backend="tensorrt", cache=cache, **options)  # pyright: ignore


@pytest.mark.parametrize("kind", ["plain", "conditional", "vae"])
def test_images_are_those_of_the_cpu(
    artifacts: Path, tmp_path: Path, build: Build, cuda: FakeCuda, kind: str
) -> None:
    folder = artifacts / f"tiny-{kind}"
    assert build(folder) == []
    with (
        on_tensorrt(folder, tmp_path) as model,
        runtime.load(folder, backend="onnxruntime", precision="fp32", device="cpu") as reference,
    ):
        assert model.engine.startswith("tensorrt 11.4.0.106, fp32 on 1 GPU (Fake H), 2 lanes, ")
        assert model.max_batch == 16
        for n in (1, 3, 16, 17, 100):
            found, expected = model.sample(n, seed=n), reference.sample(n, seed=n)
            assert np.array_equal(found, expected)
        streamed = np.concatenate(list(model.stream(50, seed=9)))
        assert np.array_equal(streamed, reference.sample(50, seed=9))
        if kind == "vae":
            assert np.allclose(model.encode(found).mean, reference.encode(found).mean, atol=1e-6)
        model.warm()
    assert cuda.launches > 0  # graphs ran, not single calls


@pytest.mark.parametrize("kind", ["plain", "conditional", "vae"])
def test_onnx_runtime_gives_the_images_of_the_cpu(
    artifacts: Path,
    tmp_path: Path,
    onnxruntime_cuda: list[FakeSession],
    kind: str,
) -> None:
    folder = artifacts / f"tiny-{kind}"
    options = {"backend": "onnxruntime", "precision": "fp32", "cache": tmp_path}
    with (
        runtime.load(folder, device="cuda", **options) as model,  # pyright: ignore
        runtime.load(folder, device="cpu", **options) as reference,  # pyright: ignore
    ):
        assert model.engine.startswith("onnxruntime ")
        assert " cuda, fp32 on 1 GPU (Fake H), 2 lanes, " in model.engine
        assert model.max_batch == 256
        model.warm()
        for n in (1, 3, 16, 17, 100, 300):
            assert np.array_equal(model.sample(n, seed=n), reference.sample(n, seed=n))
        images = model.sample(9, seed=1)
        if kind == "vae":
            assert np.allclose(model.encode(images).mean, reference.encode(images).mean, atol=1e-6)
        # A session a lane and graph; each in a thread of its own, to which its CUDA graphs belong.
        assert len(onnxruntime_cuda) == (4 if kind == "vae" else 2)
        assert all(len(session.threads) == 1 for session in onnxruntime_cuda)
        settings = onnxruntime_cuda[0].options
        assert (settings["enable_cuda_graph"], settings["use_tf32"]) == ("1", "0")
    onnxruntime_cuda.clear()


def test_noise_of_an_encoder_reaches_the_engine(
    tmp_path: Path, build: Build, cuda: FakeCuda
) -> None:
    folder = write_artifact(tmp_path, "vae", noise=True)
    assert build(folder) == []
    with (
        on_tensorrt(folder, tmp_path) as model,
        runtime.load(folder, backend="onnxruntime", precision="fp32", device="cpu") as reference,
    ):
        images = model.sample(40, seed=1)
        found, expected = model.encode(images, seed=7), reference.encode(images, seed=7)
        np.testing.assert_allclose(found.latents, expected.latents, atol=1e-6)
        np.testing.assert_allclose(found.log_density, expected.log_density, atol=1e-5)
        assert np.array_equal(model.reconstruct(images), reference.reconstruct(images))
        model.warm()


def test_threads_share_the_lanes(artifacts: Path, tmp_path: Path, build: Build) -> None:
    folder = artifacts / "tiny-plain"
    build(folder)
    with on_tensorrt(folder, tmp_path) as model:
        results: dict[int, np.ndarray] = {}

        def sample(seed: int) -> None:
            results[seed] = model.sample(40, seed=seed)

        threads = [threading.Thread(target=sample, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for seed, images in results.items():
            assert np.array_equal(images, model.sample(40, seed=seed))


def test_several_gpus_give_the_same_images(
    artifacts: Path,
    tmp_path: Path,
    build: Build,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = artifacts / "tiny-conditional"
    build(folder)
    with on_tensorrt(folder, tmp_path) as model:
        expected = model.sample(200, seed=0)
    monkeypatch.setattr(devices, "gpus", lambda: (fake_gpu(0), fake_gpu(1)))
    with on_tensorrt(folder, tmp_path) as model:
        assert "on 2 GPUs (Fake H), 4 lanes" in model.engine
        assert set(cuda.streams.values()) == {0, 1}
        assert cuda.used[0] == cuda.used[1] > 0
        assert np.array_equal(model.sample(200, seed=0), expected)


def test_without_a_plan_tensorrt_is_an_error_with_the_command(
    artifacts: Path, tmp_path: Path, tensorrt: FakeTensorRT
) -> None:
    folder = artifacts / "tiny-plain" / "1"
    with pytest.raises(EngineError) as error:
        on_tensorrt(folder, tmp_path)
    assert str(error.value) == (
        "no tensorrt plan of decode.onnx for Fake H (compute capability 9.0) and tensorrt "
        f"11.4.0.106: build it by `python -m export engine {folder} --flavor tensorrt "
        "--precision fp32`"
    )


def test_a_stale_plan_is_named(
    artifacts: Path, tmp_path: Path, build: Build, tensorrt: FakeTensorRT
) -> None:
    build(artifacts / "tiny-plain")
    tensorrt.__version__ = "11.5.0.1"
    with pytest.raises(EngineError, match=r"there is one of tensorrt 11\.4\.0\.106 for compute"):
        on_tensorrt(artifacts / "tiny-plain", tmp_path)


def test_left_open_a_missing_plan_is_one_warning(
    artifacts: Path, tmp_path: Path, tensorrt: FakeTensorRT, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        runtime.load(artifacts / "tiny-plain", cache=tmp_path) as model,
    ):
        assert "tensorrt" not in model.engine
    warnings = [r.getMessage() for r in caplog.records if r.name == "runtime.engines.registry"]
    assert len(warnings) == 1
    assert "python -m export engine" in warnings[0]


def test_left_open_a_plan_is_chosen_when_it_is_built(
    artifacts: Path, tmp_path: Path, build: Build, tensorrt: FakeTensorRT
) -> None:
    folder = artifacts / "tiny-plain"
    with runtime.load(folder, cache=tmp_path) as model:
        assert "tensorrt" not in model.engine
    build(folder)
    # What was chosen without it is not asked for again.
    with runtime.load(folder, cache=tmp_path) as model:
        assert "tensorrt" in model.engine


def test_a_wrong_engine_is_not_kept(
    artifacts: Path, tmp_path: Path, build: Build, tensorrt: FakeTensorRT
) -> None:
    def wrong_in_batches(images: np.ndarray, batch: int) -> np.ndarray:
        if batch > 1:
            images[-1] = 255 - images[-1]
        return images

    tensorrt.wrong = wrong_in_batches
    errors = build(artifacts / "tiny-plain")
    assert len(errors) == 2
    assert all("differs from the reference by up to" in str(error) for error in errors)
    kept = [name for folder in (tmp_path / "plans").iterdir() for name in folder.iterdir()]
    assert {path.stem for path in kept} == {"tensorrt-11.4.0.106-sm90-fp32-b1"}


def test_equal_rows_that_differ_are_not_kept(
    artifacts: Path, tensorrt: FakeTensorRT, build: Build
) -> None:
    seen: list[int] = []

    def uneven(images: np.ndarray, batch: int) -> np.ndarray:
        equal = batch > 1 and (images == images[:1]).all() and images.std() > 0
        if equal and len(seen) > 0:
            images[1] = np.where(images[1] < 128, images[1] + 2, images[1] - 2)
        seen.append(batch)
        return images

    tensorrt.wrong = uneven
    (error,) = build(artifacts / "tiny-plain", batches=(4,))
    assert "equal rows differ by up to 2" in str(error)


def test_a_plan_that_no_gpu_has_run_is_verified_when_it_is_loaded(
    artifacts: Path,
    tmp_path: Path,
    build: Build,
    tensorrt: FakeTensorRT,
) -> None:
    folder = artifacts / "tiny-plain"
    build(folder, batches=(1, 4))
    (records,) = (list(folder.glob("*.json")) for folder in (tmp_path / "plans").iterdir())
    for record in records:
        record.write_text(record.read_text().partition('"verified"')[0] + '"verified": null}')
    with on_tensorrt(folder, tmp_path) as model:
        assert model.max_batch == 4
    assert all('"max_difference"' in record.read_text() for record in records)
    for record in records:
        record.write_text(record.read_text().partition('"verified"')[0] + '"verified": null}')
    tensorrt.wrong = lambda images, batch: 255 - images
    with pytest.raises(EngineError, match="differs from the reference"):
        on_tensorrt(folder, tmp_path)
    assert len(list((tmp_path / "plans").rglob("*.plan"))) == 1  # the wrong one is gone


def test_out_of_memory_means_smaller_buckets_and_the_same_images(
    artifacts: Path,
    tmp_path: Path,
    build: Build,
    cuda: FakeCuda,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = artifacts / "tiny-plain"
    build(folder, batches=(1, 4, 16, 64))
    with on_tensorrt(folder, tmp_path) as model:
        expected = model.sample(100, seed=1)
        assert model.max_batch == 64
    # A row takes 16 bytes in, 40 to draw it and 192 out; a lane 4,096 of scratch.
    cuda.memory = 2 * (4096 + (16 + 4 + 1) * 248)
    with caplog.at_level(logging.WARNING), on_tensorrt(folder, tmp_path) as model:
        assert np.array_equal(model.sample(100, seed=1), expected)
        assert (model.max_batch, ", 2 lanes, " in model.engine) == (16, True)
    told = [r.getMessage() for r in caplog.records if r.name == "runtime.engines.nvidia.lanes"]
    assert len(told) == 1
    assert "not enough device memory for batches of 64: going on with 16" in told[0]
    caplog.clear()
    cuda.memory = 4096 + (4 + 1) * 248
    with caplog.at_level(logging.WARNING), on_tensorrt(folder, tmp_path) as model:
        assert np.array_equal(model.sample(100, seed=1), expected)
        assert (model.max_batch, ", 1 lanes, " in model.engine) == (4, True)
    assert "going on with 1 lanes on Fake H" in caplog.text
    cuda.memory = 4096
    with pytest.raises(EngineError, match="not enough device memory for batches of 1"):
        on_tensorrt(folder, tmp_path)


def test_a_plan_of_another_model_of_gpu_is_verified_again(
    artifacts: Path,
    tmp_path: Path,
    build: Build,
    tensorrt: FakeTensorRT,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = artifacts / "tiny-plain"
    build(folder, batches=(4,))
    (record,) = (tmp_path / "plans").rglob("*.json")
    first = record.read_text()
    on_tensorrt(folder, tmp_path).close()
    assert record.read_text() == first
    # The same capability, another model of GPU.
    monkeypatch.setattr(devices, "gpus", lambda: (replace(fake_gpu(), name="Fake I"),))
    on_tensorrt(folder, tmp_path).close()
    assert '"gpu": "Fake I"' in record.read_text().partition('"verified"')[2]
    monkeypatch.setattr(devices, "gpus", lambda: (replace(fake_gpu(), name="Fake J"),))
    tensorrt.wrong = lambda images, batch: 255 - images
    with pytest.raises(EngineError, match="differs from the reference"):
        on_tensorrt(folder, tmp_path)
    assert not record.exists()


def test_every_size_of_a_dynamic_plan_is_verified(
    artifacts: Path, tmp_path: Path, build: Build, tensorrt: FakeTensorRT
) -> None:
    from export.engine import parse_buckets

    tensorrt.wrong = lambda images, batch: 255 - images if batch == 8 else images
    (error,) = build(artifacts / "tiny-plain", buckets=parse_buckets((), (1, 8, 32)))
    assert "at batch 8: differs" in str(error)


def test_no_room_is_no_reason_to_forget_a_plan(
    artifacts: Path, tmp_path: Path, build: Build, cuda: FakeCuda
) -> None:
    folder = artifacts / "tiny-plain"
    build(folder, batches=(4,))
    (record,) = (tmp_path / "plans").rglob("*.json")
    record.write_text(record.read_text().partition('"verified"')[0] + '"verified": null}')
    cuda.memory = 4096
    with pytest.raises(EngineError, match="not enough device memory"):
        on_tensorrt(folder, tmp_path)
    assert record.exists()


def test_left_open_a_plan_that_fails_is_not_the_only_way(
    artifacts: Path,
    tmp_path: Path,
    build: Build,
    onnxruntime_cuda: list[FakeSession],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = artifacts / "tiny-plain"
    build(folder, batches=(4,))
    runtime.load(folder, cache=tmp_path).close()
    for path in (tmp_path / "plans").rglob("*.plan"):
        path.write_bytes(b"damaged")
    for choice in (tmp_path / "choices").iterdir():  # whatever was the faster
        text = choice.read_text().replace('"engine": "onnxruntime"', '"engine": "tensorrt"')
        choice.write_text(text)
    with caplog.at_level(logging.WARNING), runtime.load(folder, cache=tmp_path) as model:
        assert model.engine.startswith("onnxruntime")
        assert len(model.sample(5, seed=0)) == 5
    assert "tensorrt fp32 plain on cuda is left out" in caplog.text
    onnxruntime_cuda.clear()


def test_limits_below_every_bucket_are_padded(
    artifacts: Path, tmp_path: Path, build: Build
) -> None:
    build(artifacts / "tiny-vae", batches=(4, 16))
    with (
        on_tensorrt(artifacts / "tiny-vae", tmp_path, limits=Limits(batch=2)) as model,
        runtime.load(artifacts / "tiny-vae", device="cpu", precision="fp32") as reference,
    ):
        assert model.max_batch == 2
        assert np.array_equal(model.sample(9, seed=0), reference.sample(9, seed=0))


def test_limits_bound_the_buckets(artifacts: Path, tmp_path: Path, build: Build) -> None:
    build(artifacts / "tiny-plain", batches=(1, 4, 16, 64))
    limits = Limits(batch=16, runners=1)
    with on_tensorrt(artifacts / "tiny-plain", tmp_path, limits=limits) as model:
        assert model.max_batch == 16
        assert ", 1 lanes, " in model.engine


def test_only_bytes_are_copied_out(
    artifacts: Path, tmp_path: Path, build: Build, cuda: FakeCuda
) -> None:
    build(artifacts / "tiny-plain", batches=(4,))
    with on_tensorrt(artifacts / "tiny-plain", tmp_path, limits=Limits(runners=1)) as model:
        before = cuda.copied_out
        model.sample(4, seed=0)
        assert cuda.copied_out - before == 4 * 8 * 8 * 3


def test_a_plan_of_other_inputs_is_refused(
    artifacts: Path, tmp_path: Path, build: Build, tensorrt: FakeTensorRT
) -> None:
    from runtime.artifact.reading import read_artifact
    from runtime.engines.nvidia.plans import Plan, find, store

    build(artifacts / "tiny-plain", batches=(4,))
    build(artifacts / "tiny-vae", batches=(4,))
    import hashlib

    def plan_of(kind: str) -> Plan:
        data = read_artifact(artifacts / f"tiny-{kind}").files["decode.onnx"]
        onnx = hashlib.sha256(data).hexdigest()
        return find(tmp_path, onnx, "tensorrt", "fp32", "11.4.0.106", (9, 0))[0]

    plain, vae = plan_of("plain"), plan_of("vae")
    store(tmp_path, plain.key, vae.data, built={}, verified={})
    with pytest.raises(EngineError, match=r"b4\.plan: expected .*'latents'.* the engine has"):
        on_tensorrt(artifacts / "tiny-plain", tmp_path)


def test_what_a_plan_is_built_with(
    artifacts: Path, tmp_path: Path, build: Build, tensorrt: FakeTensorRT
) -> None:
    build(artifacts / "tiny-plain", batches=(4,))
    (path,) = (tmp_path / "plans").rglob("*.plan")
    assert path.stem == "tensorrt-11.4.0.106-sm90-fp32-b4"
    note = plan_note(path.read_bytes())
    assert (note["flags"], note["profiles"]) == ([], [])
    timing = list((tmp_path / "timing").iterdir())
    assert "tensorrt-11.4.0.106-sm9.0.cache" in [path.name for path in timing]


def test_a_damaged_timing_cache_is_replaced(artifacts: Path, tmp_path: Path, build: Build) -> None:
    (tmp_path / "timing").mkdir()
    cache = tmp_path / "timing" / "tensorrt-11.4.0.106-sm9.0.cache"
    cache.write_bytes(b"garbage")
    build(artifacts / "tiny-plain", batches=(4,))
    assert cache.read_bytes().startswith(b"timed")
    build(artifacts / "tiny-plain", batches=(16,))
    assert cache.read_bytes() == b"timedtimed"


def test_one_dynamic_plan_runs_a_range(artifacts: Path, tmp_path: Path, build: Build) -> None:
    from export.engine import parse_buckets

    folder = artifacts / "tiny-conditional"
    build(folder, buckets=parse_buckets((), (1, 8, 32)))
    (path,) = (tmp_path / "plans").rglob("*.plan")
    assert path.stem.endswith("-b1-8-32")
    assert plan_note(path.read_bytes())["profiles"] == [
        {"latents": [[1, 6], [8, 6], [32, 6]], "labels": [[1], [8], [32]]}
    ]
    with (
        on_tensorrt(folder, tmp_path) as model,
        runtime.load(folder, backend="onnxruntime", device="cpu", precision="fp32") as reference,
    ):
        assert model.max_batch == 32
        assert np.array_equal(model.sample(41, seed=2), reference.sample(41, seed=2))


def test_the_names_of_plans_are_part_of_the_choice(tmp_path: Path) -> None:
    assert names(tmp_path, "a" * 64) == []


def test_what_cannot_run_is_refused(artifacts: Path, tmp_path: Path) -> None:
    folder = artifacts / "tiny-plain"
    with pytest.raises(EngineError, match=r"no CUDA provider: run .*'\.\[onnx-gpu\]'"):
        runtime.load(folder, device="cuda", backend="onnxruntime")
    with pytest.raises(EngineError, match=r"tensorrt cannot be imported .*'\.\[tensorrt\]'"):
        runtime.load(folder, backend="tensorrt")
    with pytest.raises(EngineError, match=r"no NVIDIA GPU is visible|'\.\[tensorrt-rtx\]'"):
        runtime.load(folder, backend="tensorrt-rtx")
    with pytest.raises(InputError, match="device: expected 'cuda' or 'auto' with backend 'tens"):
        runtime.load(folder, backend="tensorrt", device="cpu")
    with pytest.raises(InputError, match="backend: expected one of"):
        runtime.load(folder, backend="tensorflow")


def test_without_cuda_bindings_the_install_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    import_cuda.cache_clear()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineError, match=r"cuda-bindings cannot be imported .*run pip install"):
        CudaRuntime(0)
    import_cuda.cache_clear()
