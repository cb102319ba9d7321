"""A page that is open while the service begins to serve something else."""

import shutil
from pathlib import Path

from benchmarks.speed.servers import ours, running
from tests.page.conftest import SETTINGS, Open
from tests.tiny import write_artifact


def test_an_open_page_says_that_a_new_version_is_served(open_page: Open, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    write_artifact(folder, "plain", version=1)
    with running(ours(folder, {**SETTINGS, "LATENTSERVE_RELOAD_SECONDS": "0.2"})) as started:
        page = open_page("sample?model=tiny-plain&n=4", url=started.url)
        page.until(lambda: len(page.all(".tile")) == 4)

        def news() -> str:
            # As when one comes back to the page.
            page.run("document.dispatchEvent(new Event('visibilitychange'))")
            return page.run("return document.getElementById('news').textContent")

        assert news() == ""
        write_artifact(tmp_path, "plain", version=2, seed=5)
        shutil.move(tmp_path / "tiny-plain" / "2", folder / "tiny-plain" / "2")
        page.until(lambda: "Served now: tiny-plain@2." in news(), "the news")
        assert page.barriers() == []
        page.one("#news button").click()
        page.until(lambda: len(page.all(".tile")) == 4 and news() == "")
        assert page.problems() == []
