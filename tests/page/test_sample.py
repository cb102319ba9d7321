"""The Sample tab."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.support.ui import Select

from tests.page.conftest import Open


def test_a_grid_fills_and_an_image_can_be_enlarged(open_page: Open) -> None:
    page = open_page("sample?model=mnist-cgan&n=20&seed=3")
    page.until(lambda: len(page.all(".tile")) == 20)
    assert page.all(".tile small")[12].text == "3 · 12 · 2"
    drawn = page.run(
        "const c = document.querySelector('.tile canvas');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )
    assert drawn > 20
    page.all(".tile")[0].click()
    large = page.one("dialog canvas")
    assert large.size["height"] >= 400
    page.button("Close").click()
    assert page.all("body > #status")
    assert page.barriers() == []
    assert page.problems() == []
    assert all(address.startswith(page.url) for address in page.requests())


def test_the_dice_changes_the_seed_and_the_address(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae&n=4&seed=3")
    page.until(lambda: len(page.all(".tile")) == 4)
    page.one("button[title='Another seed']").click()
    seed = page.labelled("Seed").get_attribute("value")
    assert seed != "3"
    assert f"seed={seed}" in page.driver.current_url
    page.until(
        lambda: [t.text for t in page.all(".tile small")] == [f"{seed} · {i}" for i in range(4)]
    )


def test_a_prompt_is_asked_for_and_a_wrong_word_is_told(open_page: Open) -> None:
    shade = (
        "const c = document.querySelector('.tile canvas');"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data[0]"
    )
    page = open_page("sample?model=tiny-prompts&n=4&seed=3&prompt=white")
    page.until(lambda: len(page.all(".tile")) == 4 and page.run(shade) > 127)
    prompt = page.labelled("Prompt")
    prompt.clear()
    prompt.send_keys("black\t")
    page.until(lambda: len(page.all(".tile")) == 4 and page.run(shade) < 127)
    assert "prompt=black" in page.driver.current_url
    prompt.clear()
    prompt.send_keys("purple\t")
    page.until(lambda: "'purple'" in page.one("#status").text)


def test_images_say_the_prompt_that_was_drawn(open_page: Open) -> None:
    page = open_page("sample?model=shapes-prompted&n=6&seed=7")
    page.until(lambda: len(page.all(".tile")) == 6)
    json = {"model": "shapes-prompted", "n": 6, "seed": 7, "format": "json"}
    made = httpx.post(f"{page.url}/sample", json=json).raise_for_status().json()["images"]
    assert [tile.text for tile in page.all(".tile")] == [
        f"7 · {i}\n{image['prompt']}" for i, image in enumerate(made)
    ]
    tops = [canvas.location["y"] for canvas in page.all(".tile canvas")[:3]]
    assert len(set(tops)) == 1
    page.all(".tile")[2].click()
    page.until(lambda: page.one("dialog p").text == f"seed 7, image 2, {made[2]['prompt']}")
    assert page.fits(360)


@pytest.mark.parametrize("tab", ["sample", "explore", "encode"])
def test_a_prompt_can_be_read_in_its_field(open_page: Open, tab: str) -> None:
    longest = "a small bright triangle at the bottom right, turned"
    page = open_page(f"{tab}?model=shapes-prompted&n=1&prompt={longest.replace(' ', '+')}")
    prompt = page.labelled("Prompt")
    assert prompt.get_attribute("value") == longest
    assert page.run("return arguments[0].scrollWidth <= arguments[0].clientWidth", prompt)
    assert page.fits(360)


@pytest.mark.parametrize("chosen", ["", "&prompt=black", "&prompt=white"])
def test_what_is_explored_is_what_was_pressed(open_page: Open, chosen: str) -> None:
    page = open_page(f"sample?model=tiny-prompts&n=12&seed=3{chosen}")
    page.until(lambda: len(page.all(".tile")) == 12)
    tiles = page.all_pixels(".tile canvas")
    # Without a prompt some are drawn with each example; that of the second is seldom the first's.
    shades = [int(tile.mean() > 127) for tile in tiles]
    number = shades.index(0) if 0 in shades else 5
    page.all(".tile")[number].click()
    page.button("Explore from here").click()
    page.until(lambda: len(page.all(".live canvas")) == 1)
    page.until(lambda: np.abs(page.pixels(".live canvas").astype(int) - tiles[number]).max() <= 1)
    prompt = page.labelled("Prompt")
    assert prompt.get_attribute("value") == ("black" if shades[number] == 0 else "white")
    prompt.clear()
    prompt.send_keys("white\t" if shades[number] == 0 else "black\t")
    page.until(lambda: int(page.pixels(".live canvas").mean() > 127) != shades[number])
    assert page.problems() == []


def test_the_class_that_was_drawn_is_explored(open_page: Open) -> None:
    page = open_page("sample?model=mnist-cgan&n=12&seed=3")
    Select(page.labelled("Label")).select_by_visible_text("any")
    page.until(
        lambda: "labels=each" not in page.driver.current_url and len(page.all(".tile")) == 12
    )
    page.until(lambda: page.one(".grid").get_attribute("aria-busy") is None)
    tiles = page.all_pixels(".tile canvas")
    page.all(".tile")[7].click()
    drawn = page.one("dialog p").text.removeprefix("seed 3, image 7, ")
    page.button("Explore from here").click()
    page.until(lambda: len(page.all(".live canvas")) == 1)
    page.until(lambda: np.abs(page.pixels(".live canvas").astype(int) - tiles[7]).max() <= 1)
    assert page.labelled("Label").get_attribute("value") == drawn


@pytest.mark.parametrize("model", ["mnist-vae-2d", "mnist-cgan"])
def test_a_truncated_image_is_explored_on_the_map_or_by_sliders(
    open_page: Open, model: str
) -> None:
    page = open_page(f"sample?model={model}&n=12&seed=3&truncation=0.5")
    page.until(lambda: len(page.all(".tile")) == 12)
    tiles = page.all_pixels(".tile canvas")
    page.all(".tile")[7].click()
    page.button("Explore from here").click()
    page.until(lambda: len(page.all(".live canvas")) == 1)
    page.until(lambda: np.abs(page.pixels(".live canvas").astype(int) - tiles[7]).max() <= 1)
    assert page.problems() == []


def test_volumes_are_seen_as_the_service_draws_them(open_page: Open, tmp_path: Path) -> None:
    page = open_page("sample?model=tiny-volumes&n=20&seed=3")
    page.until(lambda: len(page.all(".tile")) == 20)
    one = {"model": "tiny-volumes", "seed": 3, "offset": 17}
    made = httpx.get(f"{page.url}/sample", params={**one, "format": "png"}).raise_for_status()
    picture = np.asarray(Image.open(io.BytesIO(made.content)).convert("RGB"))
    assert picture.shape == (96, 96, 3)
    # Where a voxel is at the threshold, a grey level between batches may fill it or not.
    assert (page.all_pixels(".tile canvas")[17] != picture).mean() < 0.01
    page.all(".tile")[17].click()
    large = page.pixels("dialog canvas")
    assert (large[2::5, 2::5] != picture).mean() < 0.01
    served = httpx.get(f"{page.url}/models/tiny-volumes").json()
    offered = [button.text for button in page.all("dialog button")]
    assert ("Download GLB" in offered) == served["glb"]
    if served["glb"]:
        page.saves_to(tmp_path)
        page.button("Download GLB").click()
        assert page.saved(tmp_path, "tiny-volumes-3-17.glb").startswith(b"glTF")
    page.button("Explore from here").click()
    page.until(lambda: len(page.all(".live canvas")) == 1)
    page.until(lambda: (page.pixels(".live canvas") != picture).mean() < 0.01)
    assert page.problems() == []


def test_images_have_no_mesh(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae&n=1&seed=3")
    page.one(".tile").click()
    assert page.button("Download PNG")
    assert not [button for button in page.all("button") if "glb" in button.text.lower()]


def test_the_page_fits_a_telephone(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae&n=4", width=500)
    page.until(lambda: len(page.all(".tile")) == 4)
    assert page.fits(360)
    assert page.problems() == []


def test_a_link_makes_the_image_again(open_page: Open) -> None:
    page = open_page("sample?model=mnist-cgan&n=12&seed=3&truncation=0.5")
    page.until(lambda: len(page.all(".tile")) == 12)
    page.all(".tile")[11].click()
    # Without a clipboard the page shows what it would have copied.
    page.run("navigator.clipboard.writeText = () => Promise.reject(new Error())")
    page.button("Copy link").click()
    page.until(lambda: page.status().startswith(f"{page.url}/sample?"))
    assert page.all("dialog #status")
    again = httpx.get(page.status()).raise_for_status()
    assert "immutable" in again.headers["cache-control"]
    picture = np.asarray(Image.open(io.BytesIO(again.content)).convert("RGB")).astype(int)
    assert np.abs(picture - page.all_pixels(".tile canvas")[11]).max() <= 1


def test_all_images_are_saved(open_page: Open, tmp_path: Path) -> None:
    page = open_page("sample?model=mnist-vae&n=20&seed=3")
    page.until(lambda: len(page.all(".tile")) == 20)
    page.saves_to(tmp_path)
    page.button("npy").click()
    saved = np.load(io.BytesIO(page.saved(tmp_path, "mnist-vae-3.npy")), allow_pickle=False)
    assert saved.shape == (20, 28, 28, 1)
    shown = np.stack(page.all_pixels(".tile canvas")).astype(int)
    assert np.abs(shown - saved).max() <= 1
    assert page.problems() == []
