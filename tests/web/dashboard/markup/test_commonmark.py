"""Markdown is rendered as CommonMark says, but for what security takes out."""

import json
import re
from pathlib import Path

import nh3
import pytest

from loopkit_web.dashboard.markup.markdown import render

DATA = Path(__file__).parents[3] / "data" / "commonmark" / "commonmark.json"
EXAMPLES = {example["example"]: example for example in json.loads(DATA.read_text())}

RAW_HTML = {
    *(21, 31, *range(148, 192), 201, 308, 309, 344, 475, 476, 477, 491, 494, 524, 536, *range(613, 618), 623),
    *(*range(625, 632), 642, 643),
}
"""Examples with HTML in the text, which is shown as text."""
IMAGES = {517, 520, 531, *range(572, 590), 591}
"""Examples with an image, of which the alternative text and the URL are shown, so that nothing is loaded."""

TAGS = {
    *("a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong", "ul"),
}
ABSOLUTE_URL = re.compile(r"(?:https?://[^/\\]|mailto:)", re.IGNORECASE)


def expected(html: str) -> str:
    """Return the HTML of an example as a page may show it: headings two levels lower, links to other hosts only."""
    lowered = re.sub(r"(</?h)([1-6])>", lambda tag: f"{tag[1]}{min(int(tag[2]) + 2, 6)}>", html)
    return nh3.clean(
        re.sub(r' class="language-[^"]*"', "", lowered),
        tags=TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        attribute_filter=lambda _, name, value: value if name != "href" or ABSOLUTE_URL.match(value) else None,
    )


def without_gaps(html: str) -> str:
    """Return HTML without the line ends between its tags, which no browser shows."""
    return re.sub(r">\s+<", "><", html.strip())


def is_equal(number: int) -> bool:
    example = EXAMPLES[number]
    return without_gaps(str(render(example["markdown"]))) == without_gaps(expected(example["html"]))


def test_all_examples_are_equal_but_the_exceptions() -> None:
    """The lists of exceptions are complete, and hold no example that is equal."""
    assert len(EXAMPLES) == 652
    assert {number for number in EXAMPLES if not is_equal(number)} == RAW_HTML | IMAGES


@pytest.mark.parametrize("number", sorted(RAW_HTML | IMAGES))
def test_an_exception_holds_only_allowed_tags(number: int) -> None:
    """HTML and images of the text become text: no other tag and no URL is in the result."""
    html = str(render(EXAMPLES[number]["markdown"]))
    assert set(re.findall(r"<([a-z0-9]+)", html)) <= TAGS | {"span"}
    assert re.findall(r"\s(\w+)=", re.sub(r">[^<]*<", "><", html)) in ([], ["rel"])
