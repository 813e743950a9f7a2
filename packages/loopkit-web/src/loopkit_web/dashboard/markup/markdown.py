"""Untrusted Markdown as inert HTML: no raw HTML, no images, and no URLs except plain links.

Two layers, each sufficient by itself: the parser treats HTML in the text as text, and a sanitizer reduces its result
to a short list of tags. Text that is too long, or would expand too much, is not rendered; it is shown as plain text.
"""

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final

import attrs
import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

__all__ = ["MAX_CHARS", "render"]

MAX_CHARS: Final = 64_000
_MAX_TOKENS: Final = 20_000
_MAX_STEPS: Final = 50_000
"""Beginnings of blocks and of special characters within lines; of 64,000 brackets each takes 12 microseconds."""
_STEPS_BETWEEN_LOOKS: Final = 256
_MAX_CELLS: Final = 4_000
_MAX_FILLED_CELLS: Final = 20_000
_MAX_HTML: Final = 512_000
_MAX_CACHED: Final = 16
"""Most texts whose HTML is kept; with texts and HTML of the largest size they take about 9 MB."""
_LOWERED_BY: Final = 2
"""Levels by which headings are lowered, since the page itself uses the first two."""

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
_ABSOLUTE_URL: Final = re.compile(r"(?:https?://[^/\\]|mailto:)", re.IGNORECASE)
_ALIGNMENT: Final = re.compile(r"text-align:(left|right|center)")


def render(text: str, *, is_late: Callable[[], bool] = lambda: False) -> Markup | None:
    """Return Markdown as safe HTML; None if it has to be shown as plain text instead.

    Cached: an open page requests the same text again whenever its run changes.

    Args:
        is_late: asked while the text is parsed; as soon as it returns True, the result is None.
    """
    if len(text) > MAX_CHARS:
        return None
    try:
        return _render(_Source(text=text, is_late=is_late))
    except _Late:
        return None


class _Late(Exception):
    """The time for parsing is over. What is raised is not cached."""


class _TooMuch(Exception):
    """The text takes more steps, or makes more tokens, than one that people write."""


@attrs.frozen(kw_only=True)
class _Source:
    """Text to be rendered: two of the same text are equal."""

    text: str
    is_late: Callable[[], bool] = attrs.field(eq=False)


def _count_step(env: MutableMapping[str, Any]) -> None:
    """Count a step of the parser, at the beginning of a block or of what is special within a line.

    Raises:
        _TooMuch: there were too many.
        _Late: the time is over.
    """
    env["steps"] = steps = env.get("steps", 0) + 1
    if steps > _MAX_STEPS:
        raise _TooMuch
    if steps % _STEPS_BETWEEN_LOOKS == 0 and (is_late := env.get("is_late")) is not None and is_late():
        raise _Late


def _count_block(state: StateBlock, _start: int, _end: int, _silent: bool) -> bool:
    if len(state.tokens) > _MAX_TOKENS:
        raise _TooMuch
    _count_step(state.env)
    return False


def _count_inline(state: StateInline, _silent: bool) -> bool:
    _count_step(state.env)
    return False


@lru_cache(maxsize=_MAX_CACHED)
def _render(source: _Source) -> Markup | None:
    text = source.text
    if _may_expand(text):
        return None
    try:
        env: dict[str, Any] = {"is_late": source.is_late}
        tokens = _PARSER.parse(text, env)
        if _is_too_large(tokens) or _text_size(tokens) > _MAX_HTML:
            return None
        html = _PARSER.renderer.render([_adapted(token) for token in tokens], _PARSER.options, env)
    except (RecursionError, _TooMuch):
        return None
    return Markup(_clean(html)) if len(html) <= _MAX_HTML else None


def _may_expand(text: str) -> bool:
    """Return whether the text may hold a table whose short rows the parser would fill up with very many cells."""
    lines = text.split("\n")
    return max(line.count("|") for line in lines) * len(lines) > _MAX_FILLED_CELLS


def _is_too_large(tokens: Sequence[Token]) -> bool:
    count = sum(1 + len(token.children or ()) for token in tokens)
    cells = sum(token.type in ("td_open", "th_open") for token in tokens)
    return count > _MAX_TOKENS or cells > _MAX_CELLS


def _text_size(tokens: Iterable[Token]) -> int:
    """Return the characters that tokens will become in HTML, without markup.

    A reference costs three characters in the text, and the length of its URL and its title in the HTML.
    """
    total = 0
    for token in tokens:
        total += sum(len(str(value)) for value in token.attrs.values())
        total += _text_size(token.children) if token.children else len(token.content)
    return total


def _adapted(token: Token) -> Token:
    """Return a token with a heading's level lowered, or a cell's alignment as an attribute in place of a style."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1]) + _LOWERED_BY, 6)}"
    elif token.type in ("td_open", "th_open") and (style := token.attrGet("style")):
        alignment = _ALIGNMENT.fullmatch(str(style))
        token.attrs = {"align": alignment[1]} if alignment else {}
    return token


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_filter_attribute,
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


def _filter_attribute(tag: str, attribute: str, value: str) -> str | None:
    """Return the value, or None for a URL that is not absolute: it could lead into this app, or to any host."""
    return value if attribute != "href" or _ABSOLUTE_URL.match(value) else None


def _image(_self: object, tokens: Sequence[Token], index: int, _options: object, _env: MutableMapping[str, Any]) -> str:
    """Return an image as its alternative text and its URL, so that nothing is loaded."""
    token = tokens[index]
    words = _words(token.children or ())
    alternative = f"{escape(words)} " if words else ""
    return f"<span>{alternative}(image: <code>{escape(str(token.attrGet('src') or ''))}</code>)</span>"


def _words(tokens: Sequence[Token]) -> str:
    """Return the text of inline tokens without markup; of an image in them its words."""
    texts = []
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            texts.append(" ")
        else:
            texts.append(_words(token.children) if token.children else token.content)
    return "".join(texts)


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False})
    parser.enable(["table", "strikethrough"])
    parser.disable(["html_block", "html_inline"])
    parser.add_render_rule("image", _image)
    parser.block.ruler.before("table", "count", _count_block)
    parser.inline.ruler.before("text", "count", _count_inline)
    return parser


_PARSER: Final = _make_parser()
