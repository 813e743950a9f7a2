"""JSON as a tree to fold: values only, the template draws it. Bounded, whatever the document holds."""

import json
from typing import Any, Final

import attrs

from loopkit.core import plain

__all__ = ["Node", "tree"]

_MAX_NODES: Final = 2_000
_MAX_TEXT: Final = 2_000
_MAX_DEPTH: Final = 40
_OPEN_CHILDREN: Final = 12
"""A node with more children is folded at first, and every node from the third level on."""


@attrs.frozen(kw_only=True)
class Node:
    """One value of a document."""

    key: str | None
    """Its name or index; None at the top."""
    kind: str
    """``object``, ``array``, ``string``, ``number``, ``word`` (true, false, null) or ``more``."""
    text: str = ""
    children: tuple["Node", ...] = ()
    count: int = 0
    """How many children there are, shown or not."""
    is_open: bool = True
    inside_text: bool = False
    """The document stood inside a string."""


class _Room:
    def __init__(self) -> None:
        self.left = _MAX_NODES


def tree(value: Any) -> Node:
    """Give a JSON value as a tree."""
    return _node(None, value, 0, _Room())


def _node(key: str | None, value: Any, depth: int, room: _Room) -> Node:
    room.left -= 1
    if isinstance(value, str) and (inner := _inner(value)) is not None and depth < _MAX_DEPTH:
        return attrs.evolve(_node(key, inner, depth, room), inside_text=True, is_open=False)
    if isinstance(value, dict):
        return _branch(key, "object", [(str(name), item) for name, item in value.items()], depth, room)
    if isinstance(value, list):
        return _branch(key, "array", [(str(index), item) for index, item in enumerate(value)], depth, room)
    return _leaf(key, value)


def _branch(key: str | None, kind: str, items: list[tuple[str, Any]], depth: int, room: _Room) -> Node:
    if depth >= _MAX_DEPTH:
        return Node(key=key, kind="more", text="deeper levels are in the file", count=len(items))
    children: list[Node] = []
    for name, item in items:
        if room.left <= 0:
            children.append(Node(key=None, kind="more", text=f"{len(items) - len(children)} more are in the file"))
            break
        children.append(_node(name, item, depth + 1, room))
    is_open = depth < 2 and len(items) <= _OPEN_CHILDREN
    return Node(key=key, kind=kind, children=tuple(children), count=len(items), is_open=is_open or depth == 0)


def _leaf(key: str | None, value: Any) -> Node:
    if isinstance(value, str):
        rest = len(value) - _MAX_TEXT
        text = value if rest <= 0 else f"{value[:_MAX_TEXT]} … {rest} more characters"
        return Node(key=key, kind="string", text=text)
    if value is None or isinstance(value, bool):
        return Node(key=key, kind="word", text=json.dumps(value))
    return Node(key=key, kind="number", text=json.dumps(value))


def _inner(text: str) -> Any:
    """Give the document that a string holds, where it holds an object or a list."""
    stripped = text.strip()
    if len(stripped) < 4 or stripped[0] + stripped[-1] not in ("{}", "[]"):
        return None
    value = plain.loads(stripped)
    return value if isinstance(value, dict | list) and value else None
