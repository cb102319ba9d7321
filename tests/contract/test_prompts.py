"""A model of prompts, trained at a tiny width: in process, over HTTP, as OpenAI, on the shell."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import runtime
from bento.repository.models import Models
from export import export_run
from runtime import bulk
from runtime.__main__ import main as command
from runtime.client import Client
from runtime.errors import InputError
from runtime.images.encoding import decode_npy, encode_npy
from tests.bento.support import ask_async, listening, loaded
from tests.train.conftest import narrow, random_splits
from train.loop import train
from train.objectives import AdamParams
from train.recipes import RECIPES

NAME = "shapes-prompted"
PROMPT = "a large bright square at the top left, turned"
OTHER = "a small dark circle in the centre"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    recipe = narrow(RECIPES["shapes_prompted"]())
    # In such steps its images come to differ, by latents and by what is asked.
    objective = replace(recipe.objective, optimizer=AdamParams(0.2))
    recipe = replace(recipe, objective=objective, steps=6)
    train(recipe, random_splits(recipe.image, 180), folder / "run", device="cpu")
    export_run(folder / "run", out=folder / "artifacts", precisions=())
    return folder / "artifacts"


@pytest.fixture(scope="module")
def models(artifacts: Path) -> Iterator[Models]:
    with loaded(artifacts) as models:
        yield models


@pytest.fixture(scope="module")
def model(models: Models) -> runtime.Model:
    return models.get(NAME)


def ask(models: Models, method: str, path: str, **request: Any) -> httpx.Response:
    return asyncio.run(ask_async(models, method, path, **request))


def close(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether images are alike within the one grey level that a batch may change."""
    return a.shape == b.shape and bool(np.abs(a.astype(int) - b).max() <= 1)


def test_the_prompt_decides_and_the_batch_does_not(model: runtime.Model) -> None:
    both = model.sample(6, seed=7, prompt=[PROMPT, OTHER] * 3)
    assert close(model.sample(6, seed=7, prompt=PROMPT)[::2], both[::2])
    assert close(model.sample(1, seed=7, offset=3, prompt=OTHER), both[3:4])
    assert not close(model.sample(6, seed=7, prompt=PROMPT), model.sample(6, seed=7, prompt=OTHER))
    assert close(np.concatenate(list(model.stream(6, seed=7, prompt=[PROMPT, OTHER] * 3))), both)


def test_without_a_prompt_examples_are_drawn_and_told(model: runtime.Model) -> None:
    request = runtime.Sample(12, 7)
    told, words = request.chosen_prompts(model.manifest), model.manifest.vocabulary
    assert told is not None
    assert words is not None
    assert len(set(told)) > 6
    assert {words.tokens(text) for text in told} <= set(map(tuple, words.example_tokens.tolist()))
    assert close(model.run(request), model.sample(12, seed=7, prompt=told))
    later = runtime.Sample(4, 7, offset=5).chosen_prompts(model.manifest)
    assert later == request.chosen_prompts(model.manifest, 5, 9) == told[5:9]


def test_every_request_of_a_decoder_takes_the_prompt(model: runtime.Model) -> None:
    latents = model.latents(3, seed=7)
    images = model.sample(3, seed=7, prompt=PROMPT)
    assert close(model.decode(latents, prompt=PROMPT), images)
    tokens = np.array(model.manifest.vocabulary.tokens(PROMPT))[None]  # pyright: ignore[reportOptionalMemberAccess]
    assert close(model.decode(latents, prompt=tokens), images)
    path = model.interpolate(latents[0], latents[1], 3, prompt=PROMPT)
    assert close(path[[0, 2]], images[:2])
    rebuilt = model.reconstruct(images, prompt=PROMPT)
    assert close(rebuilt, model.decode(model.encode(images).mean, prompt=PROMPT))
    assert model.directions(2).directions.shape == (2, *latents.shape[1:])
    for asked in (
        lambda: model.decode(latents),
        lambda: model.reconstruct(images),
        lambda: model.interpolate(latents[0], latents[1], 3),
    ):
        with pytest.raises(InputError, match="prompt: expected a text, or one for each image, suc"):
            asked()


def test_a_link_with_a_prompt_is_a_picture(models: Models, model: runtime.Model) -> None:
    query = {"model": NAME, "seed": 7, "prompt": PROMPT, "format": "npy", "n": 3}
    reply = ask(models, "GET", "/sample", params=query)
    assert reply.status_code == 200, reply.text
    assert close(decode_npy(reply.content), model.sample(3, seed=7, prompt=PROMPT))
    png = ask(models, "GET", "/sample", params={**query, "format": "png"})
    assert png.headers["content-type"] == "image/png"
    other = ask(models, "GET", "/sample", params={**query, "prompt": OTHER})
    several = ask(models, "GET", "/sample", params={**query, "prompt": json.dumps([PROMPT] * 3)})
    assert several.content == reply.content
    assert png.headers["etag"] != reply.headers["etag"] != other.headers["etag"]


