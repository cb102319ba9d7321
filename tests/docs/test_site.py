"""The documentation as a site: built as `make docs` does, and read without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import export
import runtime
import runtime.bulk
import runtime.client
from docs.site.commands import command_names
from docs.site.operations import description, render
from tests.docs.blocks import ROOT
from tests.page.conftest import chromium

pytestmark = pytest.mark.xdist_group("site")

NOWHERE = "http://127.0.0.1:9"
LOADED = {"href", "src", "srcset", "data", "poster"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. What looks for something on the way finds no network."""
    folder = tmp_path_factory.mktemp("site")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, **proxies, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Resources(HTMLParser):
    """What a page makes a browser load, links to follow left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("a", "form"):
            self.found += [value for name, value in attrs if name in LOADED and value]


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = {
        f"{page.relative_to(site)}: {address}"
        for page in site.rglob("*.html")
        for address in _Resources(page.read_text("utf-8")).found
        if re.match(r"(?!data:)\w+:|//", address)
    }
    for sheet in site.rglob("*.css"):
        loaded |= set(re.findall(r"url\(['\"]?((?:\w+:)?//[^)]+)", sheet.read_text("utf-8")))
    assert not loaded


def test_resources_from_elsewhere_would_be_found() -> None:
    page = '<a href="https://a"><script src="//b/c.js"></script><link href="https://d/e.css">'
    assert _Resources(page).found == ["//b/c.js", "https://d/e.css"]


@pytest.mark.parametrize(
    "package", [runtime, runtime.bulk, runtime.client, export], ids=lambda p: p.__name__
)
def test_every_public_name_is_in_the_reference(site: Path, package: object) -> None:
    name = getattr(package, "__name__", "")
    page = (site / "reference" / f"{name.rpartition('.')[2]}.html").read_text("utf-8")
    missing = [n for n in getattr(package, "__all__", ()) if f'id="{name}.{n}"' not in page]
    assert not missing


def test_the_reference_of_a_method_has_its_arguments_and_text(site: Path) -> None:
    page = (site / "reference" / "runtime.html").read_text("utf-8")
    _, _, after = page.partition('id="runtime.Model.sample"')
    section = re.sub(r"<[^>]+>", "", after[: after.index('id="runtime.Model.stream"')])
    for words in ("truncation", "offset", "seeds", "Images offset..offset+n of"):
        assert words in section


def test_commands_have_their_options(site: Path) -> None:
    page = (site / "reference" / "commands.html").read_text("utf-8")
    sections = dict(re.findall(r"<h2 id=\"(.*?)\">(.*?)</pre>", page, re.DOTALL))
    assert len(sections) == len(list(command_names()))
    for command, option in {
        "latentserve-serve": "--api-key-file",
        "latentserve-sample": "--truncation",
        "latentserve-encode": "--buckets",
        "latentserve-train": "--resume",
        "latentserve-export-diffusers": "--subfolder",
        "latentserve-export-sign": "--key",
    }.items():
        assert option in sections[command]


def test_operations_have_their_fields(site: Path) -> None:
    document = description()
    text = render(document)
    for path, operations in document["paths"].items():
        heading = f"## {', '.join(operations).upper()} {path}\n"
        assert heading in text
        section = text.partition(heading)[2].partition("\n## ")[0]
        (operation,) = list(operations.values())[-1:]
        for parameter in operation.get("parameters", ()):
            assert f"`{parameter['name']}`" in section
        for status in operation["responses"]:
            assert re.search(rf"^- (errors: .*{status}|\*\*{status}\*\*: )", section, re.MULTILINE)
    sample = text.partition("## GET, POST /sample\n")[2].partition("\n## ")[0]
    assert "| `offset` | integer | The first image's index. Default: `0`. |" in sample
    assert "`seeds`" in sample


def test_links_out_of_the_documentation_lead_to_copies(site: Path) -> None:
    security = (site / "repository" / "SECURITY.html").read_text("utf-8")
    assert 'href="../artifact.html#what-a-graph-may-cost"' in security
    card = "repository/artifacts/mnist-vae/3"
    assert f'href="{card}/index.html"' in (site / "artifact.html").read_text("utf-8")
    assert (site / card / "samples.png").read_bytes()[:4] == b"\x89PNG"
    assert (site / "repository" / "Dockerfile").read_text("utf-8").startswith("#")


@pytest.fixture
def browser(tmp_path: Path) -> webdriver.Chrome:
    return chromium(tmp_path / "profile", 1280)


def test_search_works_from_the_disk(site: Path, browser: webdriver.Chrome) -> None:
    try:
        browser.get((site / "tutorials" / "serve.html").as_uri())
        wait = WebDriverWait(browser, 30)
        field = browser.find_element(By.CSS_SELECTOR, ".md-search__input")
        field.click()
        field.send_keys("philox")
        found = wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".md-search-result__link"))
        assert "artifact.html" in str(found[0].get_attribute("href"))
        loaded = [
            element.get_attribute("src") or element.get_attribute("href") or ""
            for element in browser.find_elements(By.CSS_SELECTOR, "script, link, img")
        ]
        assert any(address.endswith("worker.js") for address in loaded)
        assert [a for a in loaded if not re.match(r"file:|data:|$", a)] == []
        assert browser.get_log("browser") == []
    finally:
        browser.quit()
