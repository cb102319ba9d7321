"""`runtime.client` against the served app: the library's arrays, errors as exceptions, retries."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed.servers import Running, ours, running
from bento.description.bentoml_client import client_schema
from bento.endpoints.decode import DecodeOptions
from bento.exchange.schemas import from_strings
from bento.repository.models import Models
from bento.settings import Settings
from runtime import InputError, Model, Posterior, PosteriorDraw, Sample
from runtime.client import AsyncClient, Client, calls
from runtime.client.replies import ArrayReader, Retries, error_of
from runtime.errors import ServiceError
from runtime.images.encoding import encode_image, encode_npy
from tests.bento.support import FP32, WAIT, listening, loaded, wait_until
from tests.bento.test_overload import busy
from tests.runtime.fakes import Recorder
from tests.sized import write_sized

KEY = "a key of 22 characters"

Asks = Callable[..., Any]
"""`asks(url, method, *arguments)`: one request of a client of its own."""


def ask_sync(url: str, method: str, *args: Any, client: dict[str, Any] | None = None, **kw: Any):
    with Client(url, **(client or {})) as own:
        made = getattr(own, method)(*args, **kw)
        return list(made) if method == "stream" else made


def ask_async(url: str, method: str, *args: Any, client: dict[str, Any] | None = None, **kw: Any):
    async def ask() -> Any:
        async with AsyncClient(url, **(client or {})) as own:
            if method == "stream":
                return [part async for part in own.stream(*args, **kw)]
            return await getattr(own, method)(*args, **kw)

    return asyncio.run(ask())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def asks(request: pytest.FixtureRequest) -> Asks:
    return request.param


@pytest.fixture(scope="module")
def url(models: Models) -> Iterator[str]:
    with listening(models) as address:
        yield address


@pytest.fixture
def vae(models: Models) -> Model:
    return models.get("tiny-vae")


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Within the one grey level that the batch may make."""
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_samples_are_the_library_s(asks: Asks, url: str, models: Models) -> None:
    plain, conditional = models.get("tiny-plain"), models.get("tiny-conditional")
    found = asks(url, "sample", "tiny-plain", 40, seed=7, offset=3)
    same(found, plain.sample(40, seed=7, offset=3))
    found[0] = 0  # one's own
    labels = ["two", 0]
    found = asks(url, "sample", "tiny-conditional@1", seeds=np.array([4, 9]), labels=labels)
    same(found, conditional.sample(seeds=[4, 9], labels=labels))
    cut = asks(url, "sample", "tiny-plain", 2, seed=1, truncation=0.5)
    same(cut, plain.sample(2, seed=1, truncation=0.5))


def test_latents_are_the_library_s(asks: Asks, url: str, vae: Model) -> None:
    images, latents = vae.sample(3, seed=1), vae.latents(3, seed=1)
    np.testing.assert_array_equal(asks(url, "latents", "tiny-vae", 3, seed=1), latents)
    same(asks(url, "decode", "tiny-vae", latents), vae.decode(latents))
    posterior = asks(url, "encode", "tiny-vae", images)
    assert isinstance(posterior, Posterior)
    np.testing.assert_allclose(posterior.mean, vae.encode(images).mean, atol=1e-5)
    draw = asks(url, "encode", "tiny-vae", images, seed=5)
    assert isinstance(draw, PosteriorDraw)
    np.testing.assert_allclose(draw.latents, vae.encode(images, seed=5).latents, atol=1e-5)
    same(asks(url, "reconstruct", "tiny-vae", images), vae.reconstruct(images))


def test_paths_and_grids_are_the_library_s(asks: Asks, url: str, vae: Model) -> None:
    a, b = vae.latents(seeds=[3, 8])
    expected = vae.interpolate(a, b, 5, "lerp")
    same(asks(url, "interpolate", "tiny-vae", a, b, 5, "lerp"), expected)
    same(asks(url, "interpolate", "tiny-vae", 3, 8, 5, "lerp"), expected)
    same(asks(url, "manifold", "tiny-vae", 4), vae.manifold(4))


