"""The Explore tab."""

import io
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.conftest import Open

LIVE = ".live canvas"


def asked(page: Browser, path: str, **options: object) -> NDArray[np.float32]:
    """The array of a reply of the service."""
    reply = httpx.post(f"{page.url}/{path}", json={**options, "format": "npy"})
    assert reply.status_code == 200, reply.text
    return np.load(io.BytesIO(reply.content)).astype(np.float32)


def until_shown(page: Browser, expected: NDArray[np.float32], within: int = 1) -> None:
    """Wait until the live image is this one, within a grey level: batches differ by as much."""
    wanted = np.broadcast_to(expected, (*expected.shape[:2], 3))
    page.until(
        lambda: bool((np.abs(page.pixels(LIVE) - wanted) <= within).all()), "the expected image"
    )


def test_the_map_shows_the_image_under_the_pointer(open_page: Open) -> None:
    page = open_page("explore?model=mnist-vae-2d")
    plane = page.one(".plane")
    picture = page.pixels(".plane img").astype(int)
    cells = picture.reshape(20, 28, 20, 28, 3).swapaxes(1, 2)

    def nearest() -> tuple[int, int]:
        off = np.abs(cells - page.pixels(LIVE)).mean((2, 3, 4))
        return divmod(int(off.argmin()), 20)

    for row, column in ((17, 2), (3, 15), (9, 0)):
        x, y = (
            (place + 0.5) / 20 * plane.size[side] - plane.size[side] / 2
            for place, side in ((column, "width"), (row, "height"))
        )
        ActionChains(page.driver).move_to_element_with_offset(plane, int(x), int(y)).perform()
        page.until(lambda cell=(row, column): nearest() == cell, f"the image of {row}, {column}")
    assert re.fullmatch(r"\d+ ms a round trip", page.one(".timing").text)
    page.until(lambda: "at=0.0" in page.driver.current_url)
    assert page.barriers() == []
    assert page.problems() == []


def test_a_click_holds_the_point(open_page: Open) -> None:
    page = open_page("explore?model=mnist-vae-2d")
    plane = page.one(".plane")
    at = ActionChains(page.driver).move_to_element_with_offset
    at(plane, 100, 50).click().perform()
    held = page.one("#where").text
    at(plane, -100, -50).perform()
    assert page.one("#where").text == held
    at(plane, -100, -50).click().perform()
    assert page.one("#where").text != held


def test_the_map_by_keyboard_alone(open_page: Open) -> None:
    page = open_page("")
    page.one(".tile")
    to(page, "textContent === 'Explore'")
    page.press(Keys.ENTER)
    page.one(".explore")
    to(page, "id === 'model'")
    page.press("mnist-vae-2d")
    page.one(".plane")
    to(page, "classList.contains('plane')")
    before = page.pixels(LIVE).astype(int)
    page.press(*[Keys.ARROW_RIGHT] * 8, *[Keys.ARROW_UP] * 16)
    where = page.one("#where").text.replace("\N{MINUS SIGN}", "-")
    x, y = map(float, re.findall(r"-?\d\.\d\d", where))
    assert 0 < x < y
    there = asked(page, "decode", model="mnist-vae-2d", latents=[[x, y]])[0]
    assert np.abs(there - before).max() > 64
    until_shown(page, there, within=24)  # of a latent in two decimals


def to(page: Browser, focused: str) -> None:
    """Press Tab until this holds of what has the focus."""
    for _ in range(30):
        page.press(Keys.TAB)
        if page.run(f"return document.activeElement.{focused}"):
            return
    pytest.fail(f"the focus never comes to: {focused}")


def moved(page: Browser, model: str, place: float, **options: object) -> NDArray[np.float32]:
    """The image of a sample that is moved along the first direction to a place on it."""
    found = httpx.get(f"{page.url}/directions", params={"model": model}).json()
    of_size = {} if found["size"] is None else {"size": found["size"]}
    latent = asked(page, "latents", model=model, **options, **of_size)[0]
    along, deviation = np.array(found["directions"][0]), found["deviations"][0]
    start = np.vdot(latent - found["mean"], along) / deviation
    shown = float(page.one("input[aria-label='Direction 1']").get_attribute("value") or "nan")
    assert shown == pytest.approx(np.clip(start, -3, 3), abs=0.06)
    latents = (latent + (place - start) * deviation * along)[None].tolist()
    return asked(page, "decode", model=model, latents=latents)[0]


