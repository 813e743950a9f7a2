"""Links between the pages lead somewhere."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.docs.page_helpers import DOCS, ROOT, name_of, pages

EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))


def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        for child in token.children or ():
            if target := child.attrGet("href") or child.attrGet("src"):
                yield str(target)


def anchors(page: Path) -> set[str]:
    """The anchors that hosts make of the headings of a page."""
    parsed = tokens(page)
    titles = (after.content for before, after in pairwise(parsed) if before.type == "heading_open")
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*pages(), *EXAMPLES], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of the repository, and its fragment a heading there."""
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        if fragment and target.suffix == ".md":
            assert fragment in anchors(target), f"{link}: there is no such heading"


def test_every_page_can_be_found() -> None:
    """The index links every page of the documentation."""
    index = DOCS / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert [
        name_of(page) for page in sorted(DOCS.rglob("*.md")) if page != index and page.resolve() not in linked
    ] == []
