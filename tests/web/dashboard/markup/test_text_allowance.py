"""Tests of the bounds on the texts of a page."""

import pytest
from markupsafe import escape

from loopkit_web.dashboard.markup.text_allowance import ELLIPSIS, TextAllowance, cut, html_bytes


@pytest.mark.parametrize("text", ["", "plain", "<a href='x'>\"&</a>", "é€😀" * 3, "&amp;", "\ud800"])
def test_html_bytes_is_the_size_of_the_escaped_text(text: str) -> None:
    """The size is that of the text as a template writes it."""
    assert html_bytes(text) == len(str(escape(text)).encode("utf-8", "replace"))


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    """A text of the longest length is whole; a longer one is not."""
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc" + ELLIPSIS


@pytest.mark.parametrize("mark", ["a", "<", '"', "€"])
def test_texts_of_a_page_take_what_is_allowed_together(mark: str) -> None:
    """Texts are whole until the allowance is used up; then they are cut, and at last empty but for the ellipsis."""
    allowance = TextAllowance(1000)
    size = html_bytes(mark)
    shown = [allowance.take(mark * 100) for _ in range(20)]
    assert sum(html_bytes(text.removesuffix(ELLIPSIS)) for text in shown) <= 1000
    whole = 1000 // (100 * size)
    assert shown[:whole] == [mark * 100] * whole
    assert shown[-1] == ELLIPSIS


def test_a_text_may_have_a_bound_of_its_own() -> None:
    """The shorter of the two bounds holds."""
    assert TextAllowance(1000).take("a" * 50, 10) == "a" * 10 + ELLIPSIS
    assert TextAllowance(5).take("a" * 50, 10).startswith("aaa")
