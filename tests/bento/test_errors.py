"""Every documented error: its status, and a JSON body that names field, expected and found."""

import asyncio
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento.repository.models import Models
from bento.settings import Settings
from runtime import EngineError
from runtime.images.encoding import encode_image, encode_npy
from tests.bento.support import Ask, ask_async

JSON = {"content-type": "application/json"}
NPY = {"content-type": "application/x-npy"}
PLAIN = {"model": "tiny-plain"}
BAD_PICTURE = b"\x89PNG\r\n\x1a\n and then nothing of the kind"


def check(reply: Any, status: int, field: str | None, *parts: str) -> None:
    """The status, the field, and text that `expected` and `found` together must contain."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert list(body) == ["error", "field", "expected", "found"]
    assert body["error"]
    assert body["field"] == field
    for part in parts:
        assert part in f"{body['expected']} | {body['found']}"


@pytest.mark.parametrize("path", ["/sample", "/decode", "/interpolate"])
@pytest.mark.parametrize("body", [b"{", b"not json", b'{"n": }', b"\xff\xfe", b"[" * 5000])
def test_unparseable_json_is_400(ask: Ask, path: str, body: bytes) -> None:
    check(ask("POST", path, content=body, headers=JSON), 400, "body", "JSON")


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"png"'])
def test_json_of_another_kind_is_422(ask: Ask, body: bytes) -> None:
    check(ask("POST", "/sample", content=body, headers=JSON), 422, "body", "a JSON object")


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({"n": 0}, "n", "greater than or equal to 1 | 0"),
        ({"n": -1}, "n", "-1"),
        ({"n": True}, "n", "integer | True"),
        ({"n": 2.0}, "n", "integer | 2.0"),
        ({"n": "3"}, "n", "integer | '3'"),
        ({"n": 10**400}, "n", "less than or equal to 2147483648 | an integer of 1329 bits"),
        ({"n": 4097}, "n", "at most 4096 images a request | 4097"),
        ({"seed": -1}, "seed", "-1"),
        ({"seed": 2**53}, "seed", "less than 9007199254740992 | 9007199254740992"),
        ({"seed": False}, "seed", "False"),
        ({"n": 5000, "labels": "zero"}, "n", "at most 4096"),
        ({"offset": -1}, "offset", "-1"),
        ({"offset": 2**53 - 1, "n": 2}, "offset", "9007199254740990"),
        ({"seeds": []}, "seeds", "at least 1"),
        ({"seeds": [1, -2]}, "seeds[1]", "-2"),
        ({"seeds": [1], "seed": 1}, "seeds", "either"),
        ({"seeds": [1, 2], "n": 3}, "seeds", "either"),
        ({"truncation": 0}, "truncation", "greater than 0 | 0"),
        ({"truncation": "1"}, "truncation", "number | '1'"),
        ({"format": "tiff"}, "format", "'gif', 'animated-webp' or 'glb' | 'tiff'"),
        ({"columns": 0}, "columns", "0"),
        ({"colums": 3}, "colums", "'columns'"),
        ({"model": "mnist"}, "model", "['tiny-conditional@1', 'tiny-plain@2', 'tiny-vae@1']"),
        ({"model": 3}, "model", "string | 3"),
        ({"model": "tiny-plain", "labels": 1}, "labels", "has no classes | 1"),
        ({"labels": "four"}, "labels", "['zero', 'one', 'two'], or an index below 3 | 'four'"),
        ({"labels": [0, 3], "n": 2}, "labels[1]", "'two'], or an index below 3 | 3"),
        ({"labels": [0, 1], "n": 3}, "labels", "1 or 3 labels | 2"),
        ({"labels": []}, "labels", "at least one"),
        ({"labels": "9" * 5000}, "labels", "999"),
        ({"labels": True}, "labels", "True"),
        ({"labels": 1.5}, "labels", "1.5"),
        ({"labels": {"a": 1}}, "labels", "a class by name or index"),
        ({"labels": [[0]]}, "labels", "a class by name or index"),
    ],
)
def test_unacceptable_samples_are_422(
    ask: Ask, body: dict[str, Any], field: str, expected: str
) -> None:
    check(ask("POST", "/sample", json=body), 422, field, expected)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_name_their_field(ask: Ask, number: str) -> None:
    sample = f'{{"truncation": {number}}}'
    check(ask("POST", "/sample", content=sample, headers=JSON), 422, "truncation")
    decode = f'{{"model": "tiny-plain", "latents": [[0, 0, 0, 0], [0, {number}, 0, 0]]}}'
    check(ask("POST", "/decode", content=decode, headers=JSON), 422, "latents", "row 1")


@pytest.mark.parametrize(
    ("latents", "found"),
    [
        ([], "shape [0]"),
        ([[1, 2]], "shape [1, 2]"),
        ([1, 2, 3, 4], "shape [4]"),
        ([[1, 2, 3, 4], [1]], "lists of several lengths"),
        ("[[1, 2, 3, 4]]", "nested lists"),
        ({"a": 1}, "nested lists"),
        ([["a", "b", "c", "d"]], "str"),
        ([[True, False, True, False]], "bool"),
        ([[True, 0.5, 0.5, 0.5]], "bool, float"),
        ([[None, 1, 1, 1]], "NoneType"),
        ([[10**400, 1, 1, 1]], "larger integer"),
        (["x" * 100_000, *[""] * 1000], "str"),
        ([[[1, 2, 3, 4]], [1, 2, 3, 4]], "lists of several lengths"),
        ([1, [2, 3, 4]], "int, list"),
        (json.loads("[" * 40 + "]" * 40), "more depths"),
        ([[1e30, 1, 1, 1]], "row 0"),
    ],
)
def test_unacceptable_latents_are_422(ask: Ask, latents: Any, found: str) -> None:
    check(ask("POST", "/decode", json={**PLAIN, "latents": latents}), 422, "latents", found)


@pytest.mark.parametrize(
    "body",
    [
        b'{"n": 1, "n": 2}',
        b'{"labels": [{"a": 1, "a": 1}]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"n": 1',
        b'{"model": "\xff"}',
    ],
)
def test_json_that_is_none_or_says_two_things_is_400(ask: Ask, body: bytes) -> None:
    check(ask("POST", "/sample", content=body, headers=JSON), 400, "body")


@pytest.mark.parametrize("size", ["64", "64,64,64", "a,b", "6.5,8", "²,8", ""])
def test_a_size_is_two_integers(ask: Ask, size: str) -> None:
    reply = ask("POST", f"/sample?size={size}")
    check(reply, 422, "size", "[height, width], two integers")


def test_a_decode_without_latents(ask: Ask) -> None:
    check(ask("POST", "/decode", json=PLAIN), 422, "latents", "none")
    check(ask("POST", "/decode"), 422, "latents", "none")


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3), np.float32), np.float32(1), np.full((1, 4), np.nan), np.zeros((0, 4))],
)
def test_npy_of_the_wrong_shape_is_422(ask: Ask, array: Any) -> None:
    reply = ask(
        "POST", "/decode?model=tiny-plain", content=encode_npy(np.asarray(array)), headers=NPY
    )
    check(reply, 422, "latents")


def test_npy_that_is_none_is_400(ask: Ask) -> None:
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    huge = encode_npy(np.zeros((1, 4), np.float32)).replace(b"(1, 4)", b"(9, 4)")
    cut = encode_npy(np.zeros((2, 4)))[:-1]
    unclosed = huge.replace(b"(9, 4)", b"(9, 4(")
    for body in (b"", b"\x93NUMPY", objects.getvalue(), huge, cut, unclosed):
        check(
            ask("POST", "/decode?model=tiny-plain", content=body, headers=NPY), 400, "body", "npy"
        )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/sample", "application/x-www-form-urlencoded"),
        ("/sample", "text/plain"),
        ("/decode", "image/png"),
        ("/encode", "application/json"),
        ("/reconstruct", "text/html"),
        ("/interpolate", "application/x-npy"),
    ],
)
def test_other_media_types_are_415(ask: Ask, path: str, kind: str) -> None:
    check(
        ask("POST", path, content=b"x", headers={"content-type": kind}), 415, "content-type", kind
    )


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("path", ["/sample", "/decode", "/encode", "/reconstruct", "/interpolate"])
@pytest.mark.parametrize(
    "kind", ["application/vnd.bentoml+pickle", "application/x-pickle", "application/python-pickle"]
)
def test_pickles_are_415(ask: Ask, path: str, kind: str) -> None:
    body = pickle.dumps(Bomb())
    check(
        ask("POST", path, content=body, headers={"content-type": kind}), 415, "content-type", kind
    )


def test_a_pickled_part_is_415(ask: Ask) -> None:
    files = {"files": ("x.png", pickle.dumps(Bomb()), "application/vnd.bentoml+pickle")}
    check(ask("POST", "/encode?model=tiny-vae", files=files), 415, "files[0]", "image/*")


def test_a_file_that_is_no_picture_is_named(ask: Ask, models: Models) -> None:
    good = encode_image(models.get("tiny-vae").sample(1, seed=1)[0])
    files = [("files", ("a.png", good)), ("files", ("b.png", BAD_PICTURE))]
    check(ask("POST", "/encode?model=tiny-vae", files=files), 422, "files[1]", "readable image")
    raw = {"content-type": "image/png"}
    reply = ask("POST", "/reconstruct?model=tiny-vae", content=good[:60], headers=raw)
    check(reply, 422, "body", "image file")
    empty = ask("POST", "/encode?model=tiny-vae", content=b"", headers=raw)
    check(empty, 422, "body", "image file")


def test_postscript_is_no_picture(ask: Ask) -> None:
    # Pillow would hand it to another program to draw.
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    raw = {"content-type": "image/eps"}
    reply = ask("POST", "/encode?model=tiny-vae", content=eps, headers=raw)
    check(reply, 422, "body", "readable image")


def test_multipart_without_files(ask: Ask) -> None:
    files = {"model": (None, "tiny-vae")}
    check(ask("POST", "/encode", files=files), 422, "files", "at least one")


def test_multipart_that_cannot_be_parsed_is_400(ask: Ask) -> None:
    form = {"content-type": "multipart/form-data; boundary=xyz"}
    half = b'--xyz\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc'
    for body in (b"", b"nothing", half, half + b"\r\n--xyz", half + b"\r\n--", b"--"):
        check(ask("POST", "/encode", content=body, headers=form), 400, "body", "multipart")
    no_boundary = {"content-type": "multipart/form-data"}
    check(ask("POST", "/encode", content=half, headers=no_boundary), 400, "body", "multipart")


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "latin-1", "base64", ""])
def test_forms_in_another_charset_are_415(ask: Ask, charset: str) -> None:
    form = {"content-type": f"multipart/form-data; boundary=xyz; charset={charset}"}
    part = b'--xyz\r\nContent-Disposition: form-data; name="f\xc3"; filename="a"\r\n\r\nabc'
    reply = ask("POST", "/encode", content=part + b"\r\n--xyz--\r\n", headers=form)
    check(reply, 415, "content-type", "in UTF-8", f"charset={charset}")


def test_unknown_and_doubled_options(ask: Ask) -> None:
    picture = {"content-type": "image/png"}
    check(ask("POST", "/encode?models=x", content=b"", headers=picture), 422, "models", "'model'")
    check(ask("POST", "/encode?format=png", content=b"", headers=picture), 422, "format", "npz")
    check(ask("POST", "/sample?n=2", json={"seed": 1}), 422, "query", "both")
    files = {"files": b"x"}
    twice = ask("POST", "/encode?model=tiny-vae", files=files, data={"model": "tiny-vae"})
    check(twice, 422, "model", "both")


def test_images_of_the_wrong_size_or_model(ask: Ask) -> None:
    wrong = encode_npy(np.zeros((1, 9, 8, 1), np.uint8))
    reply = ask("POST", "/encode?model=tiny-vae", content=wrong, headers=NPY)
    check(reply, 422, "images", "[1, 9, 8, 1]")
    for path in ("/encode", "/reconstruct"):
        images = encode_npy(np.zeros((1, 8, 8, 3), np.uint8))
        reply = ask("POST", f"{path}?model=tiny-plain", content=images, headers=NPY)
        able = f"['tiny-vae@1'] (those that can {path[1:]}) | 'tiny-plain'"
        check(reply, 422, "model", able)
        # Without a name it is the first that can.
        grey = encode_npy(np.zeros((1, 8, 8, 1), np.uint8))
        assert ask("POST", path, content=grey, headers=NPY).headers["x-model"] == "tiny-vae@1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "seeds"),
        ({"seeds": [1]}, "seeds"),
        ({"seeds": [1, 2, 3]}, "seeds"),
        ({"seeds": [1, 2], "a": [0] * 4, "b": [0] * 4}, "seeds"),
        ({"a": [0] * 4}, "seeds"),
        ({"seeds": [1, 2], "a": [0] * 4}, "seeds"),
        ({"a": [0] * 4, "b": [1] * 4, "truncation": 1}, "truncation"),
        ({"a": [0] * 3, "b": [0] * 4}, "a"),
        ({"seeds": [1, 2], "steps": 1}, "steps"),
        ({"seeds": [1, 2], "steps": 5000}, "steps"),
        ({"seeds": [1, 2], "kind": "cubic"}, "kind"),
    ],
)
def test_unacceptable_interpolations(ask: Ask, body: dict[str, Any], field: str) -> None:
    check(ask("POST", "/interpolate", json={**PLAIN, **body}), 422, field)


def test_what_was_expected_of_a_list_is_said_in_words(ask: Ask) -> None:
    reply = ask("POST", "/interpolate", json={**PLAIN, "seeds": [1]}).json()
    assert (reply["expected"], reply["found"]) == ("at least 2 items", "list of 1")


def test_paths_and_methods(ask: Ask) -> None:
    check(ask("GET", "/nowhere"), 404, None)
    for method, path, allowed in (
        ("GET", "/encode", "POST"),
        ("PUT", "/sample", "GET, HEAD, POST"),
        ("POST", "/models", "GET, HEAD"),
    ):
        reply = ask(method, path)
        check(reply, 405, None)
        assert reply.headers["allow"] == allowed


@pytest.mark.parametrize(
    "error", [EngineError("/srv/secret: CUDA out of memory"), RuntimeError("/srv/secret")]
)
def test_the_unexpected_is_500_and_tells_nothing(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("runtime.Model.submit", fail)
    reply = ask("POST", "/sample", json={})
    check(reply, 500, None)
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text


def test_without_models_everything_is_503(tmp_path: Path) -> None:
    empty = Models(Settings(artifacts=tmp_path))
    empty.load()
    check(asyncio.run(ask_async(empty, "POST", "/sample", json={})), 503, None)


@pytest.mark.parametrize("path", ["/sample", "/decode", "/encode"])
def test_a_compressed_body_is_415(ask: Ask, path: str) -> None:
    kind = {"content-type": "application/json" if path == "/sample" else "application/x-npy"}
    for coding in ("gzip", "br", "gzip, identity"):
        headers = kind | {"content-encoding": coding}
        check(ask("POST", path, content=b"x", headers=headers), 415, "content-encoding", coding)


@pytest.mark.parametrize("path", ["/sample?seed=1&seed=2", "/decode?seed=1&seed=2"])
def test_an_option_stands_once(ask: Ask, path: str) -> None:
    kind = {"content-type": "application/x-npy"} if path.startswith("/decode") else {}
    content = b"" if path.startswith("/sample") else np.lib.format.magic(1, 0)
    reply = ask("POST", path, content=content, headers=kind)
    check(reply, 422, "seed", "one value | several")