def test_labels_go_with_arrays(asks: Asks, url: str, models: Models) -> None:
    model = models.get("tiny-conditional")
    latents = model.latents(2, seed=1)
    found = asks(url, "decode", "tiny-conditional", latents, labels=["one", "two"])
    same(found, model.decode(latents, ["one", "two"]))


@pytest.mark.parametrize(
    ("labels", "sent"),
    [
        ("a", "a"),
        (["a", 1], "a,1"),
        ("a, b", '["a, b"]'),
        (["a, b", 1], '["a, b", 1]'),
        ("[a]", '["[a]"]'),
        (["[a", "b"], '["[a", "b"]'),
    ],
)
def test_a_query_names_labels_as_the_service_reads_them(labels: Any, sent: str) -> None:
    asked = calls.decode("any", np.zeros((2, 2)), labels=labels)
    assert asked.query["labels"] == sent
    names = labels if isinstance(labels, list) else [labels]
    read: Any = from_strings(DecodeOptions, asked.query, 8).labels
    assert list(map(str, read)) == list(map(str, names))


def test_files_of_pictures(asks: Asks, url: str, vae: Model, tmp_path: Path) -> None:
    images = vae.sample(2, seed=1)
    for i, image in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(encode_image(image))
    files = [tmp_path / "0.png", str(tmp_path / "1.png")]
    same(asks(url, "reconstruct", "tiny-vae", files), vae.reconstruct(images))
    with pytest.raises(InputError, match=r"images: expected readable files, found .*none\.png"):
        asks(url, "reconstruct", "tiny-vae", [tmp_path / "none.png"])


def test_translations_with_a_mask(asks: Asks, tmp_path: Path) -> None:
    write_sized(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 40, 3), dtype=np.uint8)
    mask = pixels[0, ..., :1]
    with loaded(tmp_path) as models, listening(models) as url:
        (model,) = models
        found = asks(url, "translate", model.manifest.name, pixels, mask=mask, seed=3)
        same(found, model.translate(pixels, mask=mask[None], seed=3))


def test_a_mask_is_one_for_all_pictures(asks: Asks, tmp_path: Path) -> None:
    write_sized(tmp_path)
    images = np.zeros((2, 8, 12, 3), np.uint8)
    mask = np.zeros((8, 12), np.uint8)
    mask[:4] = 255
    with loaded(tmp_path) as models, listening(models) as address:
        expected = models.get("tiny-sized").translate(images, mask=mask[None])
        for given in (mask, mask[..., None], mask[None, ..., None]):
            same(asks(address, "translate", None, images, mask=given), expected)
        for wrong in (mask > 0, np.stack([mask] * 2)[..., None], [[1], [1, 2]], b"png"):
            with pytest.raises(InputError, match=r"^mask: expected uint8 of shape \[H, W\]"):
                asks(address, "translate", None, images, mask=wrong)
    with pytest.raises(InputError, match=r"^images: expected an array uint8 .*found float64"):
        calls.translate(None, images / 2, mask=mask)


def test_arrays_as_the_library_takes_them(asks: Asks, url: str, vae: Model) -> None:
    images = vae.sample(2, seed=1)
    mean = vae.encode(images).mean
    for given in (list(images), images[::-1][::-1], np.asfortranarray(images)):
        np.testing.assert_allclose(asks(url, "encode", "tiny-vae", given).mean, mean, atol=1e-5)
    same(asks(url, "sample", "tiny-vae", seeds=iter([3, 4])), vae.sample(seeds=[3, 4]))


@pytest.mark.parametrize("given", [[b"png"], b"png", None, [object()]])
def test_what_are_no_pictures_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^images: expected an array uint8 .*, or paths"):
        calls.encode(None, given)


@pytest.mark.parametrize("given", [[[1.0], [1.0, 2.0]], "x", [[1j, 2.0]], None])
def test_what_are_no_latents_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^latents: expected numbers of shape \[n, \*latent\]"):
        calls.decode(None, given)


