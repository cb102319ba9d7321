"""OpenAI's own client, unchanged, against what is served."""

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types import Image as OpenAIImage
from openai.types import ImagesResponse
from PIL import Image

from bento.repository.models import Models
from bento.settings import Settings
from runtime.images.encoding import encode_image
from tests.bento.support import FP32, listening, loaded
from tests.sized import write_sized
from tests.tiny import LABELS, write_artifact

KEY = "a-key-of-sixteen-or-more"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    root = tmp_path_factory.mktemp("artifacts")
    write_artifact(root, "conditional")
    write_artifact(root, "plain")
    write_artifact(root, "vae")
    write_sized(root)
    with loaded(root) as models:
        yield models


@pytest.fixture(scope="module")
def url(models: Models) -> Iterator[str]:
    with listening(models) as address:
        yield f"{address}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none is needed", max_retries=0) as client:
        yield client


def entries(made: ImagesResponse) -> list[OpenAIImage]:
    assert made.data is not None
    return made.data


def pixels(image: OpenAIImage) -> NDArray[np.uint8]:
    """An image that was sent as uint8 [H, W, C]."""
    assert image.b64_json is not None
    array = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.b64_json))))
    return array if array.ndim == 3 else array[..., None]


def named(data: bytes, name: str = "picture.png") -> tuple[str, bytes]:
    return name, data


def test_images_are_those_of_the_seed(client: openai.OpenAI, models: Models) -> None:
    expected = models.get("tiny-plain").sample(3, seed=7)
    for _ in range(2):
        made = client.images.generate(
            model="tiny-plain",
            prompt="any",
            n=3,
            extra_body={"seed": 7},
            response_format="b64_json",
        )
        np.testing.assert_array_equal([pixels(image) for image in entries(made)], expected)
        assert (made.output_format, made.size, made.usage) == ("png", "8x8", None)
        assert [image.revised_prompt for image in entries(made)] == [None] * 3


def test_the_seed_that_the_server_drew_is_told(client: openai.OpenAI, models: Models) -> None:
    raw = client.images.with_raw_response.generate(model="tiny-plain@1", prompt="")
    (image,) = entries(raw.parse())
    assert raw.headers["x-model"] == "tiny-plain@1"
    expected = models.get("tiny-plain").sample(1, seed=int(raw.headers["x-seed"]))
    np.testing.assert_array_equal(pixels(image), expected[0])


@pytest.mark.parametrize("prompt", ["two", " TWO ", "2"])
def test_a_prompt_is_a_class(client: openai.OpenAI, models: Models, prompt: str) -> None:
    made = client.images.generate(
        model="tiny-conditional", prompt=prompt, n=2, extra_body={"seed": 7}
    )
    expected = models.get("tiny-conditional").sample(2, seed=7, labels="two")
    np.testing.assert_array_equal([pixels(image) for image in entries(made)], expected)
    assert [image.revised_prompt for image in entries(made)] == ["two", "two"]


@pytest.mark.parametrize("prompt", ["", "Any"])
def test_without_a_class_each_image_has_one_that_is_told(
    client: openai.OpenAI, models: Models, prompt: str
) -> None:
    body = {"seed": 3, "truncation": 0.5}
    made = client.images.generate(model="tiny-conditional", prompt=prompt, n=8, extra_body=body)
    expected = models.get("tiny-conditional").sample(8, seed=3, truncation=0.5)
    np.testing.assert_array_equal([pixels(image) for image in entries(made)], expected)
    labels = [image.revised_prompt for image in entries(made)]
    assert set(labels) <= set(LABELS)
    assert len(set(labels)) > 1