def test_the_client_of_python_sends_the_prompt(models: Models, model: runtime.Model) -> None:
    with listening(models) as url, Client(url) as client:
        made = client.sample(NAME, seed=7, n=2, prompt=[PROMPT, OTHER])
        decoded = client.decode(NAME, model.latents(2, seed=7), prompt=PROMPT)
    assert close(made, model.sample(2, seed=7, prompt=[PROMPT, OTHER]))
    assert close(decoded, model.sample(2, seed=7, prompt=PROMPT))


@pytest.mark.parametrize("prompt", [[OTHER, "large square"], ["square", "circle"], [PROMPT, OTHER]])
def test_the_client_sends_prompts_beside_arrays_one_by_one(
    models: Models, model: runtime.Model, prompt: list[str]
) -> None:
    latents, images = model.latents(2, seed=7), model.sample(2, seed=7, prompt=PROMPT)
    with listening(models) as url, Client(url) as client:
        decoded = client.decode(NAME, latents, prompt=prompt)
        rebuilt = client.reconstruct(NAME, images, prompt=prompt)
        with pytest.raises(InputError, match=r"expected words .*, found '\[large\]'$"):
            client.decode(NAME, latents, prompt="[large] square")
        with pytest.raises(InputError, match="prompt: expected at least one prompt"):
            client.decode(NAME, latents, prompt=[])
    assert close(decoded, model.decode(latents, prompt=prompt))
    assert close(rebuilt, model.reconstruct(images, prompt=prompt))


def test_a_list_has_an_image_each_and_the_reply_tells_the_words(models: Models) -> None:
    body = {"model": NAME, "seed": 7, "prompt": [PROMPT, OTHER], "format": "json"}
    reply = ask(models, "POST", "/sample", json=body).json()
    assert [entry["prompt"] for entry in reply["images"]] == [PROMPT.replace(",", ""), OTHER]
    drawn = ask(models, "POST", "/sample", json={**body, "prompt": None, "n": 2}).json()
    assert all(entry["prompt"].startswith("a ") for entry in drawn["images"])


def test_whatever_is_decoded_tells_the_words(models: Models, model: runtime.Model) -> None:
    told, npy = [PROMPT.replace(",", ""), OTHER], {"content-type": "application/x-npy"}
    latents, images = model.latents(2, seed=7), model.sample(2, seed=7, prompt=PROMPT)
    prompts = json.dumps([PROMPT, OTHER])
    query = {"model": NAME, "prompt": prompts, "format": "json"}
    for path, array in (("/decode", latents), ("/reconstruct", images)):
        body = {"content": encode_npy(array), "headers": npy}
        reply = ask(models, "POST", path, params=query, **body).json()
        assert [(e["index"], e["prompt"]) for e in reply["images"]] == list(enumerate(told))
        archive = ask(models, "POST", path, params={**query, "format": "zip"}, **body)
        with ZipFile(io.BytesIO(archive.content)) as files:
            index = json.loads(files.read("index.json"))
        assert [entry["prompt"] for entry in index["images"]] == told
    body = {"model": NAME, "seeds": [1, 2], "steps": 3, "prompt": OTHER, "format": "json"}
    path = ask(models, "POST", "/interpolate", json=body).json()
    assert [entry["prompt"] for entry in path["images"]] == [OTHER] * 3


@pytest.mark.parametrize(
    ("prompt", "expected", "found"),
    [
        ("a large purple square", "words among a, at, bottom", "'purple'"),
        ("a " * 20, "at most 9 words", "20"),
        ("", "words among a, at, bottom", "no word"),
        ([OTHER, OTHER, OTHER], "1 or 2 prompts", "3"),
        ([OTHER, "a blue circle"], "words among a, at, bottom", "'blue'"),
        (7, "a text, or a list of them", "7"),
        ([], "at least one prompt", "none"),
    ],
)
def test_what_cannot_be_read_is_422(
    models: Models, prompt: object, expected: str, found: str
) -> None:
    body = {"model": NAME, "seed": 7, "n": 2, "prompt": prompt}
    reply = ask(models, "POST", "/sample", json=body)
    assert reply.status_code == 422, reply.text
    told = reply.json()
    assert told["field"].startswith("prompt")
    assert told["expected"].startswith(expected)
    assert told["found"] == found


def test_the_model_says_which_words_it_knows(models: Models) -> None:
    told = ask(models, "GET", f"/models/{NAME}").json()
    assert {"a", "large", "turned", "centre"} <= set(told["vocabulary"]["words"])
    assert told["vocabulary"]["length"] == 9
    assert told["takes"]["decode"] == ["latents", "prompt"]


def test_openais_prompt_is_the_prompt(models: Models, model: runtime.Model) -> None:
    body = {"model": NAME, "prompt": PROMPT, "n": 2, "seed": 7}
    reply = ask(models, "POST", "/v1/images/generations", json=body)
    assert reply.status_code == 200, reply.text
    data = reply.json()["data"]
    assert [entry["revised_prompt"] for entry in data] == [PROMPT.replace(",", "")] * 2
    images = [Image.open(io.BytesIO(base64.b64decode(entry["b64_json"]))) for entry in data]
    made = np.stack([np.asarray(image)[..., None] for image in images])
    assert close(made, model.sample(2, seed=7, prompt=PROMPT))
    drawn = ask(models, "POST", "/v1/images/generations", json={**body, "prompt": "any"}).json()
    told = runtime.Sample(2, 7).chosen_prompts(model.manifest)
    assert [entry["revised_prompt"] for entry in drawn["data"]] == told
    refused = ask(models, "POST", "/v1/images/generations", json={**body, "prompt": "a dragon"})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["param"] == "prompt"
    assert "found 'dragon'" in error["message"]


