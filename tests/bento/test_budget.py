"""One budget of bytes for all requests, and turns for pictures."""

import asyncio
import threading
import time

import httpx
import pytest

from bento.errors import RequestError
from bento.exchange.opening import Opening
from bento.repository.models import Models
from bento.routes import build_app
from bento.settings import Settings
from bento.traffic.budget import Budget, Holding, Shares
from runtime import InputError

MIB = 1 << 20


def test_bytes_are_counted_for_all_and_for_one_address() -> None:
    budget = Budget(10 * MIB)
    first, second, other = Holding(budget, "a"), Holding(budget, "a"), Holding(budget, "b")
    first.take(4 * MIB)
    with pytest.raises(RequestError, match="too many bytes") as refused:
        second.take(2 * MIB)
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "1"}
    other.take(4 * MIB)
    third = Holding(budget, "c")
    with pytest.raises(RequestError, match="too many bytes"):
        third.take(3 * MIB)
    first.release()
    third.take(3 * MIB)
    for holding in (second, other, third):
        holding.release()
    assert budget.held == 0


def test_a_request_alone_may_have_more_than_half_and_never_more_than_all() -> None:
    alone = Holding(Budget(10 * MIB), "a")
    alone.take(8 * MIB)
    with pytest.raises(InputError, match="at most"):
        alone.take(8 * MIB)


def test_small_requests_are_free() -> None:
    budget = Budget(MIB)
    Holding(budget, "a").take(MIB // 2 + MIB // 4)
    small = Holding(budget, "a")
    small.take(MIB // 4)
    assert budget.held == MIB // 2
    with pytest.raises(RequestError):
        small.take(1)


def test_what_is_held_meanwhile_comes_back() -> None:
    budget = Budget(8 * MIB)
    holding, other = Holding(budget, "a"), Holding(budget, "a")
    other.take(MIB)
    holding.take(MIB)
    with holding.meanwhile(2 * MIB), pytest.raises(RequestError), holding.meanwhile(2 * MIB):
        pass
    holding.take(2 * MIB)
    holding.release()
    other.release()
    assert budget.held == 0


def test_nothing_is_held_after_any_request(models: Models) -> None:
    app = build_app(Settings(max_reply_bytes=1000), models)
    latents = [[0.0] * 4] * 500

    async def ask_all() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            replies = [
                await client.post("/sample", json={"model": "tiny-plain", "n": 4}),
                await client.post("/sample", json={"model": "tiny-plain", "n": 400}),
                await client.post("/sample", content=b"{" * 500_000),
                await client.post("/decode", json={"model": "tiny-plain", "latents": latents}),
                await client.post("/encode?model=tiny-vae", files={"files": b"x" * 400_000}),
                await client.post("/sample?model=tiny-plain&n=300&format=npy"),
            ]
        return [reply.status_code for reply in replies]

    assert asyncio.run(ask_all()) == [200, 422, 400, 422, 422, 200]
    assert app.budget.held == 0


def test_a_body_that_no_budget_has_room_for_is_422(models: Models) -> None:
    app = build_app(Settings(memory_bytes=MIB), models)

    async def ask(content: bytes) -> str:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"content-type": "image/png"}
            path = "/encode?model=tiny-vae"
            reply = await client.post(path, content=content, headers=headers)
        assert reply.status_code == 422
        return reply.json()["field"]

    assert asyncio.run(ask(bytes(2 * MIB))) == "request"
    assert asyncio.run(ask(bytes(MIB))) == "body"


def test_one_address_has_half_of_a_queue() -> None:
    shares = Shares(100)
    with shares.taken("m", "a", 40):
        with pytest.raises(RequestError, match="full for this address"), shares.taken("m", "a", 20):
            pass
        with shares.taken("m", "a", 10), shares.taken("m", "b", 50), shares.taken("n", "a", 50):
            pass
    # One request alone is always admitted.
    with shares.taken("m", "a", 100):
        pass


def test_pictures_are_admitted_by_their_pixels() -> None:
    opening = Opening(10_000_000, 10_000_000)
    with opening.admitted("a", 5_000_000):
        with pytest.raises(RequestError, match="too many pictures"), opening.admitted("a", 3 << 20):
            pass
        with opening.admitted("a", 900_000), opening.admitted("b", 5_000_000):
            pass
    # One request alone has limits of its own.
    with opening.admitted("a", 50_000_000):
        pass
    with opening.admitted("a", 5_000_000):
        pass


def test_small_pictures_pass_large_ones() -> None:
    order: list[str] = []
    held = threading.Event()

    async def all_of_them() -> None:
        opening = Opening(1 << 40, 1 << 40)
        busy = [asyncio.create_task(opening.run(2_000_000, held.wait, 10)) for _ in range(2)]
        await asyncio.sleep(0)
        large = asyncio.create_task(opening.run(50_000_000, order.append, "large"))
        await asyncio.sleep(0)
        gone = asyncio.create_task(opening.run(1_500_000, order.append, "gone"))
        small = asyncio.create_task(opening.run(1000, order.append, "small"))
        await asyncio.sleep(0)
        gone.cancel()
        held.set()
        for task in (*busy, large, small):
            await task

    asyncio.run(all_of_them())
    assert order == ["small", "large"]


def test_only_so_many_pixels_are_decoded_at_a_time() -> None:
    at_once, most = 0, 0
    lock = threading.Lock()

    def decode() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1

    async def all_of_them(pixels: int) -> None:
        opening = Opening(1 << 40, 100_000_000)
        await asyncio.gather(*(opening.run(pixels, decode) for _ in range(6)))

    asyncio.run(all_of_them(60_000_000))
    assert most == 1
    asyncio.run(all_of_them(50_000_000))
    assert most == 2
