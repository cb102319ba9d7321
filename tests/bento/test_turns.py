"""What one turn of the event loop asks for reaches the engine together, and comes back together."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento.exchange.turns import Turns
from runtime import EngineError, Limits, Model, OverloadedError, Sample, load
from runtime.batching.jobs import Job
from tests.bento.support import WAIT
from tests.bento.test_overload import busy
from tests.runtime.fakes import Recorder
from tests.tiny import write_artifact


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def model(tmp_path: Path, recorder: Recorder) -> Iterator[Model]:
    limits = Limits(runners=1, queue_images=8)
    artifact = write_artifact(tmp_path, "plain")
    with load(artifact, backend="onnxruntime", limits=limits, observer=recorder) as model:
        yield model


def image(seed: int, model: Model) -> Job[Any]:
    return Sample(1, seed).job(model)


async def end_of_turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_one_run_and_one_waking(
    model: Model, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [model.sample(1, seed=seed) for seed in range(6)]
    woken: list[Any] = []

    async def ask() -> list[Any]:
        loop, turns = asyncio.get_running_loop(), Turns()
        wake = loop.call_soon_threadsafe

        def counted(*given: Any) -> Any:
            woken.append(given)
            return wake(*given)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        with busy(model):
            asked = [turns.run(model, image(seed, model)) for seed in range(6)]
            await end_of_turn()
        # By the one runner, after those; alone, or it could still join their run.
        model.submit(replace(image(0, model), alone=True)).result(WAIT)
        return await asyncio.gather(*asked)

    found = asyncio.run(ask())
    # fp32 in another batch: one grey level.
    assert np.abs(np.array(found, int) - np.array(expected, int)).max() <= 1
    assert (6, 6) in recorder.of("taken")
    assert len(woken) == 1


def test_what_is_refused_or_fails_raises_where_it_was_asked_for(model: Model) -> None:
    def broken(start: int, stop: int) -> Any:
        raise ValueError("no inputs")

    async def ask() -> Any:
        turns = Turns()
        with busy(model):
            many = turns.run(model, Sample(8, 1).job(model))
            await end_of_turn()
            refused = turns.run(model, image(2, model))
            with pytest.raises(OverloadedError):
                await refused
        bad = turns.run(model, Job("decode", 1, broken, lambda outputs, start: outputs))
        return await asyncio.gather(many, bad, return_exceptions=True)

    many, bad = asyncio.run(ask())
    assert len(many) == 8
    assert isinstance(bad, EngineError)


def test_what_is_cancelled_leaves_the_queue(model: Model, recorder: Recorder) -> None:
    async def ask() -> None:
        turns = Turns()
        with busy(model):
            early = turns.run(model, image(1, model))
            early.cancel()
            late = turns.run(model, image(2, model))
            await end_of_turn()
            late.cancel()
            await end_of_turn()
        assert len(await turns.run(model, image(3, model))) == 1

    asyncio.run(ask())
    assert recorder.images_run() == 2  # the one that held the runner, and the last


def test_a_loop_that_has_ended_is_not_told(model: Model) -> None:
    async def leave() -> None:
        Turns().run(model, image(1, model))
        await end_of_turn()

    with busy(model):
        asyncio.run(leave())
    assert len(model.sample(2, seed=1)) == 2
