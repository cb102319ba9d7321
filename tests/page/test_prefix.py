"""The page behind a reverse proxy that serves it under a path prefix."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.speed.servers import Running
from tests.page.browser import Browser
from tests.page.conftest import Open
from tests.page.proxy import behind_prefix
from tests.page.swagger import execute, open_operation


@pytest.fixture(scope="module")
def prefixed(served: Running) -> Iterator[str]:
    with behind_prefix(served.url, "/some/prefix") as url:
        yield url


def test_every_tab_works(open_page: Open, prefixed: str, picture: Path) -> None:
    page = open_page("sample?model=mnist-vae&n=4", url=prefixed)
    page.until(lambda: len(page.all(".tile")) == 4)
    page.go("explore?model=mnist-vae-2d")
    page.until(lambda: page.all(".explore canvas, .explore img"))
    page.go("encode?model=mnist-vae")
    page.button("Sample").click()
    page.until(lambda: page.all(".report .tile"))
    page.go("translate?model=tiny-larger")
    page.choose(picture)
    page.until(lambda: page.all(".compare .after"))
    page.go("models")
    page.until(lambda: page.all(".models > *"))
    _check_addresses(page, prefixed)


def test_the_reference_works(open_page: Open, prefixed: str) -> None:
    page = open_page(url=prefixed)
    page.driver.get(f"{prefixed}/docs")
    block = open_operation(page, "operations-models-get_models")
    assert execute(page, block, "the models") == "200"
    _check_addresses(page, prefixed)


def _check_addresses(page: Browser, prefix: str) -> None:
    outside = [a for a in page.requests() if not a.startswith((f"{prefix}/", "blob:", "data:"))]
    assert outside == []
    assert page.errors() == []
