"""The page in a real browser: headless Chromium, driven as a person would."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver

from benchmarks.speed.chromium import chromium as start_chromium
from benchmarks.speed.servers import Running, ours, running
from tests.bento.support import FP32
from tests.page.artifacts import write_served
from tests.page.browser import Browser

SETTINGS = {**FP32, "LATENTSERVE_LOAD_SECONDS": "0"}
"""Loaded without trials: these artifacts are known to be good."""

Open = Callable[..., Browser]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service over the artifacts of this repository, and tiny ones of other kinds."""
    folder = tmp_path_factory.mktemp("served")
    write_served(folder)
    with running(ours(folder, SETTINGS)) as started:
        yield started


@pytest.fixture
def open_page(served: Running, tmp_path: Path) -> Iterator[Open]:
    """`open_page("sample?model=mnist-vae", width=1280)`: that tab, in a browser of its own."""
    opened: list[Browser] = []

    def open_page(tab: str = "", *, width: int = 1280, url: str | None = None) -> Browser:
        browser = Browser(chromium(tmp_path / f"profile-{len(opened)}", width), url or served.url)
        opened.append(browser)
        browser.go(tab)
        return browser

    yield open_page
    for browser in opened:
        browser.driver.quit()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of 32 x 48 pixels."""
    y, x = np.mgrid[0:32, 0:48]
    path = tmp_path / "picture.png"
    Image.fromarray(np.stack([5 * x, 7 * y, 3 * (x + y)], -1).astype(np.uint8)).save(path)
    return path


def chromium(profile: Path, width: int) -> webdriver.Chrome:
    """A browser, its window so wide. Where none is installed the test is skipped, or fails where
    NEEDS_BROWSER is set."""
    try:
        return start_chromium(profile, width)
    except FileNotFoundError as error:
        if os.environ.get("NEEDS_BROWSER"):
            pytest.fail(str(error))
        pytest.skip(str(error))
