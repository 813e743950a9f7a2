"""Tests of untrusted Markdown: rendered if it is harmless and small, else shown as plain text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.dashboard.markup import markdown

ALLOWED_URL = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def hrefs(html: str) -> list[str]:
    return re.findall(r'href="([^"]*)"', html)


def rendered(text: str) -> str:
    html = markdown.render(text)
    assert html is not None
    return str(html)


def test_references_do_not_multiply_a_long_url() -> None:
    """A text of 64 KB whose references would become 200 MB of links is not rendered, nor is its HTML made."""
    for definition in ("[a]: http://x/" + "b" * 20_000, "[a]: http://x/ '" + "b" * 20_000 + "'"):
        text = definition + "\n\n" + "[a] " * 10_000
        assert markdown.render(text) is None
        tokens = markdown._PARSER.parse(text)
        assert markdown._text_size(tokens) > 10_000 * 20_000
    assert markdown.render("[a]: http://x/bbb\n\n" + "[a] " * 100) is not None


def test_common_markdown_is_rendered() -> None:
    """Headings (lowered below the page's own), lists, tables with their alignment, code and links are rendered."""
    html = rendered("# T\n\n- a **b**\n\n|x|y|\n|:-|-:|\n|1|2|\n\n`c` [l](https://example.com/a?b=1&c=2)\n\n~~s~~")
    assert "<h3>T</h3>" in html
    assert "<li>a <strong>b</strong></li>" in html
    assert '<td align="right">2</td>' in html
    assert "style" not in html
    assert '<a href="https://example.com/a?b=1&amp;c=2" rel="noopener noreferrer nofollow">l</a>' in html


def test_raw_html_is_shown_as_text() -> None:
    """A tag in the text remains text."""
    html = rendered("a <b onclick=x>b</b>\n\n<div style='x'>\n\n<!-- c -->")
    assert "&lt;b onclick=x&gt;" in html
    assert "<div" not in html


def test_image_is_shown_as_its_text_and_url() -> None:
    """Nothing is loaded, and the reader still sees what the image was."""
    html = rendered('![a map](https://evil.test/m.png "t")')
    assert "<img" not in html
    assert "a map" in html
    assert "<code>https://evil.test/m.png</code>" in html


@pytest.mark.parametrize(
    "url",
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
def test_only_absolute_urls_are_links(url: str) -> None:
    """A URL that would lead into this app, or that browsers interpret in their own way, is not a link."""
    assert hrefs(rendered(f"[x](<{url}>)")) == []


SCHEMES = st.sampled_from(
    ["javascript", "vbscript", "data", "file", "blob", "about", "https", "http", "mailto", "ftp", "ws"]
)
NOISE = st.sampled_from(
    ["", " ", "\t", "\x01", "&Tab;", "&#10;", "&colon;", "&#58;", ":", "%3A", "/", "\\", "//", "\u200b"]
)


@given(st.lists(NOISE, max_size=3), SCHEMES, st.lists(NOISE, max_size=4), st.text(max_size=8), st.booleans())
def test_no_other_scheme_gets_through(
    before: list[str], scheme: str, between: list[str], rest: str, upper: bool
) -> None:
    """However a scheme is written, every remaining URL begins with https, http or mailto."""
    scheme = scheme.upper() if upper else scheme
    url = "".join([*before, scheme, *between, ":", rest])
    for text in (f"[x]({url})", f"[x](<{url}>)", f"<{url}>", f"[x]\n\n[x]: {url}"):
        for href in hrefs(str(markdown.render(text))):
            assert ALLOWED_URL.match(href), (text, href)


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
def test_expensive_text_is_bounded(text: str) -> None:
    """Text designed to be slow, or to expand, becomes bounded HTML or plain text."""
    html = markdown.render(text)
    assert html is None or len(html) <= 512_000


def test_table_that_would_expand_is_shown_as_text() -> None:
    """A few kilobytes of rows do not become half a megabyte of cells."""
    assert markdown.render("|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + "|b\n" * 300) is None


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("![foo *bar* `baz`](u)", "foo bar baz"),
        ("![a ![b *c*](d) [e](f)](u)", "a b c e"),
        ("![a\nb](u)", "a b"),
        ("![<b> & c](u)", "&lt;b&gt; &amp; c"),
        ("![](u)", ""),
    ],
)
def test_words_of_an_image_have_no_markup(image: str, words: str) -> None:
    """CommonMark: the alternative text of an image is the text of its content, without markup."""
    assert rendered(image).startswith(f"<p><span>{words} (image: ".replace("> (", ">("))


def test_text_is_shown_plain_when_the_time_is_over() -> None:
    """Parsing ends at the next look at the clock; the same text is rendered the next time."""
    text = "*a* [b](https://c) " * 200
    looks = iter([False, True])
    assert markdown.render(text, is_late=lambda: next(looks)) is None
    assert markdown.render(text) is not None


@pytest.mark.parametrize("unit", ["a\n\n", "- a\n", "![", "["])
def test_parsing_ends_when_a_text_has_too_many_parts(unit: str) -> None:
    """It does not go on to the end of the text to find that out: such texts took more than a second."""
    looks = 0

    def is_late() -> bool:
        nonlocal looks
        looks += 1
        return False

    assert markdown.render(unit * (64_000 // len(unit)), is_late=is_late) is None
    assert 0 < looks < 200
