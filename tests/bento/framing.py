"""Seeded bytes that are nearly HTTP/1.1: heads, bodies and chunks that are damaged, cut, doubled or
too long."""

import asyncio
import json
import random
import re
from collections import Counter

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

_TARGETS = (
    b"/sample", b"/sample?n=1", b"/models", b"/decode", b"/livez", b"*", b"http://x/sample",
    b"/%00", b"/%", b"/\xff", b"/../models", b"//models", b"/sample#x", b"", b"/" + b"a" * 9000,
)  # fmt: skip
_FIELDS = (
    b"content-length: 2", b"content-length: +2", b"content-length: 2, 2", b"content-length: 0x2",
    b"content-length: -1", b"content-length: 99999999999999999999", b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked", b"transfer-encoding: chunked, identity",
    b"transfer-encoding : chunked", b"transfer-encoding:\x0bchunked", b"Transfer-Encoding: CHUNKED",
    b"connection: close", b"connection: keep-alive, upgrade", b"upgrade: h2c", b"host: y",
    b"expect: 100-continue", b"expect: the unexpected", b"content-encoding: gzip", b"x: " * 4000,
    b"authorization: Bearer", b"content-type: application/json", b"content-type: \xff\xfe",
    b"content-type: multipart/form-data", b"x-request-id: " + b"i" * 500, b" folded", b"\tfolded",
    b"no colon", b": no name", b"a b: c", b"nul: \x00", b"cookie: " + b"c=d; " * 50,
)  # fmt: skip
_BODIES = (
    b"{}", b"", b"{}{}", b'{"n": 1}', b"2\r\n{}\r\n0\r\n\r\n", b"0\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"-2\r\n{}\r\n", b"2;ext=1\r\n{}\r\n0\r\nx: y\r\n\r\n", b"2\n{}\n0\n\n", b"2\r\n{}0\r\n\r\n",
)  # fmt: skip


def framed(rng: random.Random) -> bytes:
    """What one connection sends, decided by `rng` alone."""
    requests = b"".join(_request(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    data = bytearray(requests)
    for _ in range(rng.choice((0, 0, 1, 3))):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(data[: rng.randint(1, len(data))] if rng.random() < 0.1 else data)


def _request(rng: random.Random) -> bytes:
    method = rng.choice((b"GET", b"POST", b"POST", b"POST", b"HEAD", b"BREW", b"get", b"PRI"))
    target = rng.choice(_TARGETS)
    version = rng.choice(
        (b"HTTP/1.1",) * 8 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"FTP/1.1", b"")
    )
    fields = [b"host: x", *(rng.choice(_FIELDS) for _ in range(rng.randint(0, 5)))]
    if rng.random() < 0.05:
        fields *= 60
    rng.shuffle(fields)
    end = rng.choice((b"\r\n",) * 8 + (b"\n", b"\r"))
    head = end.join([b" ".join((method, target, version)), *fields])
    return head + end * 2 + rng.choice(_BODIES)


async def _talk(port: int, data: bytes, seconds: float) -> bytes:
    """Send the bytes and take what comes, until the other side closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        writer.write(data)
        await writer.drain()
        while True:
            # After a reply the connection may be kept; before it, silence is a hang.
            async with asyncio.timeout(1.0 if _STATUS.search(found) else seconds):
                part = await reader.read(1 << 16)
            found += part
            if not part:
                return found
    except TimeoutError:
        assert _STATUS.search(found), "neither a reply nor an end"
        return found
    except ConnectionError:
        return found
    finally:
        writer.close()


async def _talk_all(port: int, cases: list[bytes], seconds: float, at_once: int) -> list[bytes]:
    room = asyncio.Semaphore(at_once)

    async def one(data: bytes) -> bytes:
        async with room:
            try:
                return await _talk(port, data, seconds)
            except AssertionError as error:
                raise AssertionError(f"{error}: {data!r}") from None

    return await asyncio.gather(*map(one, cases))


def fuzz_framing(
    port: int, count: int, seed: int = 0, *, seconds: float = 20.0, at_once: int = 100
) -> Counter[tuple[str, int]]:
    """So many connections; AssertionError for a hang, a 5xx, or an error that is not our JSON."""
    cases = [framed(random.Random(i)) for i in range(seed, seed + count)]
    replies = asyncio.run(_talk_all(port, cases, seconds, at_once))
    found: Counter[tuple[str, int]] = Counter()
    for case, reply in zip(cases, replies, strict=True):
        statuses = list(_STATUS.finditer(reply))
        for one in statuses:
            status = int(one[1])
            assert status < 500, (case, reply)
            length = _LENGTH.search(one[2])
            body = reply[one.end() : one.end() + (int(length[1]) if length else 0)]
            if status >= 400 and body:
                assert set(json.loads(body)) == {"error", "field", "expected", "found"}, reply
            found["framing", status] += 1
        if not statuses:
            found["framing, closed without a reply", 0] += 1
    return found
