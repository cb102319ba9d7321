"""diffusers' own `remote_decode` and `remote_encode`, unchanged, against the service."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from bento.protocols.remote_vae.tensors import read_tensor, write_tensor
from bento.repository.models import Models
from bento.settings import Settings
from export.torchvision_operators import declare_operators
from runtime import Model
from tests.bento.support import listening, loaded
from tests.sized import write_sized

declare_operators()
remote = pytest.importorskip("diffusers.utils.remote_utils")

FACTOR, SHIFT = 0.18215, 0.1159
SCALED = {"scaling_factor": FACTOR, "shift_factor": SHIFT}
SIZE = (24, 20)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    root = tmp_path_factory.mktemp("vae")
    provenance = {"source": "tests", "details": SCALED}
    write_sized(root, prior="none", provenance=provenance)
    with loaded(root) as models:
        yield models


@pytest.fixture(scope="module")
def model(models: Models) -> Model:
    return models.get(None)


@pytest.fixture(scope="module")
def url(models: Models) -> Iterator[str]:
    with listening(models) as address:
        yield f"{address}/remote_vae/tiny-sized"


def latents_of(count: int = 1, dtype: str = "float32") -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (count, 2, SIZE[0] // 2, SIZE[1] // 2)
    return torch.randn(shape, generator=generator).to(DTYPES[dtype])


def decoded(model: Model, latents: torch.Tensor) -> Any:
    return model.decode(latents.float().numpy()).astype(int)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_picture_comes_as_png_or_jpeg(url: str, model: Model, dtype: str) -> None:
    latents = latents_of(dtype=dtype)
    expected = decoded(model, latents)[0]
    made = remote.remote_decode(f"{url}/decode", latents, **SCALED, image_format="png")
    assert made.format == "png"
    assert np.abs(np.asarray(made).astype(int) - expected).max() <= 1
    made = remote.remote_decode(f"{url}/decode", latents, **SCALED)
    assert (made.format, made.size) == ("jpeg", SIZE[::-1])
    assert np.abs(np.asarray(made).astype(int) - expected).mean() < 16


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_come_as_bytes_or_as_floats(url: str, model: Model, dtype: str) -> None:
    latents = latents_of(3, dtype)
    expected = decoded(model, latents)
    pt = {"output_type": "pt", "return_type": "pt", **SCALED}
    partial = remote.remote_decode(f"{url}/decode", latents, **pt, partial_postprocess=True)
    assert partial.dtype == torch.uint8
    assert np.abs(partial.numpy().astype(int) - expected).max() <= 1
    floats = remote.remote_decode(f"{url}/decode", latents, **pt)
    assert floats.dtype == DTYPES[dtype]
    levels = (floats.float().permute(0, 2, 3, 1).numpy() + 1) * 127.5
    assert np.abs(levels - expected).max() <= 1 + (0.5 if dtype == "bfloat16" else 0.1)


def test_a_processor_makes_pictures_of_floats(url: str, model: Model) -> None:
    from diffusers.image_processor import VaeImageProcessor

    latents = latents_of()
    made = remote.remote_decode(
        f"{url}/decode", latents, VaeImageProcessor(), output_type="pt", **SCALED
    )
    assert np.abs(np.asarray(made).astype(int) - decoded(model, latents)[0]).max() <= 1


def test_latents_are_scaled_as_the_client_says(url: str, model: Model) -> None:
    latents, pt = latents_of(), {"output_type": "pt", "partial_postprocess": True}
    expected = decoded(model, latents)[0]
    own = latents / FACTOR + SHIFT

    def difference(given: torch.Tensor, **options: Any) -> int:
        made = remote.remote_decode(f"{url}/decode", given, **pt, **options)
        return int(np.abs(np.asarray(made).astype(int) - expected).max())

    with pytest.warns(FutureWarning, match="do_scaling"):
        assert difference(latents) <= 1  # by the model's own factor
    assert difference(own, do_scaling=False) <= 1
    assert difference(own * 0.5, scaling_factor=0.5) <= 1
    assert difference((own - 0.25) * 2, scaling_factor=2.0, shift_factor=0.25) <= 1
    assert difference(own, **SCALED) > 30


def test_a_mean_and_a_deviation_for_each_channel(tmp_path: Path) -> None:
    details = {"scaling_factor": 0.5, "shift_factor": 0.0}
    details |= {"latents_mean": [0.5, -1.0], "latents_std": [2.0, 3.0]}
    write_sized(tmp_path, prior="none", provenance={"source": "tests", "details": details})
    models = Models(Settings(artifacts=tmp_path, backend="onnxruntime", load_seconds=0))
    models.load()
    latents, model = latents_of(), models.get(None)
    mean, std = torch.tensor([0.5, -1.0])[:, None, None], torch.tensor([2.0, 3.0])[:, None, None]
    pixels = picture()
    with listening(models) as address:
        url = f"{address}/remote_vae/tiny-sized"
        for given, options in (
            (latents, {"scaling_factor": 0.5}),
            (latents * std / 0.5 + mean, {"do_scaling": False}),
        ):
            made = remote.remote_decode(f"{url}/decode", given, image_format="png", **options)
            expected = decoded(model, latents)[0]
            assert np.abs(np.asarray(made).astype(int) - expected).max() <= 1
        own = remote.remote_encode(f"{url}/encode", Image.fromarray(pixels))
    expected = model.encode(pixels[None]).mean
    np.testing.assert_allclose(((own - mean) * 0.5 / std).numpy(), expected, atol=1e-4)
    models.close()


def test_packed_latents_are_unpacked(url: str, model: Model) -> None:
    latents = latents_of()
    n, c, h, w = latents.shape
    cells = latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    packed = cells.reshape(n, h // 2 * (w // 2), 4 * c)
    made = remote.remote_decode(
        f"{url}/decode", packed, height=SIZE[0], width=SIZE[1], image_format="png", **SCALED
    )
    assert np.abs(np.asarray(made).astype(int) - decoded(model, latents)[0]).max() <= 1
    with pytest.raises(RuntimeError, match="packed"):
        remote.remote_decode(f"{url}/decode", packed, height=28, width=20, **SCALED)


def picture(height: int = SIZE[0], width: int = SIZE[1]) -> Any:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_is_encoded(url: str, model: Model) -> None:
    for size in (SIZE, (130, 20)):  # the latter larger than the artifact takes at once
        pixels = picture(*size)
        mean = model.encode(pixels[None]).mean
        scaled = remote.remote_encode(f"{url}/encode", Image.fromarray(pixels), **SCALED)
        assert scaled.dtype == torch.float32
        np.testing.assert_allclose(scaled.numpy(), mean, atol=1e-5)
        own = remote.remote_encode(f"{url}/encode", Image.fromarray(pixels))
        np.testing.assert_allclose((own.numpy() - SHIFT) * FACTOR, mean, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_are_encoded(url: str, model: Model, dtype: str) -> None:
    pixels = picture()
    mean = model.encode(pixels[None]).mean
    levels = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    tolerance = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 4e-2}[dtype]
    for values in (levels / 255, levels / 127.5 - 1):
        # Contiguous: of others the client sends memory that it has given back.
        given = values.to(DTYPES[dtype]).contiguous()
        sent = remote.remote_encode(f"{url}/encode", given, **SCALED)
        assert sent.dtype == DTYPES[dtype]
        np.testing.assert_allclose(sent.float().numpy(), mean, atol=tolerance)
    sent = remote.remote_encode(f"{url}/encode", levels.contiguous(), **SCALED)
    np.testing.assert_allclose(sent.numpy(), mean, atol=1e-5)


@pytest.mark.parametrize(
    ("query", "size", "status", "field"),
    [
        ("shape=1&shape=2&shape=4&shape=4", 127, 422, "shape"),
        ("shape=1,2,4,4", 128, 200, None),
        ("shape=1,2,4,-4", 128, 422, "shape[3]"),
        ("shape=1,3,4,4", 192, 422, "latents"),
        ("shape=3,2,4,4", 384, 422, "output_type"),
        ("shape=1,4,8", 128, 422, "height"),
        ("shape=1,2,4,4&dtype=int8", 128, 422, "dtype"),
        ("shape=1,2,4,4&scaling_factor=0", 128, 422, "scaling_factor"),
        ("shape=1,2,4,4&output_type=mp4", 128, 422, "output_type"),
        ("shape=1,2,4,4&tile=3", 128, 422, "tile"),
        ("shape=1,2,4,4&pipeline=1", 128, 422, "pipeline"),
        ("dtype=float32", 128, 422, "shape"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    url: str, query: str, size: int, status: int, field: str | None
) -> None:
    headers = {"content-type": "tensor/binary"}
    reply = httpx.post(f"{url}/decode?{query}", content=b"\0" * size, headers=headers)
    assert reply.status_code == status
    if status != 200:
        assert reply.json()["field"] == field


def test_models_are_named_by_the_path(url: str) -> None:
    query, headers = "shape=1,2,4,4&output_type=pt", {"content-type": "tensor/binary"}
    named = httpx.post(f"{url}@1/decode?{query}", content=b"\0" * 128, headers=headers)
    assert named.headers["x-model"] == "tiny-sized@1"
    assert json.loads(named.headers["shape"]) == [1, 3, 8, 8]
    assert named.headers["dtype"] == "float32"
    for other in (f"{url}@2/decode", f"{url}s/decode"):
        reply = httpx.post(f"{other}?{query}", content=b"\0" * 128, headers=headers)
        assert (reply.status_code, reply.json()["field"]) == (422, "model")
    assert httpx.post(f"{url}/sample", content=b"", headers=headers).status_code == 404
    assert httpx.get(f"{url}/decode").status_code == 405
    assert httpx.post(f"{url}/decode?{query}", content=b"").status_code == 415


def test_what_is_no_picture_and_no_number_is_refused(url: str) -> None:
    reply = httpx.post(f"{url}/encode", content=b"no picture")
    assert (reply.status_code, reply.json()["field"]) == (422, "body")
    tensor = np.full((1, 3, 4, 4), np.nan, np.float32).tobytes()
    reply = httpx.post(f"{url}/encode?shape=1,3,4,4", content=tensor)
    assert (reply.status_code, reply.json()["field"]) == (422, "body")
    reply = httpx.post(f"{url}/encode?shape=3,4,4", content=tensor)
    assert (reply.status_code, reply.json()["field"]) == (422, "shape")
    headers = {"content-type": "tensor/binary"}
    reply = httpx.post(f"{url}/decode?shape=1,2,2,2", content=tensor[:32], headers=headers)
    assert (reply.status_code, reply.json()["field"]) == (422, "latents")


def test_bfloat16_is_rounded_as_torch_does() -> None:
    values = torch.cat([torch.randn(1000), torch.tensor([0.0, -0.0, 1.0, 3e38, 1e-40])])
    expected = values.to(torch.bfloat16)
    raw = write_tensor(values.numpy(), "bfloat16")
    assert raw == expected.view(torch.uint16).numpy().tobytes()
    assert np.array_equal(read_tensor(raw, (1005,), "bfloat16"), expected.float().numpy())


def test_png_without_a_media_type_reaches_the_engine_once(url: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "png")
    draws = [httpx.post(f"{url}/encode?seed=5", content=buffer.getvalue()) for _ in range(2)]
    assert draws[0].content == draws[1].content
    mean = httpx.post(f"{url}/encode", content=buffer.getvalue())
    assert mean.headers["shape"] == draws[0].headers["shape"] == "[1, 2, 12, 10]"
    assert mean.content != draws[0].content


def test_paths_of_the_service_do_not_grow_with_names(tmp_path: Path) -> None:
    from bento.traffic.calls import endpoint_of

    paths = {"/sample", "/remote_vae/{model}/decode"}
    assert endpoint_of("/remote_vae/any@3/decode", paths) == "/remote_vae/{model}/decode"
    for path in ("/remote_vae/decode", "/remote_vae/a/b/decode", "/x/a/decode", "/samples"):
        assert endpoint_of(path, paths) == "other"