def test_what_json_has_not_is_refused() -> None:
    seed: Any = object()
    with pytest.raises(InputError, match=r"^seed: expected what JSON has, found <object"):
        calls.sample(None, 1, seed=seed)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_keys_and_addresses_that_no_header_and_no_url_can_hold(kind: Any) -> None:
    for key in ("sécret", "sec\nret", " \n"):
        with pytest.raises(InputError, match=r"^api_key: expected printable ASCII") as caught:
            kind("http://127.0.0.1:1", key)
        assert "ret" not in str(caught.value)
    with pytest.raises(InputError, match=r"^url: expected that of a service"):
        kind("http://[::")


def test_the_models_are_listed(asks: Asks, url: str, models: Models) -> None:
    names = [entry["name"] for entry in asks(url, "models")]
    assert names == [model.manifest.name for model in models]


def test_streams_arrive_in_parts(asks: Asks, url: str, models: Models) -> None:
    parts = asks(url, "stream", "tiny-plain", 4000, seed=5)
    assert len(parts) > 1
    same(np.concatenate(parts), models.get("tiny-plain").sample(4000, seed=5))


def test_what_is_not_valid_is_the_library_s_error(asks: Asks, url: str) -> None:
    with pytest.raises(InputError) as caught:
        asks(url, "sample", "tiny-conditional", 2, seed=1, labels="four")
    assert (caught.value.field, caught.value.found) == ("labels", "'four'")
    assert "zero" in caught.value.expected
    with pytest.raises(InputError, match="colour: expected one of the fields"):
        asks(url, "sample", "tiny-plain", 2, seed=1, colour="red")
    with pytest.raises(InputError, match="seed: expected a seed, or seeds, found neither"):
        asks(url, "sample", "tiny-plain", 2)
    with pytest.raises(InputError, match="n: "):
        asks(url, "stream", "tiny-plain", 10**9, seed=1)


@pytest.fixture(scope="module")
def guarded(artifacts: Path) -> Iterator[Running]:
    with running(ours(artifacts, {**FP32, "LATENTSERVE_API_KEY": KEY})) as server:
        yield server


def test_the_service_itself_with_a_key(asks: Asks, guarded: Running, models: Models) -> None:
    with_key = {"client": {"api_key": f"{KEY}\n"}}  # as a file has it
    found = asks(guarded.url, "sample", "tiny-plain", 3, seed=2, **with_key)
    same(found, models.get("tiny-plain").sample(3, seed=2))
    with pytest.raises(ServiceError, match="401: an API key is needed") as caught:
        asks(guarded.url, "sample", "tiny-plain", 3, seed=2)
    assert (caught.value.status, caught.value.field) == (401, "authorization")


@pytest.fixture
def narrow(artifacts: Path) -> Iterator[tuple[Models, Recorder]]:
    """Models whose queues hold 4 images, and what they record."""
    recorder = Recorder()
    settings = Settings(artifacts=artifacts, queue_images=4, precision="fp32", load_seconds=0)
    own = Models(settings, lambda name: recorder)
    own.load()
    yield own, recorder
    own.close()


def test_a_full_queue_is_asked_again(asks: Asks, narrow: tuple[Models, Recorder]) -> None:
    models, recorder = narrow
    model = models.get("tiny-plain")
    found: list[np.ndarray] = []
    with listening(models) as url:
        ask = threading.Thread(
            target=lambda: found.append(asks(url, "sample", "tiny-plain", 2, seed=9))
        )
        with busy(model):
            waiting = model.submit(Sample(4, 1))
            with pytest.raises(ServiceError, match="429: the queue is full") as caught:
                asks(url, "sample", "tiny-plain", 2, seed=9, client={"patience": 0.5})
            assert caught.value.expected == "at most 4 images waiting"
            refused = len(recorder.of("rejected"))
            ask.start()
            wait_until(lambda: len(recorder.of("rejected")) > refused)
        waiting.result(WAIT)
        ask.join(WAIT)
    (images,) = found
    same(images, model.sample(2, seed=9))


