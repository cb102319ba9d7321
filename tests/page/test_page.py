"""What is so of the page as a whole: what it loads, what it says, how it is used by keyboard."""

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.page.conftest import Open

KILOBYTES = 300


def test_the_page_is_small_and_loads_from_its_server_alone(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae&n=4")
    page.until(lambda: len(page.all(".tile")) == 4)
    loaded: list[list[object]] = page.run(
        "return [...performance.getEntriesByType('navigation'),"
        " ...performance.getEntriesByType('resource')]"
        ".map(e => [e.name, e.transferSize, e.initiatorType])"
    )
    external = [name for name, _, _ in loaded if not str(name).startswith(f"{page.url}/")]
    files = [size for _, size, kind in loaded if kind in ("navigation", "link", "script", "other")]
    size = sum(int(str(size)) for size in files) / 1000
    print(f"the page: {len(files)} files, {size:.0f} KB; {len(external)} external requests")
    assert external == []
    assert 10 < size < KILOBYTES
    assert len(files) > 10


def test_what_the_service_refuses_is_said(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae&n=4&seed=-1")
    page.until(lambda: page.status().startswith("seed: "))
    assert "-1" in page.status()
    assert "error" in (page.one("#status").get_attribute("class") or "")
    assert page.all(".tile") == []
    page.labelled("Seed").clear()
    page.labelled("Seed").send_keys("1", Keys.TAB)
    page.until(lambda: len(page.all(".tile")) == 4)
    assert page.status() == ""
    assert [problem for problem in page.problems() if "422" not in problem] == []


def test_what_no_model_answers_is_said(open_page: Open) -> None:
    page = open_page("encode?model=mnist-cgan")
    told = "mnist-cgan cannot encode pictures. These can encode pictures:"
    page.until(lambda: told in page.one("main").text)
    assert page.one("#model").get_attribute("value") == "mnist-cgan"
    page.button("mnist-vae").click()
    page.one(".easel canvas")
    assert page.barriers() == []
    assert page.problems() == []


def test_a_model_that_is_not_served_is_said(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae@99")
    told = "No model mnist-vae@99 is served here. These can make samples:"
    page.until(lambda: told in page.one("main").text)
    assert Select(page.one("#model")).first_selected_option.text == "choose one"
    Select(page.one("#model")).select_by_visible_text("mnist-vae")
    page.one(".tile")
    assert "choose one" not in [option.text for option in Select(page.one("#model")).options]
    assert page.problems() == []


def test_a_tab_offers_the_models_that_it_can_show(open_page: Open) -> None:
    page = open_page("sample?model=twemoji&n=1")
    page.one(".tile")

    def offered() -> set[str]:
        return {o.text for o in Select(page.one("#model")).options if o.is_enabled()}

    assert {"twemoji", "mnist-vae", "mnist-vae-2d"} <= offered()
    assert "cifar10-pix2pix" not in offered()
    # Twemoji has no encoder: the tab shows a model that has one.
    page.one("[data-tab=encode]").click()
    page.one(".easel canvas")
    assert page.one("#model").get_attribute("value") in offered()
    assert "mnist-vae" in offered()
    assert not {"twemoji", "cifar10-pix2pix"} & offered()
    Select(page.one("#model")).select_by_visible_text("mnist-vae-2d")
    page.until(lambda: "model=mnist-vae-2d" in page.driver.current_url)
    # A model that can be shown stays.
    page.one("[data-tab=explore]").click()
    page.one(".plane")
    assert page.one("#model").get_attribute("value") == "mnist-vae-2d"
    assert page.barriers() == []
    assert page.problems() == []


def test_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page("sample?model=mnist-vae&n=3&seed=5")
    page.until(lambda: len(page.all(".tile")) == 3)

    def focused() -> str:
        return page.run(
            "const e = document.activeElement; return e.ariaLabel ?? e.textContent.trim()"
        )

    for _ in range(40):
        page.press(Keys.TAB)
        if focused() == "seed 5, image 0":
            break
    assert focused() == "seed 5, image 0"
    page.press(Keys.ENTER)
    for key, name in ((Keys.ARROW_RIGHT, "1"), (Keys.ARROW_RIGHT, "2"), (Keys.ARROW_LEFT, "1")):
        page.press(key)
        page.until(lambda name=name: page.one("dialog").accessible_name == f"seed 5, image {name}")
    assert len(page.all("dialog")) == 1
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog"))
    assert focused() == "seed 5, image 1"
    for _ in range(40):
        page.press(Keys.SHIFT + Keys.TAB + Keys.SHIFT)
        if focused() == "Encode":
            break
    page.press(Keys.ENTER)
    page.one(".tab.encode .easel")
    assert page.problems() == []
