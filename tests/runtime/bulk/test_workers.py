"""What a worker makes of a group is what one process makes of it, whatever it made before."""

import json
import pickle
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import InputError, Limits, Model, Sample
from runtime.artifact.reading import find_artifact
from runtime.bulk.buckets import buckets, nearest_of
from runtime.bulk.encoder import Encoder
from runtime.bulk.ledger import LEDGER
from runtime.bulk.network import Prepared
from runtime.bulk.pictures import Picture, Row
from runtime.bulk.pipeline import Bulk
from runtime.bulk.samples import Samples
from runtime.bulk.sources import find
from runtime.bulk.translator import Translator
from runtime.bulk.workers import Engine, PictureGroups, SampleGroups, forget_workers
from runtime.engines.backend import REFERENCE
from runtime.images import ImageSpec, UInt8Array
from runtime.requests.pictures import picture_spec
from tests.runtime.bulk.conftest import PICTURES
from tests.runtime.bulk.test_jobs import contents
from tests.sized import write_sized
from tests.tiny import write_artifact

ONE_CORE = Limits(cores=1)


@pytest.fixture(scope="module")
def unmasked_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sized(tmp_path_factory.mktemp("unmasked"), masked=False)


def groups(count: int, size: int) -> list[dict[str, int]]:
    firsts = enumerate(range(0, count, size))
    return [{"number": n, "first": f, "end": min(f + size, count)} for n, f in firsts]


def shards(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name[:6].isdecimal()}


def test_samples(tmp_path: Path) -> None:
    artifact = find_artifact(write_artifact(tmp_path, "conditional"))
    with runtime.load(artifact, backend=REFERENCE) as model:
        Samples(tmp_path / "whole", Sample(50, 7), 20).run(model)
        size = model.run_rows(Sample(50, 7).job(model))
    samples = Samples(tmp_path / "made", Sample(50, 7), 20)
    work = SampleGroups(Engine(artifact, REFERENCE, ONE_CORE), samples, size)
    work = pickle.loads(pickle.dumps(work))  # noqa: S301 - as Ray sends it
    for group in reversed(groups(50, 20)):
        told = work(group)
        assert 0 < told["busy"] < told["had"]
    assert shards(tmp_path / "made") == shards(tmp_path / "whole")
    assert len(shards(tmp_path / "made")) == 3


def encoder(model: Model) -> Prepared:
    sizes = buckets(model.manifest, 24)
    specs = {size: picture_spec(model.manifest, "encode", size, size) for size in sizes}
    return Prepared(Encoder(model, seed=3), nearest_of(specs), {})


def translator(model: Model) -> Prepared:
    made = Translator(model, ThreadPoolExecutor(1), seed=3, tile=32)
    return Prepared(made, made.spec_of, {})


def pictures_work(
    artifact: Path, prepare: Callable[[Model], Prepared], source: Path, out: Path, *, strict: bool
) -> PictureGroups:
    engine = Engine(find_artifact(artifact), REFERENCE, ONE_CORE)
    work = PictureGroups(engine, prepare, [source], None, out, strict, 1 << 20, 1, {})
    return pickle.loads(pickle.dumps(work))  # noqa: S301 - as Ray sends it


@pytest.mark.parametrize("prepare", [encoder, translator])
def test_pictures(
    unmasked_artifact: Path,
    pictures: Path,
    tmp_path: Path,
    prepare: Callable[[Model], Prepared],
) -> None:
    whole, made = tmp_path / "whole", tmp_path / "made"
    with runtime.load(unmasked_artifact, backend=REFERENCE) as model:
        prepared = prepare(model)
        bulk = Bulk(whole, prepared.spec_of, 25, max_pixels=1 << 20)
        bulk.run(prepared.network, find([pictures]).items)
    lines = [json.loads(line) for line in (whole / LEDGER).read_text().splitlines()]
    work = pictures_work(unmasked_artifact, prepare, pictures, made, strict=False)
    given = groups(PICTURES, 25)
    # In order, again, and backwards: a worker is given whatever is to be done.
    for group in (*given, *given[::-2]):
        told = work(group)
        line = lines[group["number"]]
        for name in ("pictures", "last_key", "keys", "chunk_sizes", "shards"):
            assert told[name] == line[name]
        assert len(told["skipped"]) == line["skipped"]
    assert shards(made) == shards(whole) != {}
    assert not list((made / ".making").iterdir())


def test_a_translation_that_is_cancelled_leaves_the_queue(
    unmasked_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: Future[UInt8Array] = Future()
    monkeypatch.setattr(Model, "submit", lambda *_: queued)
    with (
        runtime.load(unmasked_artifact, backend=REFERENCE) as model,
        ThreadPoolExecutor(1) as writers,
    ):
        spec = ImageSpec(height=16, width=16, channels=3)
        row = Row(0, "a", (16, 16), (0, 0, 16, 16, 1))
        picture = Picture(row, spec, np.zeros(spec.shape, np.uint8))
        flight = Translator(model, writers).submit([picture])
        try:
            flight.cancel()
            assert queued.cancelled()
        finally:
            queued.cancel()  # the writer waits for it


def test_a_worker_that_fails_leaves_nothing(
    sized_artifact: Path, pictures: Path, tmp_path: Path
) -> None:
    work = pictures_work(sized_artifact, encoder, pictures, tmp_path / "out", strict=True)
    with pytest.raises(InputError, match="expected one that can be worked on"):
        work({"number": 0, "first": 0, "end": PICTURES})
    assert contents(tmp_path / "out") == {}
    forget_workers(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
