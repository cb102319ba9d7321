"""The page in a real browser: headless Chromium, driven as a person would."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
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
    # A dozen artifacts are measured before it is ready: half a minute where nothing else runs.
    with running(replace(ours(folder, SETTINGS), start_seconds=180.0)) as started:
        yield started


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all: to start one takes longer than most of what is done in it."""
    driver = chromium(tmp_path_factory.mktemp("browser") / "profile", 1280)
    yield driver
    driver.quit()


@pytest.fixture
def open_page(request: pytest.FixtureRequest, driver: webdriver.Chrome) -> Iterator[Open]:
    """`open_page("sample?model=mnist-vae", width=1280)`: that page, in a tab of its own of a
    browser that knows nothing of earlier ones."""
    opened = 0

    def open_page(tab: str = "", *, width: int = 1280, url: str | None = None) -> Browser:
        nonlocal opened
        opened += 1
        return new_page(driver, tab, width, url or request.getfixturevalue("served").url)

    yield open_page
    for _ in range(opened):
        close_page(driver)


def new_page(driver: webdriver.Chrome, tab: str, width: int, url: str) -> Browser:
    """A page in a new tab, its window so wide; what earlier ones left behind is forgotten."""
    driver.switch_to.new_window("tab")
    driver.set_window_size(width, 900)
    driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.get_log("browser")
    browser = Browser(driver, url)
    browser.go(tab)
    return browser


def close_page(driver: webdriver.Chrome) -> None:
    """Close the newest tab and show the one before."""
    driver.close()
    driver.switch_to.window(driver.window_handles[-1])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process for all tests of the page: their service takes long to start."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("page"))


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
