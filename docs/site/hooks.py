"""What mkdocs does beyond its configuration: pages that are generated, and files of the repository.

A page may link to any file of this repository, as it does where the repository itself is read. What
lies outside `docs/` is copied into the site, under `repository/`, and the link leads there.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.site.commands import commands_page
from docs.site.operations import operations_page

ROOT = Path(__file__).parents[2]
COPIES = "repository"

_SHIM = "https://unpkg.com/iframe-worker/shim"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the files outside `docs/` that pages link to."""
    pages = {"commands": commands_page, "operations": operations_page}
    for name, page in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    waiting = [_repository_path(file) for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for target in _targets(page):
            if _uri(target) not in files.src_uris and not target.startswith("docs/"):
                files.append(_copy(config, target))
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, /, *, page: Page, **_: Any) -> str:
    """Links as the site has them."""
    here = _repository_path(page.file)

    def moved(match: re.Match[str]) -> str:
        target = _target(here, match[1])
        return match[1] if target is None else _relative(_uri(target), page.file.src_uri)

    return _LINK.sub(moved, markdown)


def on_post_page(output: str, /, *, page: Page, **_: Any) -> str:
    """The one script that the theme would take from elsewhere, from here."""
    return output.replace(_SHIM, _relative("site/worker.js", page.url))


def on_post_template(output: str, /, **_: Any) -> str:
    """The page for what is not found, which is always at the root."""
    return output.replace(_SHIM, "site/worker.js")


def _repository_path(file: File) -> str:
    copied = file.src_uri.removeprefix(f"{COPIES}/")
    return copied if copied != file.src_uri else f"docs/{file.src_uri}"


def _uri(path: str) -> str:
    """Where the site has a file of the repository."""
    inside = path.removeprefix("docs/")
    return inside if inside != path else f"{COPIES}/{path}"


def _targets(page: str) -> Iterator[str]:
    file = ROOT / page
    if file.suffix == ".md" and file.is_file():  # not one that is generated
        for link in _LINK.findall(file.read_text("utf-8")):
            target = _target(page, link)
            if target is not None:
                yield target


def _target(page: str, link: str) -> str | None:
    """The file of the repository that a page's link leads to; None where mkdocs finds it itself, or
    nobody does (of which it warns)."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if path.startswith("..") or not (ROOT / path).exists():
        return None
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
        if not (ROOT / path).is_file():
            raise PluginError(f"{page}: expected a file or a folder with a README.md, found {link}")
    return path


def _relative(uri: str, page: str) -> str:
    return posixpath.relpath(uri, posixpath.dirname(page) or ".")


def _copy(config: MkDocsConfig, path: str) -> File:
    if path.endswith(".md"):
        return File.generated(config, _uri(path), content=(ROOT / path).read_text("utf-8"))
    return File.generated(config, _uri(path), abs_src_path=str(ROOT / path))
