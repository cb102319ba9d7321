"""The Models tab."""

import httpx

from tests.page.browser import Browser
from tests.page.conftest import Open


def loaded(page: Browser) -> Browser:
    """The page, once every card is there with its sheet of samples."""
    served = httpx.get(f"{page.url}/models?full=1").json()["models"]
    sheets = [model["sheet"] for model in served if model["sheet"]]
    page.until(lambda: len(page.all(".card")) == len(served))
    page.until(lambda: len(page.all(".about img")) == len(sheets) > 3)
    return page


def test_a_card_tells_of_every_model(open_page: Open) -> None:
    page = loaded(open_page("models"))
    for name, text in {
        "cifar10-frogs-dcgan": "32 \N{MULTIPLICATION SIGN} 32 pixels, colour",
        "mnist-vae-2d": "28 \N{MULTIPLICATION SIGN} 28 pixels, grey",
        "tiny-sized": "pixels, colour, other sizes too",
        "shapes-prompted": "of 17 words, such as “a small dark square at the top left, turned”",
        "tiny-volumes": "8 \N{MULTIPLICATION SIGN} 8 \N{MULTIPLICATION SIGN} 8 voxels, "
        "shown as 96 \N{MULTIPLICATION SIGN} 96 pixels",
    }.items():
        card = page.one(f"[aria-labelledby='{name}-title']").text
        assert name in card
        assert text in card
        assert "images/s, measured here" in card
    drawn = "return [...document.querySelectorAll('.about img')].map(i => i.naturalWidth)"
    assert min(page.run(drawn)) > 0
    assert page.barriers() == []
    assert page.problems() == []


def test_figures_say_what_is_good(open_page: Open) -> None:
    page = loaded(open_page("models"))
    card = "[aria-labelledby='cifar10-frogs-dcgan-title'] "
    full = httpx.get(f"{page.url}/models/cifar10-frogs-dcgan").json()
    figure = next(f for f in full["figures"] if f["name"] == "coverage")
    rows = [row.text for row in page.all(f"{card}tbody")]
    row = next(text for text in rows if text.startswith("Coverage"))
    assert f"{100 * figure['value']:.1f} %" in row
    assert f"{100 * figure['real']:.1f} %" in row
    assert f"{figure['meaning']} Higher is better." in row

    hidden = page.all(f"{card}details")
    for summary in page.all(f"{card}summary"):
        summary.click()
    assert len(page.all(f"{card}tbody")) == len(full["figures"])
    assert full["provenance"]["source"] in hidden[-1].text


def test_a_card_leads_to_the_tabs_that_show_the_model(open_page: Open) -> None:
    page = loaded(open_page("models"))
    links = page.all("[aria-labelledby='mnist-vae-title'] a")
    assert [link.text for link in links] == ["Sample", "Explore", "Encode"]
    links[1].click()
    page.one(".live canvas")
    assert page.one("#model").get_attribute("value") == "mnist-vae"


def test_models_fit_a_telephone(open_page: Open) -> None:
    page = loaded(open_page("models", width=500))
    for summary in page.all("summary"):
        summary.click()
    assert page.fits(360)
    assert page.problems() == []
