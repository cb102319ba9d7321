"""The engine cache: keys, staleness, damage."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from runtime.engines.nvidia.plans import (
    Bucket,
    PlanKey,
    discard,
    find,
    names,
    note_verified,
    stale,
    store,
)

KEY = PlanKey("a" * 64, "tensorrt", "11.4.0.106", "9.0", "fp16", Bucket.of(64))


def keep(cache: Path, key: PlanKey = KEY, data: bytes = b"plan") -> Path:
    return store(cache, key, data, built={"gpu": "H"}, verified=None)


def found(
    cache: Path, version: str = "11.4.0.106", capability: tuple[int, int] = (9, 0)
) -> list[tuple[str, bytes]]:
    plans = find(cache, KEY.onnx, "tensorrt", "fp16", version, capability)
    return [(str(plan.key.bucket), plan.data) for plan in plans]


def test_what_was_stored_is_found_by_its_key(tmp_path: Path) -> None:
    path = keep(tmp_path)
    assert path.relative_to(tmp_path).parts == (
        "plans", "a" * 64, "tensorrt-11.4.0.106-sm90-fp16-b64.plan",
    )  # fmt: skip
    assert found(tmp_path) == [("64", b"plan")]
    assert names(tmp_path, KEY.onnx) == [path.name]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, onnx="b" * 64),
        replace(KEY, flavor="tensorrt-rtx"),
        replace(KEY, version="11.4.0.107"),
        replace(KEY, version="10.13.3.9"),
        replace(KEY, capability="8.9"),
        replace(KEY, precision="fp32"),
    ],
)
def test_any_other_key_is_not_found(tmp_path: Path, other: PlanKey) -> None:
    keep(tmp_path, other)
    assert found(tmp_path) == []


def test_buckets_come_smallest_first_and_once(tmp_path: Path) -> None:
    for bucket in (Bucket.of(256), Bucket.of(1), Bucket(256, 1, 64), Bucket.of(64)):
        keep(tmp_path, replace(KEY, bucket=bucket), str(bucket).encode())
    assert [bucket for bucket, _ in found(tmp_path)] == ["1", "64", "1-64-256", "256"]
    assert dict(found(tmp_path))["64"] == b"64"


def test_stale_plans_are_named(tmp_path: Path) -> None:
    keep(tmp_path)
    keep(tmp_path, replace(KEY, version="10.13.3.9"))
    keep(tmp_path, replace(KEY, capability="8.9"))
    keep(tmp_path, replace(KEY, precision="fp32", version="10.0"))  # of no concern here
    told = stale(tmp_path, KEY.onnx, "tensorrt", "fp16", "11.4.0.106", (9, 0))
    assert told == [
        "tensorrt 10.13.3.9 for compute capability 9.0",
        "tensorrt 11.4.0.106 for compute capability 8.9",
    ]


def test_a_damaged_plan_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = keep(tmp_path)
    keep(tmp_path, replace(KEY, bucket=Bucket.of(1)), b"small")
    path.write_bytes(b"plam")
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path) == [("1", b"small")]
    assert path.name in caplog.text
    assert "build it again" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"key": 3}',
        '{"key": {}}',
        json.dumps({"key": {"bucket": {}}}),
        json.dumps({"key": {**asdict(KEY), "capability": 90}}),
        json.dumps({"key": {**asdict(KEY), "bucket": {"largest": "4", "smallest": 4, "best": 4}}}),
        json.dumps({"key": asdict(KEY)}),
    ],
    ids=lambda text: text[:40],
)
def test_a_damaged_record_is_left_out(tmp_path: Path, text: str) -> None:
    keep(tmp_path).with_suffix(".json").write_text(text)
    assert found(tmp_path) == []


@pytest.mark.parametrize("entry", ["sha256", "built", "verified"])
@pytest.mark.parametrize("wrong", [1, "x", [1]])
def test_a_record_of_other_types_is_left_out(tmp_path: Path, entry: str, wrong: object) -> None:
    record = keep(tmp_path).with_suffix(".json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {entry: wrong}))
    assert found(tmp_path) == []


def test_a_record_under_another_name_is_no_key(tmp_path: Path) -> None:
    path = keep(tmp_path).with_suffix(".json")
    path.rename(path.with_name("other.json"))
    assert found(tmp_path) == []


def test_half_a_plan_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(tmp_path).unlink()
    assert found(tmp_path) == []
    assert "cannot be read" in caplog.text


def test_a_verification_is_noted_and_a_wrong_plan_forgotten(tmp_path: Path) -> None:
    keep(tmp_path)
    (plan,) = find(tmp_path, KEY.onnx, "tensorrt", "fp16", "11.4.0.106", (9, 0))
    assert plan.verified is None
    note_verified(tmp_path, plan, {"max_difference": 1.0})
    (plan,) = find(tmp_path, KEY.onnx, "tensorrt", "fp16", "11.4.0.106", (9, 0))
    assert plan.verified == {"max_difference": 1.0}
    assert (plan.data, plan.built) == (b"plan", {"gpu": "H"})
    discard(tmp_path, KEY)
    assert found(tmp_path) == []
    discard(tmp_path, KEY)


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    assert keep(tmp_path).parent.stat().st_mode & 0o077 == 0
