"""Rounds, medians, ratios and k-thread loops."""

import threading

import pytest

from benchmarks.speed import timing


def test_variants_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SETTLE", 0)
    order: list[str] = []

    def variant(name: str) -> float:
        order.append(name)
        return len(order)

    found = timing.interleaved({name: lambda n=name: variant(n) for name in "ABC"}, rounds=2)
    assert order == list("ABCABC")
    assert found == {"A": [1, 4], "B": [2, 5], "C": [3, 6]}
    assert timing.medians(found) == {"A": 2.5, "B": 3.5, "C": 4.5}


def test_ratios_are_taken_within_a_round() -> None:
    # The machine halves its speed in the second round; the ratio does not notice.
    assert timing.paired_ratio([200, 100, 220], [100, 50, 100]) == 2.0


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="found 2 and 1"):
        timing.paired_ratio([1.0, 2.0], [1.0])


def test_rate_counts_the_images_of_all_threads() -> None:
    threads: set[int] = set()
    pause = threading.Event()

    def call() -> int:
        threads.add(threading.get_ident())
        pause.wait(0.01)
        return 5

    one, three = timing.rate(call, 0.1), timing.rate(call, 0.1, threads=3)
    assert len(threads) == 4
    assert 0 < one <= 500
    assert 0 < three <= 1500
    assert three > one


def test_rate_makes_one_call_at_least() -> None:
    assert timing.rate(lambda: 7, seconds=0.0) > 0


def test_a_failing_call_fails_the_measurement() -> None:
    def call() -> int:
        raise ArithmeticError("engine broke")

    for threads in (1, 2):
        with pytest.raises(ArithmeticError, match="engine broke"):
            timing.rate(call, 0.01, threads)
