"""JSON as a tree that can be folded: the nodes, which a template draws. Bounded, whatever the document holds."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import attrs

from loopkit.core import strict_json
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.text_allowance import ELLIPSIS, TextAllowance

__all__ = ["Node", "NodeKind", "tree"]

_MAX_NODES: Final = 2_000
_MAX_TEXT: Final = 2_000
_MAX_KEY: Final = 200
_MAX_BYTES: Final = 400_000
_NODE_BYTES: Final = 140
"""Bytes of a node's markup."""
_MAX_PARSED: Final = 500_000
_MAX_DEPTH: Final = 40
_MAX_OPEN_CHILDREN: Final = 12
"""A node with more children is folded at first, as is every node from the third level on."""


class NodeKind(StrEnum):
    """Kinds of nodes; those of leaves are CSS classes."""

    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    NUMBER = "number"
    LITERAL = "literal"
    """``true``, ``false`` or ``null``."""
    MORE = "more"
    """A note that the tree was cut here."""


@attrs.frozen(kw_only=True)
class Node:
    """One value of a document."""

    key: str | None
    """Its name or index; None at the top."""
    kind: NodeKind
    text: str = ""
    children: tuple["Node", ...] = ()
    count: int = 0
    """Number of its children, shown or not."""
    is_open: bool = True
    is_inside_text: bool = False
    """True for a document that was inside a string."""


class _Budget:
    """Nodes that may still be made, and texts that they may still hold."""

    def __init__(self, max_nodes: int, texts: TextAllowance) -> None:
        self.nodes_left = max_nodes
        self.texts = texts
        self.parsed_left = _MAX_PARSED
        """Characters of texts that may still be tried as documents."""

    @property
    def is_spent(self) -> bool:
        return self.nodes_left <= 0 or self.texts.left <= 0

    def may_parse(self, text: str) -> bool:
        self.parsed_left -= len(text)
        return self.parsed_left >= 0


def tree(value: Any, *, max_nodes: int = _MAX_NODES, allowance: TextAllowance | None = None) -> Node:
    """Return a JSON value as a tree; at most 40 levels, and 2,000 characters of each string.

    Args:
        value: a JSON value.
        max_nodes: about the most nodes.
        allowance: bytes that the tree may take in the page. None: 400,000.
    """
    return _node(None, value, 0, _Budget(max_nodes, allowance or TextAllowance(_MAX_BYTES)))


def _node(key: str | None, value: Any, depth: int, budget: _Budget) -> Node:
    budget.nodes_left -= 1
    budget.texts.left -= _NODE_BYTES
    key = None if key is None else budget.texts.take(key, _MAX_KEY)
    if isinstance(value, str) and depth < _MAX_DEPTH and (document := _document_in(value, budget)) is not None:
        return attrs.evolve(_node(key, document, depth, budget), is_inside_text=True, is_open=False)
    if isinstance(value, dict):
        return _branch(key, NodeKind.OBJECT, list(value.items()), depth, budget)
    if isinstance(value, list):
        return _branch(key, NodeKind.ARRAY, list(enumerate(value)), depth, budget)
    return _leaf(key, value, budget)


def _branch(key: str | None, kind: NodeKind, items: Sequence[tuple[object, Any]], depth: int, budget: _Budget) -> Node:
    if depth >= _MAX_DEPTH:
        return Node(key=key, kind=NodeKind.MORE, text="deeper levels are in the file", count=len(items))
    children: list[Node] = []
    for name, item in items:
        if budget.is_spent:
            text = f"{len(items) - len(children)} more are in the file"
            children.append(Node(key=None, kind=NodeKind.MORE, text=text))
            break
        children.append(_node(str(name), item, depth + 1, budget))
    is_open = depth == 0 or (depth < 2 and len(items) <= _MAX_OPEN_CHILDREN)
    return Node(key=key, kind=kind, children=tuple(children), count=len(items), is_open=is_open)


def _leaf(key: str | None, value: Any, budget: _Budget) -> Node:
    if isinstance(value, str):
        shown = budget.texts.take(value[:_MAX_TEXT]).removesuffix(ELLIPSIS)
        rest = len(value) - len(shown)
        text = value if rest <= 0 else f"{isolated(shown)} … {rest} more characters"
        return Node(key=key, kind=NodeKind.STRING, text=text)
    if value is None or isinstance(value, bool):
        return Node(key=key, kind=NodeKind.LITERAL, text=json.dumps(value))
    return Node(key=key, kind=NodeKind.NUMBER, text=json.dumps(value))


def _document_in(text: str, budget: _Budget) -> Any:
    """Return the document that a string holds; None unless it is an object or a list with something in it."""
    stripped = text.strip()
    if len(stripped) < 4 or stripped[0] + stripped[-1] not in ("{}", "[]") or not budget.may_parse(stripped):
        return None
    value = strict_json.loads_or_text(stripped)
    return value if isinstance(value, dict | list) and value else None
