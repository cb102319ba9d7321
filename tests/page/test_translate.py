"""The Translate tab."""

import io
import re
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from selenium.webdriver.common.keys import Keys

from tests.page.conftest import Open


def test_a_mask_is_painted_and_the_result_compared(open_page: Open, picture: Path) -> None:
    page = open_page("translate?model=tiny-sized")
    page.choose(picture)
    canvas = page.one(".mask canvas")
    assert not page.one("button.primary").is_enabled()
    page.draw(canvas, [(0.3, 0.3), (0.7, 0.3), (0.5, 0.8)])
    painted = page.pixels(".mask canvas")
    page.button("Translate").click()
    page.until(lambda: page.all(".compare .after"))

    mask = np.where(painted[..., 0] > 0, 255, 0).astype(np.uint8)
    assert 0 < (mask > 0).mean() < 0.5
    sent = io.BytesIO()
    Image.fromarray(mask).save(sent, "png")
    made = httpx.post(
        f"{page.url}/translate?model=tiny-sized",
        files={"files": picture.read_bytes(), "mask": sent.getvalue()},
    ).raise_for_status()
    expected = np.asarray(Image.open(io.BytesIO(made.content)).convert("RGB"))
    after = page.pixels(".compare .after")
    assert after.shape == (64, 96, 3)
    # The rim of the brush is softer in the page's mask.
    assert (np.abs(after.astype(int) - expected).max(-1) <= 1).mean() > 0.9
    assert page.button("Download PNG").is_enabled()

    slider = page.one(".compare input")
    slider.send_keys(Keys.HOME)
    clip = "return getComputedStyle(document.querySelector('.compare .after')).clipPath"
    page.until(lambda: page.run(clip).endswith(" 0%)"))
    slider.send_keys(Keys.ARROW_RIGHT * 2)
    page.until(lambda: page.run(clip).endswith(" 1%)"))
    assert page.barriers() == []
    assert page.problems() == []
    page.button("Clear mask").click()
    assert not page.one("button.primary").is_enabled()


def test_without_a_mask_a_picture_is_translated_at_once(open_page: Open, picture: Path) -> None:
    page = open_page("translate?model=tiny-larger")
    page.bring("drop", picture)
    page.until(lambda: page.all(".compare .after"))
    assert page.pixels(".compare .after").shape == (64, 96, 3)
    page.labelled("Height").send_keys("16")
    page.button("Translate").click()
    # Half a size is none: what the service says of it is shown.
    page.until(lambda: "size" in page.status() and page.all("#status.error"))
    page.labelled("Width").send_keys("24")
    page.button("Translate").click()
    page.until(lambda: page.pixels(".compare .after").shape == (32, 48, 3))
    assert "size=16%2C24" in page.driver.current_url
    refused = [problem for problem in page.problems() if "422" not in problem]
    assert refused == []


def test_who_has_no_picture_takes_a_sample_of_another_model(open_page: Open) -> None:
    page = open_page("translate?model=cifar10-pix2pix")
    assert "take a sample of cifar10-frogs-dcgan" in page.one(".stage").text
    page.button("Sample").click()
    page.until(lambda: page.all(".compare .after"))
    told = re.search(r"A sample of cifar10-frogs-dcgan, seed (\d+)", page.one(".controls").text)
    assert told
    query = {"model": "cifar10-frogs-dcgan", "seed": told[1], "format": "png"}
    sampled = httpx.get(f"{page.url}/sample", params=query).raise_for_status().content
    before = np.asarray(Image.open(io.BytesIO(sampled)))
    shown = page.pixels(".compare img:not(.after)")
    assert np.abs(shown.astype(int) - before).max() <= 1
    # The model takes grey pictures.
    assert page.all(".compare img.grey:not(.after)")
    assert page.pixels(".compare .after").shape == (32, 32, 3)
    assert page.barriers() == []
    assert page.problems() == []


def test_a_chosen_picture_is_no_sample(open_page: Open, picture: Path) -> None:
    page = open_page("translate?model=tiny-larger")
    page.button("Sample").click()
    page.until(lambda: "A sample of " in page.one(".controls").text)
    page.choose(picture)
    page.until(lambda: "A sample of " not in page.one(".controls").text)


def test_it_fits_a_telephone(open_page: Open, picture: Path) -> None:
    page = open_page("translate?model=tiny-larger", width=500)
    assert page.fits(360)
    page.choose(picture)
    page.until(lambda: page.all(".compare .after"))
    assert page.fits(360)
    assert page.barriers() == []
    assert page.problems() == []
