"""The Encode tab."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.conftest import Open

SEVEN = ((0.3, 0.25), (0.7, 0.25), (0.45, 0.8))


def figures(page: Browser) -> list[NDArray[np.uint8]]:
    """What the model sees, and its reconstruction, once there is a neighbourhood, too."""

    def both() -> list[NDArray[np.uint8]] | None:
        # At one moment: a picture of another size empties the report first.
        shown = page.all_pixels(".report figure canvas")
        return shown if len(shown) == 2 and page.all(".report .tile") else None

    return page.until(both, "both pictures")


def asked(
    page: Browser, request: str, model: str, image: NDArray[np.uint8], **options: str
) -> httpx.Response:
    """What the service says of exactly this image."""
    buffer = io.BytesIO()
    np.save(buffer, image[None])
    return httpx.post(
        f"{page.url}/{request}",
        params={"model": model, "format": "npy" if request == "reconstruct" else "json"} | options,
        headers={"Content-Type": "application/x-npy"},
        content=buffer.getvalue(),
    ).raise_for_status()


def images(reply: httpx.Response) -> NDArray[np.uint8]:
    return np.load(io.BytesIO(reply.content), allow_pickle=False)


def numbers(encoded: dict[str, Any]) -> str:
    """A posterior of few values, as the page tells it."""
    means, logs = encoded["mean"][0], encoded["log_variance"][0]
    pairs = zip(means, np.exp(np.divide(logs, 2)), strict=True)
    return ", ".join(f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in pairs)


def test_a_drawn_digit_is_encoded_and_decoded_again(open_page: Open) -> None:
    page = open_page("encode?model=mnist-vae-2d")
    assert "Draw, or choose" in page.one(".report").text
    page.draw(page.one(".easel canvas"), SEVEN)
    page.until(lambda: page.all(".report .tile"))

    def rebuilt() -> bool:
        seen, again = figures(page)
        made = images(asked(page, "reconstruct", "mnist-vae-2d", seen[..., :1]))
        return np.abs(made[0].astype(int) - again[..., :1]).max() <= 1

    def told() -> bool:
        seen, _ = figures(page)
        encoded = asked(page, "encode", "mnist-vae-2d", seen[..., :1]).json()
        return page.one(".encoded p").text.replace("\u2212", "-") == numbers(encoded)

    # The picture follows the pointer: what is seen may be of a moment ago, and the next one comes.
    page.until(rebuilt, "its reconstruction")
    page.until(told, "its latent")
    seen, _ = figures(page)
    assert seen.shape == (28, 28, 3)
    assert seen.max() == 255
    assert (seen[0] == 0).all()
    assert page.barriers() == []
    assert page.problems() == []
    page.button("Clear").click()
    page.until(lambda: "Draw, or choose" in page.one(".report").text)


def test_what_is_drawn_is_in_the_middle_and_can_be_inverted(open_page: Open) -> None:
    page = open_page("encode?model=mnist-vae")
    page.draw(page.one(".easel canvas"), [(0.2, 0.2), (0.2, 0.5)])
    page.until(lambda: figures(page)[0][:, :10].max() == 0)
    drawn = figures(page)[0].astype(float)[..., 0]
    middle = (drawn.sum(0) @ np.arange(28.0) + drawn.sum() / 2) / drawn.sum()
    assert abs(middle - 14) <= 0.5
    page.one("input[type=checkbox]").click()
    page.until(lambda: figures(page)[0][0, 0, 0] == 255)
    assert figures(page)[0].min() == 0


def test_pictures_are_chosen_dropped_and_pasted(open_page: Open, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    page = open_page("encode?model=tiny-sized")
    for i, bring in enumerate(("choose", "drop", "paste")):
        pixels = generator.integers(0, 256, (16 + 2 * i, 24, 3), np.uint8)
        path = tmp_path / f"{i}.png"
        Image.fromarray(pixels).save(path)
        if bring == "choose":
            page.choose(path)
        else:
            page.bring(bring, path)

        def shown(pixels: NDArray[np.uint8] = pixels) -> bool:
            return np.array_equal(figures(page)[0], pixels)

        page.until(shown, bring)
        assert page.labelled("Height").get_attribute("value") == str(16 + 2 * i)
        made = images(asked(page, "reconstruct", "tiny-sized", pixels))
        assert np.abs(figures(page)[1].astype(int) - made[0]).max() <= 1
    assert page.problems() == []


def test_a_file_that_is_no_picture_is_refused(open_page: Open, tmp_path: Path) -> None:
    page = open_page("encode?model=mnist-vae")
    (tmp_path / "none.png").write_text("not a picture")
    page.choose(tmp_path / "none.png")
    page.until(lambda: "none.png: this browser cannot read it" in page.status())


def test_the_neighbourhood_grows_and_one_can_go_there(open_page: Open) -> None:
    page = open_page("encode?model=mnist-vae")
    page.button("Sample").click()
    page.until(lambda: len(page.all(".report .tile")) == 24)

    def spread() -> float:
        again = figures(page)[1].astype(float)
        tiles = page.all_pixels(".tile canvas")
        return float(np.mean([np.abs(tile - again).mean() for tile in tiles]))

    usual = spread()
    slider = page.one(".near input")
    page.slide(slider, 0.05)
    page.until(lambda: spread() < usual / 2)
    page.slide(slider, 2)
    page.until(lambda: spread() > usual)
    there = page.all_pixels(".tile canvas")[5]
    page.all(".tile")[5].click()
    page.until(lambda: np.array_equal(figures(page)[0], there))
    assert page.problems() == []


def test_encoders_of_other_kinds(open_page: Open) -> None:
    page = open_page("encode?model=tiny-codes")
    page.draw(page.one(".easel canvas"), SEVEN)
    page.until(lambda: "codes " in page.one(".encoded p").text)
    seen, _ = figures(page)
    page.until(lambda: _codes(page) in page.one(".encoded p").text)
    assert seen.shape == (8, 8, 3)
    page.go("encode?model=tiny-flow")
    page.draw(page.one(".easel canvas"), SEVEN)
    page.until(lambda: len(page.one(".encoded p").text.split(", ")) == 2)
    assert page.problems() == []


def _codes(page: Browser) -> str:
    encoded = asked(page, "encode", "tiny-codes", figures(page)[0]).json()
    return "codes " + " ".join(str(code) for row in encoded["codes"][0] for code in row)


def test_a_prompt_decides_how_a_picture_is_decoded_again(open_page: Open) -> None:
    model, square = "shapes-prompted", "a large bright square at the top left"
    page = open_page(f"encode?model={model}&prompt={square.replace(' ', '+')}")
    page.button("Sample").click()
    page.until(lambda: page.all(".report .tile"))

    def is_of(prompt: str) -> bool:
        seen, again = figures(page)
        made = images(asked(page, "reconstruct", model, seen[..., :1], prompt=prompt))
        return bool(np.abs(made[0].astype(int) - again[..., :1]).max() <= 1)

    page.until(lambda: is_of(square))
    before = figures(page)[0]
    circle = "a small dark circle in the centre"
    prompt = page.labelled("Prompt")
    prompt.clear()
    prompt.send_keys(f"{circle}\t")
    page.until(lambda: is_of(circle))
    assert np.array_equal(figures(page)[0], before)
    assert "small+dark" in page.driver.current_url
    assert page.problems() == []


def test_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page("encode?model=mnist-vae")
    canvas = page.one(".easel canvas")
    for _ in range(20):
        if page.run("return document.activeElement") == canvas:
            break
        page.press(Keys.TAB)
    else:
        raise AssertionError("the canvas is not reached by Tab")
    page.press(Keys.ARROW_UP, Keys.ARROW_UP)
    ActionChains(page.driver).key_down(Keys.SPACE).send_keys(Keys.ARROW_DOWN * 4).key_up(
        Keys.SPACE
    ).perform()
    page.until(lambda: figures(page)[0].max() == 255)
    page.press(Keys.TAB)  # the brush
    before = page.run("return document.activeElement.value")
    page.press(Keys.ARROW_RIGHT)
    assert page.run("return document.activeElement.value") != before
    page.press(Keys.TAB, Keys.ENTER)  # Clear
    page.until(lambda: "Draw, or choose" in page.one(".report").text)


def test_it_fits_a_telephone(open_page: Open) -> None:
    page = open_page(width=500)
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.go("encode?model=mnist-vae")
    page.driver.refresh()
    assert page.one("input[capture]").get_attribute("capture") == "environment"
    assert page.fits(360)
    page.draw(page.one(".easel canvas"), SEVEN)
    figures(page)
    assert page.fits(360)
    assert page.barriers() == []
    assert page.problems() == []
