"""The Open Inference Protocol by Triton's own client, unchanged, against a served app: what comes
back is what the model gives in process, and what is refused raises the client's own exception with
our message."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from bento.repository.models import Models
from tests.bento.support import listening, loaded
from tests.sized import write_sized
from tests.tiny import write_artifact

http = pytest.importorskip("tritonclient.http")
aio = pytest.importorskip("tritonclient.http.aio")
Refused = pytest.importorskip("tritonclient.utils").InferenceServerException

DATATYPES = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8", "int32": "INT32"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("artifacts")
    write_artifact(folder, "plain", version=3)
    write_artifact(folder, "conditional")
    write_artifact(folder, "vae")
    write_artifact(folder, "vae", name="tiny-flow", noise=True)
    write_artifact(folder, "plain", name="tiny-vae.encode")
    write_sized(folder, prior="none")
    with loaded(folder) as models:
        yield models


@pytest.fixture(scope="module")
def url(models: Models) -> Iterator[str]:
    with listening(models) as address:
        yield address.removeprefix("http://")


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with http.InferenceServerClient(url, concurrency=8) as client:
        yield client


def inputs_of(binary: bool = True, module: Any = http, **arrays: Any) -> list[Any]:
    made: list[Any] = []
    for name, values in arrays.items():
        array = np.asarray(values)
        tensor = module.InferInput(name, list(array.shape), DATATYPES[array.dtype.name])
        tensor.set_data_from_numpy(array, binary_data=binary)
        made.append(tensor)
    return made


def outputs_of(binary: bool, *names: str) -> list[Any]:
    return [http.InferRequestedOutput(name, binary_data=binary) for name in names]


def random_latents(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def random_images(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def close_to(made: Any, expected: NDArray[np.uint8]) -> None:
    assert (made.dtype, made.shape) == (np.uint8, expected.shape)
    assert np.abs(made.astype(int) - expected).max() <= 1


BOTH = pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])


def test_the_service_and_its_models_describe_themselves(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("tiny-plain") == {
        "name": "tiny-plain",
        "versions": ["3"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "seed", "datatype": "INT64", "shape": [-1]},
            {"name": "count", "datatype": "INT64", "shape": [1]},
            {"name": "offset", "datatype": "INT64", "shape": [1]},
            {"name": "truncation", "datatype": "FP32", "shape": [1]},
        ],
        "outputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}],
    }
    graph = client.get_model_metadata("tiny-vae.decode", model_version="1")
    assert graph["inputs"] == [{"name": "latents", "datatype": "FP32", "shape": [-1, 2]}]
    conditional = client.get_model_metadata("tiny-conditional")["inputs"]
    assert {"name": "label", "datatype": "INT64", "shape": [-1]} in conditional


def test_free_axes_are_minus_one_and_what_cannot_be_sampled_is_its_main_graph(client: Any) -> None:
    decode = client.get_model_metadata("tiny-sized.decode")
    assert client.get_model_metadata("tiny-sized") == {**decode, "name": "tiny-sized"}
    assert [(t["name"], t["shape"]) for t in decode["inputs"]] == [
        ("latents", [-1, 2, -1, -1]),
        ("coarse", [-1, 1, -1, -1]),
        ("fine", [-1, 1, -1, -1]),
        ("truncation", [-1]),
    ]
    assert decode["outputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]


def test_an_artifacts_own_name_comes_first(client: Any) -> None:
    assert client.get_model_metadata("tiny-vae.encode")["outputs"][0]["shape"] == [-1, 8, 8, 3]
    assert client.get_model_metadata("tiny-flow.encode")["outputs"][0]["name"] == "latents"


@pytest.mark.parametrize(
    ("model", "version", "ready"),
    [
        ("tiny-plain", "", True),
        ("tiny-plain", "3", True),
        ("tiny-plain.decode", "3", True),
        ("tiny-plain", "2", False),
        ("tiny-plain.encode", "", False),
        ("nobody", "", False),
        (".decode", "", False),
    ],
)
def test_a_model_is_ready_where_it_is_served(
    client: Any, model: str, version: str, ready: bool
) -> None:
    assert client.is_model_ready(model, version) is ready


@BOTH
def test_latents_are_decoded(client: Any, models: Models, binary: bool) -> None:
    latents = random_latents(40, 4)
    expected = models.get("tiny-plain").decode(latents)
    given = inputs_of(binary, latents=latents)
    outputs = None if binary else outputs_of(binary, "images")
    found = client.infer("tiny-plain.decode", given, "3", outputs=outputs, request_id="mine")
    close_to(found.as_numpy("images"), expected)
    reply = found.get_response()
    assert (reply["id"], reply["model_name"]) == ("mine", "tiny-plain.decode")
    assert reply["model_version"] == "3"
    assert ("data" in reply["outputs"][0]) is not binary


@BOTH
def test_images_are_encoded(client: Any, models: Models, binary: bool) -> None:
    images = random_images(3, 8, 8, 1)
    posterior = models.get("tiny-flow").encode(images, seed=0)
    found = client.infer(
        "tiny-flow.encode",
        inputs_of(binary, images=images),
        outputs=outputs_of(binary, "log_density", "latents"),
    )
    assert [output["name"] for output in found.get_response()["outputs"]] == [
        "log_density",
        "latents",
    ]
    for name, expected in posterior.arrays().items():
        np.testing.assert_allclose(found.as_numpy(name), expected, atol=1e-4)
    # Its noise is an input like any other.
    noise = random_latents(3, 2)
    own = client.infer("tiny-flow.encode", inputs_of(binary, noise=noise, images=images))
    assert np.abs(own.as_numpy("latents") - posterior.latents).max() > 0.1


def test_outputs_are_chosen(client: Any, models: Models) -> None:
    images, latents = random_images(2, 8, 12, 3), random_latents(2, 2, 4, 6)
    found = client.infer(
        "tiny-sized.encode", inputs_of(images=images), outputs=outputs_of(True, "log_variance")
    )
    assert found.as_numpy("mean") is None
    posterior = models.get("tiny-sized").encode(images)
    np.testing.assert_allclose(found.as_numpy("log_variance"), posterior.log_variance, atol=1e-4)
    mixed = [*outputs_of(False, "log_variance"), *outputs_of(True, "mean")]
    found = client.infer("tiny-sized.encode", inputs_of(images=images), outputs=mixed)
    np.testing.assert_allclose(found.as_numpy("log_variance"), posterior.log_variance, atol=1e-4)
    np.testing.assert_allclose(found.as_numpy("mean"), posterior.mean, atol=1e-4)
    plain = models.get("tiny-sized").decode(latents)
    close_to(client.infer("tiny-sized", inputs_of(latents=latents)).as_numpy("images"), plain)


@BOTH
def test_a_graphs_further_inputs_may_be_given(client: Any, models: Models, binary: bool) -> None:
    model, latents = models.get("tiny-sized"), random_latents(3, 2, 4, 6)
    half = np.full(3, 0.5, np.float32)
    expected = model.decode(latents, truncation=0.5)
    given = inputs_of(binary, truncation=half, latents=latents)
    close_to(client.infer("tiny-sized.decode", given).as_numpy("images"), expected)
    # Each row its own: which no request of ours can say.
    mixed = np.array([0.5, 1.0, 0.5], np.float32)
    whole = model.decode(latents)
    given = inputs_of(binary, truncation=mixed, latents=latents)
    found = client.infer("tiny-sized.decode", given).as_numpy("images")
    close_to(found, np.stack([expected[0], whole[1], expected[2]]))
    fine = np.zeros((3, 1, 8, 12), np.float32)
    found = client.infer("tiny-sized.decode", inputs_of(binary, fine=fine, latents=latents))
    assert np.abs(found.as_numpy("images").astype(int) - whole).max() > 1


def test_images_larger_than_the_axes_are_made_in_tiles(client: Any, models: Models) -> None:
    images = random_images(1, 80, 70, 3)
    mask = np.full((1, 80, 70, 1), 255, np.uint8)
    expected = models.get("tiny-sized").translate(images, mask=mask)
    found = client.infer("tiny-sized.translate", inputs_of(mask=mask, images=images))
    close_to(found.as_numpy("larger"), expected)


@BOTH
def test_images_are_sampled_by_seed(client: Any, models: Models, binary: bool) -> None:
    plain, conditional = models.get("tiny-plain"), models.get("tiny-conditional")

    def sampled(name: str, **arrays: Any) -> Any:
        return client.infer(name, inputs_of(binary, **arrays)).as_numpy("images")

    close_to(sampled("tiny-plain", seed=[7]), plain.sample(1, seed=7))
    close_to(sampled("tiny-plain.sample", seed=[7], count=[5]), plain.sample(5, seed=7))
    found = sampled("tiny-plain", seed=[7], count=[2], offset=[3])
    close_to(found, plain.sample(2, seed=7, offset=3))
    close_to(sampled("tiny-plain", seed=[7, 2**53 - 1]), plain.sample(seeds=[7, 2**53 - 1]))
    half = np.array([0.5], np.float32)
    found = sampled("tiny-plain", seed=[7], truncation=half)
    close_to(found, plain.sample(1, seed=7, truncation=0.5))
    found = sampled("tiny-conditional", seed=[7], label=[2, 0, 1])
    close_to(found, conditional.sample(3, seed=7, labels=[2, 0, 1]))
    found = sampled("tiny-conditional", seed=[7, 8], label=[2])
    close_to(found, conditional.sample(seeds=[7, 8], labels="two"))


def test_labels_are_given_to_a_graph(client: Any, models: Models) -> None:
    latents, labels = random_latents(3, 6), np.array([2, 0, 1])
    expected = models.get("tiny-conditional").decode(latents, labels)
    found = client.infer("tiny-conditional.decode", inputs_of(labels=labels, latents=latents))
    close_to(found.as_numpy("images"), expected)


LATENTS = random_latents(2, 4)


@pytest.mark.parametrize(
    ("model", "version", "arrays", "status", "message"),
    [
        ("nobody", "", {"latents": LATENTS}, 404, "no such model: .*'tiny-plain@3'.*'nobody'"),
        ("tiny-plain.decode", "2", {"latents": LATENTS}, 404, "found 'tiny-plain@2'"),
        ("tiny-plain.encode", "", {"latents": LATENTS}, 404, "those that can encode"),
        ("tiny-sized.sample", "", {"seed": [1]}, 404, "those that can sample"),
        ("tiny-plain.decode", "", {"latents": LATENTS.astype(np.int64)}, 422, "found INT64"),
        ("tiny-plain.decode", "", {"latents": LATENTS.astype(np.int32)}, 422, "'INT32'"),
        ("tiny-plain.decode", "", {"latents": LATENTS[:, :3]}, 422, r"FP32 \[-1, 4\], .*\[2, 3\]"),
        ("tiny-plain.decode", "", {"latents": LATENTS[0]}, 422, r"FP32 \[-1, 4\]"),
        ("tiny-plain.decode", "", {"latents": LATENTS[:0]}, 422, "n at least 1"),
        ("tiny-plain.decode", "", {"latents": LATENTS * np.inf}, 422, "finite values"),
        ("tiny-plain.decode", "", {}, 422, r"latents: expected an input of FP32 \[-1, 4\]"),
        ("tiny-plain.decode", "", {"z": LATENTS}, 422, r"inputs\[0\]: expected one of \['latents"),
        ("tiny-conditional.decode", "", {"latents": random_latents(1, 6)}, 422, "labels"),
        ("tiny-plain", "", {"seed": [1] * 5000}, 422, "seed: expected at most 4096 images"),
        ("tiny-plain", "", {"seed": [-1]}, 422, "seed: expected an integer"),
        ("tiny-plain", "", {"seed": [1, 2**53]}, 422, r"seed\[1\]: expected an integer"),
        ("tiny-plain", "", {"seed": [1], "count": [0]}, 422, "count: expected an integer from 1"),
        ("tiny-plain", "", {"seed": [1], "count": [5000]}, 422, "at most 4096 images"),
        ("tiny-plain", "", {"seed": [1], "count": [1, 2]}, 422, r"INT64 \[1\]"),
        ("tiny-plain", "", {"seed": [1, 2], "count": [3]}, 422, "seed: expected either"),
        ("tiny-conditional", "", {"seed": [1], "label": [3]}, 422, r"label\[0\]: expected one of"),
        ("tiny-plain", "", {"seed": [1], "label": [0]}, 422, r"inputs\[1\]"),
    ],
)
@BOTH
def test_what_cannot_be_is_refused_with_our_message(
    client: Any,
    binary: bool,
    model: str,
    version: str,
    arrays: dict[str, Any],
    status: int,
    message: str,
) -> None:
    with pytest.raises(Refused, match=message) as refused:
        client.infer(model, inputs_of(binary, **arrays), version)
    assert refused.value.status() == str(status)


def test_what_the_client_asks_of_other_servers_is_refused(client: Any) -> None:
    given = inputs_of(latents=LATENTS)
    for message, options in {
        r"outputs\[0\]: expected one of \['images'\]": {"outputs": outputs_of(True, "pixels")},
        r"parameters\[priority\]: expected no such field": {"priority": 1},
        r"parameters\[sequence_id\]": {"sequence_id": 3},
        "a compressed body": {"request_compression_algorithm": "gzip"},
        r"\[classification\]: expected no such field": {
            "outputs": [http.InferRequestedOutput("images", class_count=2)]
        },
    }.items():
        with pytest.raises(Refused, match=message):
            client.infer("tiny-plain.decode", given, **options)
    shared = http.InferInput("latents", [2, 4], "FP32").set_shared_memory("region", 32)
    with pytest.raises(Refused, match="shared_memory_region"):
        client.infer("tiny-plain.decode", [shared])


HEAD = '{"inputs":[{"name":"latents","shape":[2,4],"datatype":"FP32",'
SIZED = HEAD + '"parameters":{"binary_data_size":%d}}]}'


@pytest.mark.parametrize(
    ("text", "behind", "length", "message"),
    [
        (SIZED % 32, 32, None, ""),
        (SIZED % 32, 31, None, "latents: expected 32 bytes of FP32 .*, found 31 in the body"),
        (SIZED % 32, 33, None, "body: expected 32 bytes behind the JSON"),
        (SIZED % 28, 28, None, "latents: expected 32 bytes .*, found binary_data_size 28"),
        (SIZED % 32, 32, "500", "Inference-Header-Content-Length: .*found 500"),
        (SIZED % 32, 32, "-1", "Inference-Header-Content-Length"),
        (SIZED % 32, 32, "1e2", "Inference-Header-Content-Length"),
        (SIZED % 32, 32, "9" * 5000, "Inference-Header-Content-Length"),
        (SIZED % 32, 32, "0", "inputs: expected a value, found none"),
        (SIZED % 32, 32, "10", "cannot be parsed: body: expected JSON"),
        (HEAD + '"data":[1,2,3,4,5,6,7]}]}', 0, None, "latents: expected 8 values"),
        (HEAD + '"data":[[1,2,3,4],[5,6,7,8]]}]}', 0, None, ""),
        (HEAD + '"data":[[1,2,3,4],[5,6,7]]}]}', 0, None, "data: .*several lengths"),
        (HEAD + '"data":[1,2,3,4,5,6,7,"8"]}]}', 0, None, "data: .*str"),
        (HEAD + '"data":[1,2,3,4,5,6,7,1e60]}]}', 0, None, "finite values"),
        (HEAD[:-1] + "}]}", 0, None, "latents: expected either data or binary_data_size"),
        (HEAD[:-1] + "}," + HEAD[11:-1] + "}]}", 0, None, "latents: expected either"),
        ('{"inputs":{}}', 0, None, "inputs: expected a valid list"),
        ('{"inputs":[],"outputs":[],"ids":"a"}', 0, None, "ids: expected one of the fields"),
    ],
)
def test_bodies_are_what_they_say(
    url: str, text: str, behind: int, length: str | None, message: str
) -> None:
    headers = {"Inference-Header-Content-Length": str(len(text)) if length is None else length}
    path = f"http://{url}/v2/models/tiny-plain.decode/infer"
    reply = httpx.post(path, content=text.encode() + bytes(behind), headers=headers)
    if not message:
        assert reply.status_code == 200
        assert np.shape(reply.json()["outputs"][0]["data"]) == (2 * 8 * 8 * 3,)
    else:
        assert reply.status_code == (400 if "parsed" in message else 422)
        assert set(reply.json()) == {"error"}
        assert re.search(message, reply.json()["error"]), reply.text


def test_integers_are_integers(url: str) -> None:
    path = f"http://{url}/v2/models/tiny-plain/infer"
    for value, good in (("7", True), ("7.0", True), ("7.5", False), ("1e300", False)):
        body = f'{{"inputs":[{{"name":"seed","shape":[1],"datatype":"INT64","data":[{value}]}}]}}'
        reply = httpx.post(path, content=body)
        assert reply.status_code == (200 if good else 422), value
        assert good or reply.json()["error"].startswith("seed: expected integers")


def test_the_json_of_a_body_has_a_limit_of_its_own(models: Models) -> None:
    latents = random_latents(1000, 4)
    with (
        listening(models, max_json_bytes=4096) as address,
        http.InferenceServerClient(address.removeprefix("http://")) as client,
    ):
        client.infer("tiny-plain.decode", inputs_of(True, latents=latents))
        with pytest.raises(Refused, match="the body is too large: .*at most 4096 bytes"):
            client.infer("tiny-plain.decode", inputs_of(False, latents=latents))
    with (
        listening(models, max_reply_bytes=4 * 8 * 8 * 3 * 5) as address,
        http.InferenceServerClient(address.removeprefix("http://")) as client,
    ):
        given = inputs_of(True, latents=latents[:20])
        assert len(client.infer("tiny-plain.decode", given).as_numpy("images")) == 20
        with pytest.raises(Refused, match="bytes in a reply"):
            client.infer("tiny-plain.decode", inputs_of(True, latents=latents[:21]))
        given = inputs_of(True, latents=latents[:6])
        with pytest.raises(Refused, match="bytes in a reply"):
            client.infer("tiny-plain.decode", given, outputs=outputs_of(False, "images"))


def test_many_at_once_each_get_their_own(client: Any, models: Models) -> None:
    """A load of eight connections, requests of one to sixteen rows."""
    model, latents = models.get("tiny-plain"), random_latents(16, 4)
    expected = model.decode(latents)
    under_way = [
        client.async_infer("tiny-plain.decode", inputs_of(latents=latents[: 1 + i % 16]))
        for i in range(64)
    ]
    for i, each in enumerate(under_way):
        close_to(each.get_result().as_numpy("images"), expected[: 1 + i % 16])


def test_the_client_of_asyncio(url: str, models: Models) -> None:
    latents = random_latents(16, 4)
    expected = models.get("tiny-plain").decode(latents)

    async def ask() -> None:
        async with aio.InferenceServerClient(url) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("tiny-plain", "3")
            assert not await client.is_model_ready("tiny-plain", "4")
            described = await client.get_model_metadata("tiny-plain.decode")
            assert described["versions"] == ["3"]
            for binary in (True, False):
                outputs = outputs_of(binary, "images")
                asked = [
                    client.infer(
                        "tiny-plain.decode",
                        inputs_of(binary, aio, latents=latents[:n]),
                        outputs=outputs,
                    )
                    for n in range(1, 17)
                ]
                for n, found in enumerate(await asyncio.gather(*asked), start=1):
                    close_to(found.as_numpy("images"), expected[:n])
            for model, version in (("nobody", ""), ("tiny-plain.decode", "2")):
                with pytest.raises(Refused, match="no such model"):
                    await client.infer(model, inputs_of(latents=latents), version)
            with pytest.raises(Refused, match=r"FP32 \[-1, 4\]"):
                await client.infer("tiny-plain.decode", inputs_of(latents=latents[0]))

    asyncio.run(ask())


def test_without_a_model_nothing_is_ready(tmp_path: Path) -> None:
    with loaded(tmp_path) as models, listening(models) as address:
        client = http.InferenceServerClient(address.removeprefix("http://"))
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("tiny-plain")
        with pytest.raises(Refused, match="no model is loaded"):
            client.get_model_metadata("tiny-plain")
        client.close()
