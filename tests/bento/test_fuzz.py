"""A few hundred cases of each kind of fuzzing; `make fuzz` runs 20,000."""

from benchmarks.speed.servers import Running
from tests.bento.framing import fuzz_framing
from tests.bento.fuzz import fuzz_described, fuzz_malformed


def test_malformed_requests(server: Running) -> None:
    statuses = fuzz_malformed(server, 300)
    assert statuses.total() == 300
    assert {status for _, status in statuses} >= {200, 400, 415, 422}


def test_cases_from_the_description(server: Running) -> None:
    statuses = fuzz_described(server, 300)
    assert statuses.total() > 100
    assert {status for _, status in statuses} >= {200, 422}


def test_damaged_http(server: Running) -> None:
    statuses = fuzz_framing(server.port, 300)
    assert {status for _, status in statuses} >= {200, 400, 404, 408, 422}