def test_sliders_start_from_a_sample_and_change_it(open_page: Open) -> None:
    page = open_page("explore?model=mnist-vae&seed=7&offset=3")
    sample = asked(page, "sample", model="mnist-vae", seed=7, offset=3, n=1)[0]
    until_shown(page, sample)
    first = page.one("input[aria-label='Direction 1']")
    expected = moved(page, "mnist-vae", 3, seed=7, offset=3)
    first.send_keys(Keys.END)
    assert first.get_attribute("aria-valuetext") == "+3.0 \N{GREEK SMALL LETTER SIGMA}"
    until_shown(page, expected, within=2)
    page.until(lambda: "by=3%2C" in page.driver.current_url)
    page.driver.refresh()
    until_shown(page, expected, within=2)
    page.button("Reset").click()
    until_shown(page, sample)
    page.one("button[title='Another start']").click()
    page.until(lambda: np.abs(page.pixels(LIVE) - sample).max() > 64)
    page.until(lambda: "seed=7&" not in page.driver.current_url)
    assert page.barriers() == []
    assert page.problems() == []


def test_sliders_show_the_label_that_is_asked_for(open_page: Open) -> None:
    page = open_page("explore?model=mnist-cgan&seed=7&labels=3")
    until_shown(page, asked(page, "sample", model="mnist-cgan", seed=7, n=1, labels="3")[0])
    page.labelled("Label").send_keys("5")
    until_shown(page, asked(page, "sample", model="mnist-cgan", seed=7, n=1, labels="5")[0])
    assert "labels=5" in page.driver.current_url


def test_a_walk_is_played_scrubbed_and_saved(open_page: Open, tmp_path: Path) -> None:
    page = open_page("explore?model=mnist-vae&view=walk&seed=7&steps=8")
    page.saves_to(tmp_path)
    time = page.one(".player input")
    page.until(lambda: time.get_attribute("max") == "14")  # three samples, two steps
    page.button("Play").click()
    page.until(lambda: int(time.get_attribute("value") or 0) > 2)
    page.button("Pause").click()
    time.send_keys(Keys.END)
    last = asked(page, "sample", model="mnist-vae", seed=7, offset=2, n=1)[0]
    shown = page.pixels(".player canvas")
    assert np.abs(shown - last).max() <= 1
    page.all(".tray .tile")[5].click()
    page.until(lambda: time.get_attribute("max") == "21")
    for suffix in ("gif", "webp"):
        page.button({"gif": "GIF", "webp": "WebP"}[suffix]).click()
        with Image.open(io.BytesIO(page.saved(tmp_path, f"mnist-vae-walk.{suffix}"))) as image:
            assert getattr(image, "n_frames", 1) == 22
            assert image.size == (252, 252)
    page.button("WebM").click()
    assert page.saved(tmp_path, "mnist-vae-walk.webm").startswith(b"\x1a\x45\xdf\xa3")
    assert page.barriers() == []
    assert page.problems() == []


def test_a_walk_changes_nothing_but_the_latent(open_page: Open) -> None:
    page = open_page("explore?model=tiny-sized&view=walk&picks=7.0,7.0,7.1&steps=4")
    time = page.one(".player input")
    page.until(lambda: time.get_attribute("max") == "6")
    shown = [page.pixels(".player canvas")]
    for _ in range(6):
        time.send_keys(Keys.ARROW_RIGHT)
        shown.append(page.pixels(".player canvas"))
    # Its network takes noise: between two times the same sample nothing moves.
    assert all(np.array_equal(image, shown[0]) for image in shown[:4])
    assert not np.array_equal(shown[3], shown[6])
    assert page.problems() == []


def test_arithmetic_of_picked_samples(open_page: Open) -> None:
    page = open_page("explore?model=mnist-vae&view=arithmetic&seed=7")
    page.until(lambda: len(page.all(".tray .tile")) == 24)
    for picked in (4, 9, 13):
        page.all(".tray .tile")[picked].click()
    assert [slot.text for slot in page.all(".slot")] == ["a · 7.4", "b · 7.9", "c · 7.13"]
    a, b, c = asked(page, "latents", model="mnist-vae", seed=7, n=24)[[4, 9, 13]]
    until_shown(page, asked(page, "decode", model="mnist-vae", latents=[(a - b + c).tolist()])[0])
    page.one(".under input").send_keys(Keys.HOME)
    until_shown(page, asked(page, "sample", model="mnist-vae", seed=7, offset=4, n=1)[0])
    page.until(lambda: "terms=7.4%2C7.9%2C7.13&amount=0" in page.driver.current_url)
    assert page.barriers() == []
    assert page.problems() == []


@pytest.mark.parametrize("view", ["map", "walk", "arithmetic"])
def test_explore_fits_a_telephone(open_page: Open, view: str) -> None:
    page = open_page(f"explore?model=mnist-vae-2d&view={view}", width=500)
    page.until(lambda: not page.all("[aria-busy]"))
    assert page.fits(360)
    assert page.problems() == []


def test_images_of_several_sizes_are_explored(open_page: Open) -> None:
    page = open_page("explore?model=tiny-sized&seed=7")
    first = page.one("input[aria-label='Direction 1']")
    expected = moved(page, "tiny-sized", -3, seed=7)
    first.send_keys(Keys.HOME)
    until_shown(page, expected, within=2)
    page.until(lambda: "by=-3" in page.driver.current_url)
    assert page.status() == ""
    assert page.problems() == []