def test_the_open_inference_protocol_takes_tokens(models: Models, model: runtime.Model) -> None:
    tokens = list(model.manifest.vocabulary.tokens(PROMPT))  # pyright: ignore[reportOptionalMemberAccess]
    inputs = [
        {"name": "seed", "datatype": "INT64", "shape": [1], "data": [7]},
        {"name": "prompt", "datatype": "INT64", "shape": [1, len(tokens)], "data": tokens},
    ]
    reply = ask(models, "POST", f"/v2/models/{NAME}/infer", json={"inputs": inputs})
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    made = np.array(output["data"], np.uint8).reshape(output["shape"])
    assert close(made, model.sample(1, seed=7, prompt=PROMPT))


def test_the_shell_takes_the_prompt_and_names_the_wrong_word(
    artifacts: Path, model: runtime.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, artifact = tmp_path / "images.npy", str(artifacts / NAME)
    sample = ["sample", artifact, "-n", "3", "--seed", "7", "-o", str(out)]
    assert command([*sample, "--prompt", PROMPT]) == 0
    assert close(np.load(out), model.sample(3, seed=7, prompt=PROMPT))
    assert f"--prompt '{PROMPT}' -n 3 --seed 7 --offset 3" in capsys.readouterr().err
    assert command([*sample, "--force", "--prompt", "a huge square"]) != 0
    assert "prompt: expected words among a, at, bottom" in capsys.readouterr().err
    path = [
        "interpolate",
        artifact,
        "--seeds",
        "1,2",
        "--steps",
        "3",
        "-o",
        str(tmp_path / "p.npy"),
    ]
    assert command([*path, "--prompt", OTHER]) == 0
    assert np.load(tmp_path / "p.npy").shape == (3, 32, 32, 1)
    assert f"--prompt '{OTHER}' --seeds 1,2 -o ends.png" in capsys.readouterr().err
    assert command(["info", artifact]) == 0
    assert "prompts  of a, at, bottom" in capsys.readouterr().out


def test_the_shell_draws_directions_of_the_first_example(
    artifacts: Path, tmp_path: Path, model: runtime.Model
) -> None:
    words = model.manifest.vocabulary
    assert words is not None
    given = ["--count", "2", "--steps", "3", "-o", str(tmp_path / "d.npz")]
    assert command(["directions", str(artifacts / NAME), *given]) == 0
    with np.load(tmp_path / "d.npz") as made:
        middle = model.decode(made["mean"][None], prompt=words.examples[0])
        assert close(made["images"][1:2], middle)


def test_the_shell_writes_down_which_prompts_were_drawn(
    artifacts: Path, model: runtime.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, artifact = tmp_path / "images.npz", str(artifacts / NAME)
    assert command(["sample", artifact, "--seeds", "1,2,9", "-o", str(out)]) == 0
    # Without a prompt there is no path to draw between them.
    assert f"latentserve sample {artifact} -n 64" in capsys.readouterr().err
    with np.load(out) as arrays:
        told = arrays["prompts"].tolist()
        images = arrays["images"]
    assert told == runtime.Sample(seeds=[1, 2, 9]).chosen_prompts(model.manifest)
    assert close(images, model.sample(seeds=[1, 2, 9], prompt=told))


def test_a_batch_of_columns_has_its_prompts(artifacts: Path, model: runtime.Model) -> None:
    sample = bulk.Sample(str(artifacts / NAME), seed=7, precision="fp32")
    drawn = sample({"index": np.array([4, 0, 1])})
    told = drawn["prompt"].tolist()
    expected = runtime.Sample(5, 7).chosen_prompts(model.manifest)
    assert expected is not None
    assert told == [expected[i] for i in (4, 0, 1)]
    given = sample({"index": np.arange(2), "prompt": [PROMPT, OTHER]})
    assert close(given["image"], model.sample(2, seed=7, prompt=[PROMPT, OTHER]))
    decode = bulk.Decode(str(artifacts / NAME), precision="fp32")
    batch = {"latents": model.latents(2, seed=7), "prompt": [PROMPT, OTHER]}
    assert close(decode(batch)["image"], given["image"])


def test_models_without_prompts_refuse_one(tmp_path: Path) -> None:
    from tests.tiny import write_artifact

    write_artifact(tmp_path, "conditional")
    with loaded(tmp_path) as models:
        model = models.get("tiny-conditional")
        with pytest.raises(InputError, match="prompt: expected none: tiny-conditional reads no"):
            model.sample(1, seed=7, prompt=PROMPT)
        reply = ask(models, "GET", "/sample", params={"seed": 7, "prompt": PROMPT})
        assert (reply.status_code, reply.json()["field"]) == (422, "prompt")
