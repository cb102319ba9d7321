"""The page of a run in a real browser."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.conftest import chromium
from tests.train.conftest import tiny_vae
from tests.train.test_watch import Run
from train.recipes import RECIPES, Recipe

Watched = Callable[[Recipe], tuple[Run, Browser]]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A run that is paused, and its page."""
    opened: list[tuple[Run, Browser]] = []

    def start(recipe: Recipe) -> tuple[Run, Browser]:
        run = Run(recipe, tmp_path / "run")
        page = Browser(chromium(tmp_path / "profile", 1280), run.watch.url.rstrip("/"))
        run.thread.start()
        opened.append((run, page))
        page.go("")
        return run, page

    yield start
    for run, page in opened:
        run.end()
        page.driver.quit()


def figures(page: Browser) -> dict[str, str]:
    """All at one moment: the page draws them anew with every look."""
    texts = [
        f"Array.from(document.querySelectorAll('#figures {tag}'), (e) => e.textContent)"
        for tag in ("dt", "dd")
    ]
    names, values = page.run(f"return [{', '.join(texts)}]")
    return dict(zip(names, values, strict=True))


def step_is(page: Browser, step: int) -> None:
    page.until(lambda: figures(page).get("step", "").startswith(f"{step} of"), f"step {step}")


def colours(pixels: NDArray[np.uint8]) -> int:
    """Of every eighth pixel, both ways."""
    return len(np.unique(pixels[::8, ::8].reshape(-1, 3), axis=0))


def scheme(page: Browser, value: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": value}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def test_a_gan_in_the_plane_is_watched_stepped_and_ends(watched: Watched) -> None:
    recipe = replace(RECIPES["rings_gan"](), steps=130, batch_size=16, log_every=1)
    _, page = watched(recipe)
    step_is(page, 1)
    assert page.status() == "Paused."
    canvas = page.one("#plane canvas")
    page.until(lambda: "after step 1:" in (canvas.get_attribute("aria-label") or ""))
    before = page.pixels("#plane canvas")
    assert colours(before) > 50  # a field, dots and lines
    page.button("1 step").send_keys(Keys.ENTER)  # by the keyboard
    step_is(page, 2)
    page.button("100 steps").click()
    step_is(page, 102)
    page.until(lambda: "after step 102:" in (canvas.get_attribute("aria-label") or ""))
    assert (page.pixels("#plane canvas") != before).any()
    for name in ("discriminator", "gradients", "samples", "data"):
        box = next(e for e in page.all("#layers label") if e.text.strip() == name)
        box.click()
    assert colours(page.pixels("#plane canvas")) == 1
    assert any("discriminator/loss" in e.text for e in page.all("#losses figcaption"))
    for value in ("light", "dark"):
        scheme(page, value)
        assert page.barriers() == []
    page.button("Go on").click()
    page.until(lambda: page.status() == "The run is finished.")
    assert not page.one("#pause").is_enabled()
    assert page.problems() == []
    assert all(a.startswith((page.url, "data:")) for a in page.requests())


def test_any_recipe_shows_its_sheets_and_figures(watched: Watched) -> None:
    run, page = watched(tiny_vae())
    step_is(page, 1)
    assert not page.one("#plane").is_displayed()
    run.order(do="step", steps=4)
    page.until(lambda: page.all("#samples img")[0].is_displayed())
    page.until(lambda: page.one("#sheet-title").text == "Samples after step 4")
    assert page.pixels("#samples img").shape[2] == 3
    page.slide(page.one("#samples input"), 0)
    page.until(lambda: page.one("#samples img").get_attribute("alt") == "Samples after step 4")
    assert page.barriers() == []
    assert page.fits(360)
    run.order(do="go on")
    page.until(lambda: "test loss" in figures(page))
    assert page.problems() == []


def test_the_speed_of_a_run_is_shown_on_every_page_of_it(watched: Watched) -> None:
    run, page = watched(tiny_vae())
    step_is(page, 1)

    def speed_is(value: str) -> None:
        chosen = "return document.getElementById('rate').value"
        page.until(lambda: page.run(chosen) == value, f"speed {value!r}")

    page.one("#rate option[value='10']").click()
    page.until(lambda: run.watch.pace.rate == 10)
    page.driver.refresh()
    speed_is("10")
    run.order(do="limit", rate=None)  # from another page
    speed_is("")
    assert page.problems() == []
