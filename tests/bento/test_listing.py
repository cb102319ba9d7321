"""GET /models: short by default, one model in full, its figures explained, its sheet."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bento.repository.models import Models
from runtime.artifact.figures import explained
from runtime.images.encoding import encode_image
from tests.bento.support import ROOT, Ask, ask_async, loaded
from tests.tiny import rewrite_manifest, write_artifact

FIGURES = {"n": 100.0, "frechet": 2.0, "frechet_real": 0.5, "of_my_own": 3.0, "as_asked_cat": 0.9}
Get = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def sheet(models: Models) -> bytes:
    return encode_image(models.get("tiny-vae").sample(1, seed=0)[0])


@pytest.fixture(scope="module")
def get(tmp_path_factory: pytest.TempPathFactory, sheet: bytes) -> Iterator[Get]:
    folder = tmp_path_factory.mktemp("artifacts")
    artifact = write_artifact(folder, "vae", version=3)
    (artifact / "samples.png").write_bytes(sheet)
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    digest = hashlib.sha256(sheet).hexdigest()
    rewrite_manifest(
        artifact,
        files=manifest["files"] | {"samples.png": digest},
        provenance=manifest["provenance"] | {"figures": FIGURES},
    )
    write_artifact(folder, "plain")
    with loaded(folder) as models:
        yield lambda path, **request: asyncio.run(ask_async(models, "GET", path, **request))


def test_the_list_is_short(get: Get) -> None:
    entries = get("/models").json()["models"]
    assert [entry["name"] for entry in entries] == ["tiny-plain", "tiny-vae"]
    assert set(entries[1]) == {
        "name", "version", "kind", "image", "latent", "labels", "prompts", "requests", "axes",
        "engine", "images_per_second", "licence",
    }  # fmt: skip
    assert entries[1]["images_per_second"] > 0
    assert entries[1]["prompts"] is False
    assert all(len(json.dumps(entry)) < 1000 for entry in entries)


def test_in_full_each_entry_is_that_of_its_model(get: Get) -> None:
    entries = get("/models?full=1").json()["models"]
    assert entries == [get(f"/models/{name}").json() for name in ("tiny-plain", "tiny-vae")]
    assert get("/models/tiny-vae@3").json() == entries[1]
    short = get("/models?full=0").json()["models"][1]
    assert short.items() <= entries[1].items()
    assert entries[1]["provenance"]["source"] == "tests.tiny"
    for query in ("full=2", "all=1"):
        assert get(f"/models?{query}").status_code == 422


def test_figures_are_explained_beside_those_of_real_pictures(get: Get) -> None:
    figures = {figure["name"]: figure for figure in get("/models/tiny-vae").json()["figures"]}
    assert set(figures) == {"frechet", "of_my_own", "as_asked_cat"}
    frechet = figures["frechet"]
    assert (frechet["value"], frechet["real"], frechet["better"]) == (2.0, 0.5, "lower")
    assert "real images" in frechet["meaning"]
    assert figures["of_my_own"] == {
        "name": "of_my_own", "value": 3.0, "unit": None, "meaning": None, "better": None,
        "real": None,
    }  # fmt: skip
    assert figures["as_asked_cat"]["better"] == "higher"
    assert "cat" in figures["as_asked_cat"]["meaning"]


def test_numbers_that_json_does_not_have_are_left_out() -> None:
    found = explained({"frechet": float("nan"), "kl": 1.0, "sure": 1.0, "sure_real": float("inf")})
    assert [(figure.name, figure.real) for figure in found] == [("kl", None), ("sure", None)]


def test_what_stands_beside_a_figure_is_no_figure() -> None:
    measured = {
        "n": 50.0,
        "held": 100.0,
        "judge_accuracy": 0.8,
        "frechet": 1.0,
        "frechet_real": 0.4,
        "frechet_reconstructed": 0.7,
        "frechet_deviation": 0.1,
        "frechet_real_deviation": 0.1,
    }
    found = {figure.name: figure for figure in explained(measured)}
    assert list(found) == ["judge_accuracy", "frechet", "frechet_reconstructed"]
    assert found["frechet_reconstructed"].real == 0.4
    assert all(figure.meaning for figure in found.values())


@pytest.mark.parametrize("manifest", sorted((ROOT / "artifacts").glob("*/*/manifest.json")))
def test_every_figure_that_ships_is_explained(manifest: Path) -> None:
    figures = explained(json.loads(manifest.read_text("utf-8"))["provenance"]["figures"])
    assert len(figures) > 5
    assert all(figure.meaning and figure.unit for figure in figures)


def test_the_sheet_is_the_artifacts_own(get: Get, sheet: bytes) -> None:
    path = f"/{get('/models/tiny-vae').json()['sheet']}"
    reply = get(path)
    assert reply.content == sheet
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert get("/models/tiny-vae/samples.png").headers["cache-control"] == "public, no-cache"
    known = get(path, headers={"if-none-match": reply.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_what_is_not_there_is_404(get: Get) -> None:
    for path in ("/models/nobody", "/models/tiny-vae@2", "/models/nobody/samples.png"):
        reply = get(path)
        assert (reply.status_code, reply.json()["field"]) == (404, "model")
        assert "tiny-vae@3" in reply.json()["expected"]
    assert get("/models/tiny-plain").json()["sheet"] is None
    assert get("/models/tiny-plain/samples.png").status_code == 404
    assert get("/models/tiny-vae/decode.onnx").status_code == 404


def test_they_are_counted_under_one_path(ask: Ask) -> None:
    reply = ask("PUT", "/models/tiny-vae")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
