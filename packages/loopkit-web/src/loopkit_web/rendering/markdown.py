"""Markdown that nobody vouches for, as HTML that can do nothing: no raw HTML, no images, no address but plain links.

Two layers, and each alone would do: the parser makes no tag that the text asks for, and what it made is cut down to a
short list of tags. Text that is too long, or that grows too much, is not rendered at all: it is shown as it is.
"""

import re
from collections.abc import Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

__all__ = ["MAX_CHARS", "render"]

MAX_CHARS: Final = 64_000
_MAX_TOKENS: Final = 20_000
_MAX_CELLS: Final = 4_000
_MAX_GROWN_CELLS: Final = 20_000
_MAX_HTML: Final = 512_000
_DEMOTED: Final = 2
"""A heading of the text stands this many levels below its own: the page has the first two."""

_TAGS: Final = frozenset(
    {
        *("a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span"),
        *("strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    }
)
_ATTRIBUTES: Final[Mapping[str, set[str]]] = {
    "a": {"href"},
    "ol": {"start"},
    "td": {"align"},
    "th": {"align"},
}
_SCHEMES: Final = frozenset({"http", "https", "mailto"})
_ADDRESS: Final = re.compile(r"(?:https?://[^/\\]|mailto:)", re.IGNORECASE)
_ALIGNED: Final = re.compile(r"text-align:(left|right|center)")


@lru_cache(maxsize=64)
def render(text: str) -> Markup | None:
    """Give Markdown as safe HTML; None where it is to be shown as plain text instead.

    The same text is rendered once: a page that is open asks again whenever its run moves.
    """
    if len(text) > MAX_CHARS or _grows(text):
        return None
    try:
        env: dict[str, Any] = {}
        tokens = _PARSER.parse(text, env)
        if _is_too_much(tokens):
            return None
        html = _PARSER.renderer.render([_toned_down(token) for token in tokens], _PARSER.options, env)
    except RecursionError:
        return None
    return Markup(_clean(html)) if len(html) <= _MAX_HTML else None


def _grows(text: str) -> bool:
    """True for a table whose rows would be filled up with far more cells than they name."""
    lines = text.split("\n")
    return max(line.count("|") for line in lines) * len(lines) > _MAX_GROWN_CELLS


def _is_too_much(tokens: Sequence[Token]) -> bool:
    count = sum(1 + len(token.children or ()) for token in tokens)
    cells = sum(token.type in ("td_open", "th_open") for token in tokens)
    return count > _MAX_TOKENS or cells > _MAX_CELLS


def _toned_down(token: Token) -> Token:
    """Bring a heading below the page's own, and say a cell's alignment without a style."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1]) + _DEMOTED, 6)}"
    elif token.type in ("td_open", "th_open") and (style := token.attrGet("style")):
        aligned = _ALIGNED.fullmatch(str(style))
        token.attrs = {"align": aligned[1]} if aligned else {}
    return token


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_kept,
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


def _kept(tag: str, attribute: str, value: str) -> str | None:
    """Drop an address that is not absolute: one without a scheme would lead back to this app, or to any host."""
    return value if attribute != "href" or _ADDRESS.match(value) else None


def _image(_self: object, tokens: Sequence[Token], index: int, _options: object, _env: MutableMapping[str, Any]) -> str:
    """Give an image as its words and its address: nothing is loaded."""
    token = tokens[index]
    words = f"{escape(token.content)} " if token.content else ""
    return f"<span>{words}(image: <code>{escape(str(token.attrGet('src') or ''))}</code>)</span>"


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False})
    parser.enable(["table", "strikethrough"])
    parser.disable(["html_block", "html_inline"])
    parser.add_render_rule("image", _image)
    return parser


_PARSER: Final = _make_parser()
