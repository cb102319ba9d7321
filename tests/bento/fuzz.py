"""Fuzzing a running service: cases from its own OpenAPI description, and malformed requests.

`python -m tests.bento.fuzz 20000` (`make fuzz`) runs a campaign against a service of its own.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from benchmarks.speed.servers import Running, ours, running
from tests.bento.framing import fuzz_framing
from tests.bento.malformed import malformed
from tests.bento.support import FP32
from tests.reliability.scenarios import serving_process
from tests.tiny import write_artifact

SECONDS = 20.0
"""A reply that takes longer is a hang."""
GROWTH = 60e6
"""Bytes by which the service may hold more afterwards than after the first tenth."""

Statuses = Counter[tuple[str, int]]


def fuzz_malformed(server: Running, count: int, seed: int = 0) -> Statuses:
    """So many malformed requests; AssertionError tells one that is answered with 5xx or not."""
    found: Statuses = Counter()
    with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        for i in range(seed, seed + count):
            case = malformed(random.Random(i))
            headers = [(k.encode(), v.encode("utf-8")) for k, v in case.headers.items()]
            try:
                reply = client.request(case.method, case.path, content=case.body, headers=headers)
            except httpx.HTTPError as error:
                raise AssertionError(f"malformed {i} ({case.kind}): {error!r}") from error
            assert reply.status_code < 500, f"malformed {i}: {case}: {reply.text}"
            if reply.status_code >= 400 and case.method != "HEAD":
                assert set(reply.json()) == {"error", "field", "expected", "found"}, reply.text
            found[case.kind, reply.status_code] += 1
    return found


def fuzz_described(server: Running, count: int, seed: int = 0) -> Statuses:
    """About so many cases over all operations, half of them by the description, half against
    it."""
    found: Statuses = Counter()
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]
    # A GET without parameters has only one case.
    share = max(1, count // (2 * sum(operation.method == "post" for operation in operations)))
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _run(server, operation, mode, share, seed, found)
            except Unsatisfiable:
                continue  # there is nothing to say against a GET without parameters
    return found


def _run(
    server: Running,
    operation: Any,
    mode: GenerationMode,
    count: int,
    seed: int,
    found: Statuses,
) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),  # pyright: ignore[reportArgumentType]
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        reply = case.call(base_url=server.url, timeout=SECONDS)
        assert reply.status_code < 500, (case.as_curl_command(), reply.text)
        found[f"{operation.path} {mode.value}", reply.status_code] += 1

    send()


def main() -> None:
    """Two fifths of the cases of each kind and a fifth of damaged HTTP, in ten rounds; the memory
    after the first is what it must come back to."""
    parser = argparse.ArgumentParser(prog="python -m tests.bento.fuzz", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    found: Statuses = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("plain", "conditional", "vae"):
            write_artifact(folder / "artifacts", kind)  # pyright: ignore[reportArgumentType]
        settings = {**FP32, "LATENTSERVE_CACHE": name}
        with running(ours(folder / "artifacts", settings)) as server:
            worker, held = serving_process(server), []
            for i in range(10):
                share, framing = chosen.count // 25, chosen.count // 50
                found += fuzz_malformed(server, share, chosen.seed + i * share)
                found += fuzz_described(server, share, chosen.seed + i)
                found += fuzz_framing(server.port, framing, chosen.seed + i * framing)
                time.sleep(1)
                held.append(worker.memory_info().rss)
                print(f"{found.total()} cases, {held[-1] / 1e6:.0f} MB held", flush=True)
            assert worker.is_running(), server.log.read_text()[-3000:]
            assert held[-1] - held[0] < GROWTH, held
    for (kind, status), count in sorted(found.items()):
        print(f"{kind:<40} {status} {count:>8}")


if __name__ == "__main__":
    main()
