"""The Sample tab."""

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


def test_the_page_fits_a_telephone(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae&n=4", width=500)
    page.until(lambda: len(page.all(".tile")) == 4)
    assert page.fits(360)
    assert page.problems() == []