@pytest.mark.parametrize("method", ["sample", "stream"])
def test_a_reply_that_breaks_off_is_an_error(asks: Asks, method: str) -> None:
    body = encode_npy(np.zeros((3, 8, 8, 1), np.uint8))
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def cut() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(head + body[:-1])

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(ServiceError, match="no whole reply"):
            asks(f"http://127.0.0.1:{listener.getsockname()[1]}", method, None, 3, seed=1)
        thread.join(WAIT)


def test_nobody_there_is_an_error(asks: Asks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServiceError, match="no whole reply") as caught:
        asks(f"http://127.0.0.1:{port}", "models")
    assert caught.value.status is None


def test_volumes_in_pieces() -> None:
    volumes = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5, 1)
    reader = ArrayReader()
    body = encode_npy(volumes)
    parts = [part for i in range(0, len(body), 50) for part in reader.feed(body[i : i + 50])]
    reader.end()
    np.testing.assert_array_equal(np.concatenate(parts), volumes)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_array_in_pieces(step: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 1), dtype=np.uint8)
    data, reader = encode_npy(images), ArrayReader()
    starts = range(0, len(data), step)
    parts = [part for i in starts for part in reader.feed(data[i : i + step])]
    reader.end()
    np.testing.assert_array_equal(np.concatenate(parts), images)
    short = ArrayReader()
    assert sum(len(part) for part in short.feed(data[:-1])) == 4
    with pytest.raises(ServiceError, match="1 images before its end"):
        short.end()
    with pytest.raises(ServiceError, match="cannot be read"):
        list(ArrayReader().feed(b"<html>" * 20))


def test_a_proxy_s_error_is_told_as_it_is() -> None:
    error = error_of(502, b"<h1>Bad gateway</h1>")
    assert isinstance(error, ServiceError)
    assert (error.status, str(error)) == (502, "502: <h1>Bad gateway</h1>")


def test_waiting_is_bounded() -> None:
    retries, busy_now = Retries(patience=2.5), b'{"error": "not ready: mnist-vae is being loaded"}'
    assert [retries.pause(503, {"retry-after": "1"}, busy_now) for _ in range(2)] == [1.0, 1.0]
    with pytest.raises(ServiceError, match="503: not ready"):
        retries.pause(503, {"retry-after": "1"}, busy_now)
    for status, headers in ((503, {}), (500, {"retry-after": "1"})):
        with pytest.raises(ServiceError, match=f"{status}: "):
            Retries(patience=60).pause(status, headers, busy_now)


def test_what_bentoml_s_client_is_told() -> None:
    names = {route["name"] for route in client_schema()["routes"]}
    assert names == {"sample", "decode", "interpolate", "manifold", "latents", "directions"}


THEIRS = """
import io, sys, bentoml, numpy as np
from bentoml.exceptions import BentoMLException

with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    asked = {"model": "tiny-plain", "n": 3, "seed": 2}
    images = np.load(io.BytesIO(client.sample(**asked, format="npy")))
    np.save(sys.argv[2], images)
    assert client.interpolate(model="tiny-vae", seeds=[1, 2]).startswith(b"\\x89PNG")
    latents = [[0.0, 1.0]]
    assert client.decode(model="tiny-vae", latents=latents).startswith(b"\\x89PNG")
    assert not hasattr(client, "encode")
    try:
        client.sample(**asked | {"n": -1})
    except BentoMLException as error:
        assert '"field":"n"' in str(error), error
    else:
        raise AssertionError("-1 images")
"""


def test_bentoml_s_own_client(server: Running, models: Models, tmp_path: Path) -> None:
    # In a process of its own: importing bentoml raises warnings, which are errors here.
    command = [sys.executable, "-c", THEIRS, server.url, tmp_path / "images.npy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    same(np.load(tmp_path / "images.npy"), models.get("tiny-plain").sample(3, seed=2))