def test_sizes_are_width_and_height(client: openai.OpenAI, models: Models) -> None:
    model = models.get("tiny-sized")
    for size, expected in (("auto", None), ("20x10", (10, 20))):
        made = client.images.generate(
            model="tiny-sized", prompt="any", size=size, extra_body={"seed": 5}
        )
        images = model.sample(1, seed=5, size=expected)
        np.testing.assert_array_equal(pixels(entries(made)[0]), images[0])
        assert made.size == f"{images.shape[2]}x{images.shape[1]}"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_images_have_the_format_asked_for(client: openai.OpenAI, models: Models, kind: Any) -> None:
    made = client.images.generate(
        model="tiny-plain", prompt="any", output_format=kind, extra_body={"seed": 7}
    )
    ((image,), expected) = (entries(made), models.get("tiny-plain").sample(1, seed=7)[0])
    assert image.b64_json is not None
    assert base64.b64decode(image.b64_json) == encode_image(expected, kind)
    assert made.output_format == kind


def test_what_means_nothing_here_is_ignored(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "quality": "hd", "style": "vivid", "user": "me", "moderation": "low", "size": None,
        "safety_identifier": "me", "complexity": "low", "output_compression": 50, "n": None,
        "background": "auto", "partial_images": 0, "model": None, "stream": False,
    }  # fmt: skip
    made = client.images.generate(prompt="any", extra_body={"seed": 7}, **options)
    plain = client.images.generate(prompt="any", extra_body={"seed": 7})
    assert made.data == plain.data


