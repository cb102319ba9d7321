"""Seeded requests that no honest client sends: wrong types, half bodies, bombs, odd numbers."""

import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

POSTS = ("/sample", "/decode", "/encode", "/reconstruct", "/interpolate")
TYPES = (
    "application/json",
    "application/x-npy",
    "application/octet-stream",
    "multipart/form-data; boundary=x",
    "image/png",
    "image/svg+xml",
    "text/plain",
    "application/vnd.bentoml+pickle",
    "application/x-www-form-urlencoded",
    "",
    "application/json; charset=utf-16",
    "*/*",
    "image/" + "x" * 300,
)


@dataclass(frozen=True)
class Malformed:
    """A request. `kind` says what is wrong with it."""

    kind: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


def _json(rng: random.Random) -> bytes:
    """JSON-like text: NaN, huge numbers, unicode, duplicate keys, deep nesting."""
    odd = [
        "NaN", "Infinity", "-Infinity", "1e999", "-0", "1" * 400, "9007199254740993", "1.5", "null",
        "true", '"\\ud800"', '"\\u0000"', '"é𝄞"', '"' + "x" * 3000 + '"', "[]", "{}", "[[[]]]",
        "[" * 2000 + "]" * 2000, '{"a":' * 500 + "1" + "}" * 500, "[NaN,1e40]", "-1", "01", "+1",
    ]  # fmt: skip
    names = ["n", "seed", "seeds", "offset", "model", "labels", "format", "columns", "truncation",
             "latents", "steps", "kind", "a", "b", "é", ""]  # fmt: skip
    pairs = [f"{json.dumps(rng.choice(names))}:{rng.choice(odd)}" for _ in range(rng.randint(0, 5))]
    if rng.random() < 0.3:
        pairs *= 2
    text = ("{" + ",".join(pairs) + "}").encode("utf-8")
    if rng.random() < 0.2:
        text = text[: rng.randint(0, len(text))]
    if rng.random() < 0.1:
        text = b"\xef\xbb\xbf" + text
    return text


def _npy(rng: random.Random) -> bytes:
    """`.npy` files: lying headers, objects, other types, damaged."""
    buffer = io.BytesIO()
    dtype = rng.choice(["f4", "f8", "u1", "i8", "c8", "?", "S3", "<U4", ">f4", "f2"])
    shape = rng.choice([(2, 4), (1, 8, 8, 1), (0, 4), (), (3,), (1, 1, 1, 1, 1, 1)])
    np.save(buffer, np.zeros(shape, dtype), allow_pickle=False)
    data = buffer.getvalue()
    how = rng.choice(["as it is", "vast", "object", "cut", "flip", "code", "short"])
    if how == "vast":
        data = _header("(1000000000, 4)", "<f4")
    elif how == "object":
        data = _header("(1,)", "|O") + b"\x80\x04cos\nsystem\n."
    elif how == "code":
        data = _header("__import__('os').getpid()", "<f4") + bytes(64)
    elif how == "cut":
        data = data[: rng.randint(0, len(data))]
    elif how == "short":
        data = b"\x93NUMPY" + rng.randbytes(rng.randint(0, 12))
    elif how == "flip":
        damaged = bytearray(data)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        data = bytes(damaged)
    return data


def _header(shape: str, dtype: str) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _multipart(rng: random.Random) -> bytes:
    """Forms: half of one, no file, a wrong part, a picture that is none, many fields."""
    part = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + _picture(rng) + b"\r\n"
    )
    field_ = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
        rng.choice([b"model", b"labels", b"\xff", b"", b"x" * 500]),
        rng.choice([b"tiny-vae", b"", b"\x00", b"\xff\xfe", b"y" * 5000]),
    )
    parts = [rng.choice([part, field_]) for _ in range(rng.randint(0, 4))]
    whole = b"".join(parts) + b"--x--\r\n"
    if rng.random() < 0.4:
        whole = whole[: rng.randint(0, len(whole))]
    return whole


def _picture(rng: random.Random) -> bytes:
    """Pictures: none, cut, and small files of vast pictures."""
    how = rng.choice(["noise", "bomb", "cut", "gif", "tiff", "svg", "empty"])
    if how == "bomb":
        return _png_bomb(rng.choice([3000, 20_000, 60_000]))
    if how == "cut":
        return _png_bomb(8)[: rng.randint(0, 60)]
    head = {"gif": b"GIF89a", "tiff": b"II*\x00", "svg": b"<svg xmlns='x'/>", "empty": b""}
    return head.get(how, b"") + (rng.randbytes(rng.randint(0, 200)) if how != "empty" else b"")


def _png_bomb(side: int) -> bytes:
    """A PNG of side x side black pixels: a thousandth of its size, or less."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(1 << 22, side * (1 + side // 8))), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _zip(rng: random.Random) -> bytes:
    """An archive that unpacks to much more than it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(rng.choice(["a.npy", "../a", "/a"]), bytes(1 << 20))
    return buffer.getvalue()


def _gzip(rng: random.Random) -> bytes:
    return gzip.compress(bytes(1 << 22) if rng.random() < 0.5 else b'{"n": 1}')


BODIES: dict[str, Callable[[random.Random], bytes]] = {
    "json": _json,
    "npy": _npy,
    "multipart": _multipart,
    "picture": _picture,
    "zip": _zip,
    "gzip": _gzip,
    "noise": lambda rng: rng.randbytes(rng.randint(0, 300)),
    "empty": lambda rng: b"",
}
_OWN_TYPE = {
    "json": "application/json",
    "npy": "application/x-npy",
    "multipart": "multipart/form-data; boundary=x",
    "picture": "image/png",
}


def malformed(rng: random.Random) -> Malformed:
    """One request, decided by `rng` alone."""
    kind = rng.choice(sorted(BODIES))
    # Mostly of the type that its body claims, so that it gets past the door.
    content_type = _OWN_TYPE.get(kind, "") if rng.random() < 0.7 else rng.choice(TYPES)
    headers = {"content-type": content_type}
    if rng.random() < 0.1:
        headers["content-encoding"] = rng.choice(["gzip", "deflate", "br", "identity", "x"])
    if rng.random() < 0.1:
        headers["accept"] = rng.choice(["text/html", "*/*;q=0", "image/png;q=nan", ",,,", "é" * 9])
    query = ""
    if rng.random() < 0.3:
        query = "?" + "&".join(
            rng.choice([
                "model=tiny-vae", "n=1e9", "n=%00", "seed=-1", "labels=,,,", "columns=0", "é=1",
                "format=exe", "seeds=" + "1," * 400, "truncation=nan", "model=../../etc/passwd",
                "n=1&n=2", "steps=Infinity", "%", "a=[1,2]",
            ])
            for _ in range(rng.randint(1, 3))
        )  # fmt: skip
    method = "POST" if rng.random() < 0.95 else rng.choice(["GET", "PUT", "DELETE", "HEAD"])
    path = rng.choice(POSTS) + query
    return Malformed(kind, path, BODIES[kind](rng), headers, method)
