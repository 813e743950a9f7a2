"""Markdown from nobody knows where: rendered where it is harmless and small, and plain text where it is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.rendering import markdown

ALLOWED_ADDRESS = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def hrefs(html: str) -> list[str]:
    return re.findall(r'href="([^"]*)"', html)


def rendered(text: str) -> str:
    html = markdown.render(text)
    assert html is not None
    return str(html)


def test_what_people_write_is_rendered() -> None:
    """Headings (below the page's own), lists, tables with their alignment, code and links."""
    html = rendered("# T\n\n- a **b**\n\n|x|y|\n|:-|-:|\n|1|2|\n\n`c` [l](https://example.com/a?b=1&c=2)\n\n~~s~~")
    assert "<h3>T</h3>" in html
    assert "<li>a <strong>b</strong></li>" in html
    assert '<td align="right">2</td>' in html
    assert "style" not in html
    assert '<a href="https://example.com/a?b=1&amp;c=2" rel="noopener noreferrer nofollow">l</a>' in html


def test_raw_html_is_shown_and_not_obeyed() -> None:
    """A tag in the text is text."""
    html = rendered("a <b onclick=x>b</b>\n\n<div style='x'>\n\n<!-- c -->")
    assert "&lt;b onclick=x&gt;" in html
    assert "<div" not in html


def test_an_image_is_its_words_and_its_address() -> None:
    """Nothing is loaded, and the reader still learns what stood there."""
    html = rendered('![a map](https://evil.test/m.png "t")')
    assert "<img" not in html
    assert "a map" in html
    assert "<code>https://evil.test/m.png</code>" in html


@pytest.mark.parametrize(
    "address",
    [
        "//evil.test/x",
        "/agents/start",
        "x",
        "?a=b",
        "#a",
        "https:evil",
        "https:\\\\evil.test",
        "data:text/html,x",
        "file:///x",
    ],
)
def test_only_absolute_addresses_are_links(address: str) -> None:
    """What would lead to this app, or to whatever the browser makes of it, is no link."""
    assert hrefs(rendered(f"[x](<{address}>)")) == []


SCHEMES = st.sampled_from(
    ["javascript", "vbscript", "data", "file", "blob", "about", "https", "http", "mailto", "ftp", "ws"]
)
NOISE = st.sampled_from(
    ["", " ", "\t", "\x01", "&Tab;", "&#10;", "&colon;", "&#58;", ":", "%3A", "/", "\\", "//", "\u200b"]
)


@given(st.lists(NOISE, max_size=3), SCHEMES, st.lists(NOISE, max_size=4), st.text(max_size=8), st.booleans())
def test_no_address_outside_the_list_gets_through(
    before: list[str], scheme: str, between: list[str], rest: str, upper: bool
) -> None:
    """However a scheme is written, an address that is left begins with https, http or mailto."""
    scheme = scheme.upper() if upper else scheme
    address = "".join([*before, scheme, *between, ":", rest])
    for text in (f"[x]({address})", f"[x](<{address}>)", f"<{address}>", f"[x]\n\n[x]: {address}"):
        for href in hrefs(str(markdown.render(text))):
            assert ALLOWED_ADDRESS.match(href), (text, href)


@pytest.mark.parametrize(
    "text",
    [
        "*" * 60_000,
        "[" * 60_000,
        "> " * 30_000 + "x",
        "`" * 59_999 + "a",
        "- " * 30_000,
        "|a" * 20_000 + "\n" + "|-" * 20_000 + "\n" + "|b\n" * 5_000,
        "[a](" * 15_000,
        "<" * 60_000,
        "&#x" * 20_000,
        "[x]: y\n" * 8_000 + "[x]" * 2_000,
        "x" * 64_001,
    ],
    ids=lambda text: text[:6],
)
def test_made_to_be_slow_or_large(text: str) -> None:
    """Text made to take long, or to grow, ends as bounded HTML or as plain text."""
    html = markdown.render(text)
    assert html is None or len(html) <= 512_000


def test_a_table_that_would_grow_is_shown_as_text() -> None:
    """A few kilobytes of rows must not become half a megabyte of cells."""
    assert markdown.render("|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + "|b\n" * 300) is None