def clear_square(height: int = 10, width: int = 14) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A mask of theirs [H, W, 4], whose upper left is transparent, and the same of ours [H, W]."""
    theirs = np.full((height, width, 4), 255, np.uint8)
    theirs[:4, :6, 3] = 0
    theirs[4, :6, 3] = 100
    return theirs, 255 - theirs[..., 3]


def photo(height: int = 10, width: int = 14, channels: int = 3) -> NDArray[np.uint8]:
    generator = np.random.default_rng(height)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_a_mask_acts_where_it_is_transparent(client: openai.OpenAI, models: Models) -> None:
    theirs, ours = clear_square()
    made = client.images.edit(
        model="tiny-sized",
        image=named(encode_image(photo())),
        mask=named(encode_image(theirs), "mask.png"),
        prompt="any",
        output_format="png",
        quality="low",
        n=1,
    )
    expected = models.get("tiny-sized").translate(photo()[None], mask=ours[None])
    np.testing.assert_array_equal([pixels(image) for image in entries(made)], expected)
    assert made.size == "28x20"
    other = models.get("tiny-sized").translate(photo()[None], mask=255 - ours[None])
    assert np.abs(other.astype(int) - expected.astype(int)).max() > 30


def test_without_a_mask_the_pictures_own_transparency_is_it(
    client: openai.OpenAI, models: Models
) -> None:
    theirs, ours = clear_square()
    pictured = np.concatenate([photo(), theirs[..., 3:]], axis=2)
    made = client.images.edit(
        model="tiny-sized", image=named(encode_image(pictured)), prompt="", size="14x10"
    )
    over_black = np.asarray(
        Image.alpha_composite(
            Image.new("RGBA", (14, 10), (0, 0, 0, 255)), Image.fromarray(pictured)
        ).convert("RGB")
    )
    expected = models.get("tiny-sized").translate(over_black[None], mask=ours[None])
    difference = np.abs(pixels(entries(made)[0]).astype(int) - expected[0].astype(int))
    assert difference.max() <= 2  # of rounding, where it is half transparent


def test_several_pictures_share_a_mask(client: openai.OpenAI, models: Models) -> None:
    theirs, ours = clear_square()
    second = np.ascontiguousarray(photo()[::-1])
    made = client.images.edit(
        model="tiny-sized",
        image=[named(encode_image(photo())), named(encode_image(second), "second.png")],
        mask=named(encode_image(theirs)),
        prompt="any",
    )
    expected = models.get("tiny-sized").translate(np.stack([photo(), second]), mask=ours[None])
    np.testing.assert_array_equal([pixels(image) for image in entries(made)], expected)


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    listed = client.models.list()
    names = ["tiny-conditional", "tiny-plain", "tiny-sized", "tiny-vae"]
    assert [model.id for model in listed] == names
    assert client.models.retrieve("tiny-vae@1").id == "tiny-vae"
    with pytest.raises(openai.NotFoundError, match="tiny-vae") as caught:
        client.models.retrieve("gpt-image-2")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("options", "error", "param", "message"),
    [
        ({"model": "dall-e-3"}, openai.NotFoundError, "model", "tiny-conditional@1"),
        ({"prompt": "four"}, openai.BadRequestError, "prompt", "['zero', 'one', 'two'], or an ind"),
        ({"prompt": "3"}, openai.BadRequestError, "prompt", "index below 3, or 'any', found '3'"),
        ({"model": "tiny-plain", "prompt": "a cat"}, openai.BadRequestError, "prompt",
         "prompt: expected 'any' or nothing: tiny-plain has no classes, found 'a cat'"),
        ({"size": "1024x1024"}, openai.BadRequestError, "size", "[8, 8]"),
        ({"size": "large"}, openai.BadRequestError, "size", "WIDTHxHEIGHT"),
        ({"n": 0}, openai.BadRequestError, "n", "greater than or equal to 1, found 0"),
        ({"n": 5000}, openai.BadRequestError, "n", "at most 4096 images a request, found 5000"),
        ({"response_format": "url"}, openai.BadRequestError, "response_format", "b64_json"),
        ({"output_format": "gif"}, openai.BadRequestError, "output_format", "'jpeg' or 'webp'"),
        ({"background": "transparent"}, openai.BadRequestError, "background", "auto"),
        ({"extra_body": {"seed": -1}}, openai.BadRequestError, "seed", "found -1"),
        ({"extra_body": {"steps": 4}}, openai.BadRequestError, "steps", "an unknown field"),
        ({"extra_body": {"stream": True}}, openai.BadRequestError, "stream", "images are sent tog"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_their_own_exception(
    client: openai.OpenAI,
    options: dict[str, Any],
    error: type[openai.APIStatusError],
    param: str,
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        client.images.generate(**{"model": "tiny-conditional", "prompt": "any", **options})
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert message in caught.value.message
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("options", "param", "message"),
    [
        ({"mask": named(b"no picture")}, "mask", "a readable image file"),
        ({"mask": named(encode_image(photo()))}, "mask", "one without transparency (RGB)"),
        ({"mask": named(encode_image(photo(4, 4, 4)))}, "mask", "10 x 14, found 4 x 4"),
        ({}, "mask", "transparent where it is to be changed"),
        ({"n": 2}, "n", "less than or equal to 1"),
        ({"image": named(b"no picture")}, "image[0]", "a readable image file"),
        ({"markup": named(encode_image(photo()))}, "markup", "files named image, image[] or mask"),
        ({"prompt": "a cat"}, "prompt", "tiny-sized has no classes"),
        ({"model": "tiny-vae"}, "model", "those that can translate"),
    ],
)
def test_an_edit_that_cannot_be_is_their_own_exception(
    client: openai.OpenAI, options: dict[str, Any], param: str, message: str
) -> None:
    sent = {"model": "tiny-sized", "image": named(encode_image(photo())), "prompt": "any"}
    error = openai.NotFoundError if param == "model" else openai.BadRequestError
    with pytest.raises(error) as caught:
        client.images.edit(**{**sent, **options})
    assert caught.value.param == param
    assert message in caught.value.message


def test_other_refusals_have_their_shape(url: str, models: Models) -> None:
    headers = {"content-type": "application/json"}
    reply = httpx.post(f"{url}/images/generations", content=b"{", headers=headers)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["message"].startswith("the body cannot be parsed: expected JSON, found ")
    assert (error["param"], error["code"]) == ("body", None)
    reply = httpx.get(f"{url}/images/generations")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["error"]["type"] == "invalid_request_error"
    reply = httpx.post(f"{url}/images/edits", json={"prompt": "any"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (415, "content-type")


def test_a_full_queue_is_a_rate_limit(models: Models) -> None:
    with listening(models, max_requests=1, timeout_seconds=20) as address:
        base = f"{address}/v1"
        stream = httpx.Client()
        request = stream.build_request(
            "POST", f"{address}/sample", json={"n": 1_000_000, "seed": 1, "format": "npy"}
        )
        held = stream.send(request, stream=True)  # its reply is not read: it stays under way
        with (
            openai.OpenAI(base_url=base, api_key="x", max_retries=0) as client,
            pytest.raises(openai.RateLimitError, match="too many requests at once") as caught,
        ):
            client.images.generate(prompt="any")
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["retry-after"] == "1"
        held.close()
        stream.close()


def test_a_failing_engine_is_a_server_error(
    client: openai.OpenAI, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("the card fell off the bus")

    with monkeypatch.context() as patch:
        patch.setattr(models.get("tiny-vae")._backend, "run", fail)
        with pytest.raises(openai.InternalServerError, match="the engine failed") as caught:
            client.images.generate(model="tiny-vae", prompt="any")
    assert (caught.value.status_code, caught.value.type) == (500, "server_error")
    assert "bus" not in caught.value.message
    assert client.images.generate(model="tiny-vae", prompt="any").data


def test_without_a_model_it_is_a_server_error(tmp_path: Path) -> None:
    empty = Models(Settings(artifacts=tmp_path))
    empty.load()
    with (
        listening(empty) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client,
    ):
        assert client.models.list().data == []
        with pytest.raises(openai.InternalServerError, match="no model is loaded") as caught:
            client.images.generate(prompt="any")
    assert (caught.value.status_code, caught.value.type) == (503, "server_error")


def test_the_async_client(url: str, models: Models) -> None:
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            assert (await client.models.retrieve("tiny-vae")).id == "tiny-vae"
            theirs, _ = clear_square()
            pending = [
                client.images.generate(model="tiny-plain", prompt="any", extra_body={"seed": i})
                for i in range(5)
            ]
            edited = client.images.edit(
                model="tiny-sized",
                image=named(encode_image(photo())),
                mask=named(encode_image(theirs)),
                prompt="any",
            )
            made = await asyncio.gather(*pending, edited)
            with pytest.raises(openai.BadRequestError, match="'three'"):
                await client.images.generate(model="tiny-conditional", prompt="three")
            return made

    *made, edited = asyncio.run(ask())
    expected = models.get("tiny-plain").sample(seeds=range(5))
    np.testing.assert_array_equal([pixels(each.data[0]) for each in made], expected)
    _, ours = clear_square()
    expected = models.get("tiny-sized").translate(photo()[None], mask=ours[None])
    np.testing.assert_array_equal(pixels(edited.data[0]), expected[0])


def test_the_service_as_users_start_it(models: Models, tmp_path: Path) -> None:
    """`bentoml serve` with a key, which is their `api_key`."""
    from benchmarks.speed.servers import ours, running

    write_artifact(tmp_path, "plain")
    settings = {**FP32, "LATENTSERVE_API_KEY": KEY}
    with running(ours(tmp_path, settings)) as server:
        base = f"{server.url}/v1"
        with openai.OpenAI(base_url=base, api_key=KEY, max_retries=0) as client:
            made = client.images.generate(prompt="any", extra_body={"seed": 7})
            told = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {KEY}"})
        with (
            openai.OpenAI(base_url=base, api_key="another", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError, match="an API key is needed") as caught,
        ):
            client.images.generate(prompt="any")
    expected = models.get("tiny-plain").sample(1, seed=7)[0]
    difference = np.abs(pixels(entries(made)[0]).astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert caught.value.code == "invalid_api_key"
    assert (
        'latentserve_images_total{endpoint="/v1/images/generations",model="tiny-plain"} 1.0'
        in told.text
    )
