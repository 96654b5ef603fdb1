"""The documentation names only paths, pages and headings that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FOLDERS = (
    *("schemas", "handoff", "consumer", "serve_models", "headrace"),
    *("client", "tests", "benchmarks", "docs", "k8s", "requirements"),
)
SOURCES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".yaml", ".md", ".html"} and path != Path(__file__)
]

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[^`\s]*)`")
MODULE = re.compile(r"python -m ([\w.]+)")
PAGE_IN_SOURCE = re.compile(r"\bdocs/[\w-]+\.md(?:#[\w-]+)?")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    prose = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_targets(page: Path, links: Iterator[str]) -> list[str]:
    missing = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    return missing


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    links = (link for link in LINK.findall(read(page)) if "://" not in link)

    assert missing_targets(page, links) == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_repository_paths_exist(page: Path) -> None:
    paths = CODE_PATH.findall(read(page))

    # A part in capitals stands for a name: k8s/overlays/NAME.
    named = [path for path in paths if not re.search(r"[A-Z]{3}", path)]
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_modules_to_run_exist(page: Path) -> None:
    modules = MODULE.findall(read(page))

    paths = [ROOT / module.replace(".", "/") for module in modules]
    scripts = [(path / "__main__.py", path.with_suffix(".py")) for path in paths]
    assert [pair for pair in scripts if not any(path.exists() for path in pair)] == []


def test_sources_name_pages_that_exist() -> None:
    wrong = {
        page_name(source): missing_targets(
            ROOT / "README.md", iter(PAGE_IN_SOURCE.findall(read(source)))
        )
        for source in SOURCES
    }

    assert {source: pages for source, pages in wrong.items() if pages} == {}
