"""The page of a service with an API key."""

from collections.abc import Iterator

import pytest
from selenium.webdriver.common.keys import Keys

from benchmarks.speed.servers import Running, ours, running
from tests.page.artifacts import SHIPPED
from tests.page.browser import Browser
from tests.page.conftest import SETTINGS, Open
from tests.page.swagger import execute, open_operation

KEY = "a key of the tests, with an ü"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "mnist-vae").symlink_to(SHIPPED / "mnist-vae")
    with running(ours(folder, {**SETTINGS, "LATENTSERVE_API_KEY": KEY})) as started:
        yield started


def enter(page: Browser, key: str) -> None:
    page.one("#key input").send_keys(key, Keys.ENTER)


def unexpected(page: Browser) -> list[str]:
    return [problem for problem in page.errors() if "401" not in problem]


def test_the_key_is_asked_for_once(open_page: Open, locked: Running) -> None:
    page = open_page("sample?model=mnist-vae&n=4", url=locked.url)
    page.one("#key[open]")
    assert page.barriers() == []
    enter(page, "a key that is another one")
    page.until(lambda: "does not know this key" in page.one("#key [role=alert]").text)
    enter(page, KEY)
    page.until(lambda: len(page.all(".tile")) == 4)
    assert unexpected(page) == []
    for tab in ("explore", "encode", "models", "sample"):
        page.one(f"nav a[data-tab={tab}]").click()
        page.until(lambda tab=tab: page.all(f".tab.{tab} > *"), tab)
        assert page.all("#key") == []
    assert page.run("return [...Object.keys(localStorage), ...Object.keys(sessionStorage)]") == []
    assert page.run("return document.cookie") == ""
    assert page.problems() == []
    page.driver.refresh()
    page.one("#key[open]")  # it was kept nowhere else


def test_without_a_key_the_page_says_so(open_page: Open, locked: Running) -> None:
    page = open_page(url=locked.url)
    page.one("#key input").send_keys(Keys.ESCAPE)
    page.until(lambda: "needs an API key, and none was given" in page.status())
    assert page.all("#key") == []
    assert unexpected(page) == []


def test_the_reference_uses_the_key(open_page: Open, locked: Running) -> None:
    page = open_page(url=locked.url)
    page.driver.get(f"{locked.url}/docs")
    enter(page, KEY)
    block = open_operation(page, "operations-models-get_models")
    assert execute(page, block, "the models") == "200"
    assert unexpected(page) == []


def test_a_reference_without_a_key_says_so(open_page: Open, locked: Running) -> None:
    page = open_page(url=locked.url)
    page.driver.get(f"{locked.url}/docs")
    page.one("#key input").send_keys(Keys.ESCAPE)
    page.until(lambda: "needs an API key, and none was given" in page.one("#page").text)
