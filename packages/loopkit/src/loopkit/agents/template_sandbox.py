"""Sandbox of templates: Jinja2 whose values are JSON, with bounds on what a template may cost.

A part of a value is a key of an object or a place of an array; attributes of Python objects are none, but for a few
methods of text and objects. What could grow without bound is measured before it is made: products, powers, padding,
joined text. Loops and calls look at the clock. Jinja2 comes with the extra ``loopkit[llm]`` and is imported here, so
this module is imported by the first template.
"""

import json
import re
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from html import escape
from types import BuiltinMethodType
from typing import Any, Final, cast

import attrs
from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from loopkit.errors import StageFailed

__all__ = ["LIMITS", "Inputs", "Limits", "Sandbox", "guard", "to_text"]

MAX_CHARS: Final = 16 << 20
"""Longest text, or most items, that one operation of a template makes."""
MAX_BITS: Final = 4096
"""Longest whole number, in bits."""
MAX_PARTS: Final = 10_000
"""Largest number that says how wide, how precise or how many."""

_DICT_METHODS: Final = frozenset({"get", "items", "keys", "values"})
_LIST_METHODS: Final = frozenset({"count", "index"})
_TEXT_METHODS: Final = frozenset(
    {
        *("capitalize", "count", "endswith", "find", "index", "isdigit", "lower", "lstrip", "removeprefix"),
        *("removesuffix", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"),
    }
)
_WIDE_FORMAT: Final = re.compile(r"%[^%a-zA-Z]*?(\*|\d{4,})")


class Inputs(dict[str, Any]):
    """Inputs of a run; one that the schema declares and the run lacks is None."""

    declared: frozenset[str] = frozenset()


@attrs.define
class Limits:
    """Time and space left to one filling of a template, and the fence around the judged text."""

    deadline: float
    chars_left: int
    fence: Callable[[str], str] | None = None

    def tick(self) -> None:
        """Raise StageFailed when the time is over."""
        if time.monotonic() > self.deadline:
            raise StageFailed("the template takes longer than 1 s", is_final=True)

    def spend(self, chars: int) -> None:
        """Count text that was filled in; raise StageFailed when it is too much."""
        self.chars_left -= chars
        self.tick()
        if self.chars_left < 0:
            raise StageFailed("the template makes more than 1 MiB of text beside its values", is_final=True)


LIMITS: Final[ContextVar[Limits]] = ContextVar("loopkit_template_limits")


def to_text(value: Any) -> str:
    """Return a value as it is filled in: text as it is, None as nothing, anything else as JSON."""
    if isinstance(value, Undefined):
        return str(value)  # raises the error that names it
    if value is None:
        return ""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, BuiltinMethodType):
        return str(StrictUndefined(obj=value.__self__, name=value.__name__))  # raises the error that names it
    return json.dumps(value, ensure_ascii=False, indent=2, default=_as_json)


def _as_json(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterator) or type(value).__name__ in ("dict_items", "dict_keys", "dict_values"):
        return list(value)  # type: ignore[call-overload]
    raise TypeError(f"a {type(value).__name__} cannot be filled in")


def _filled(value: Any) -> str:
    text = to_text(value)
    LIMITS.get().spend(len(text))
    return text


def _fenced(value: Any) -> str:
    fence, text = LIMITS.get().fence, _filled(value)
    return fence(text) if fence is not None and text else text


def _checked_items(value: Any) -> Iterator[Any]:
    """Yield the items that a loop runs over; None has none."""
    limits = LIMITS.get()
    for item in () if value is None else value:
        limits.tick()
        yield item


def _check_size(chars: float) -> None:
    if chars > MAX_CHARS:
        raise ValueError(f"it would make more than {MAX_CHARS} characters or items")


def _check_number(number: object) -> None:
    if isinstance(number, int) and abs(number) > MAX_PARTS:
        raise ValueError(f"{number} is more than {MAX_PARTS}")


def _concat(parts: Iterable[Any]) -> str:
    return _join(parts)


def _join(value: Any, d: str = "", attribute: str | int | None = None) -> str:
    items = () if value is None else value
    texts = [to_text(_part(item, attribute)) for item in items]
    _check_size(sum(map(len, texts)) + len(texts) * len(to_text(d)))
    return to_text(d).join(texts)


def _part(item: Any, attribute: str | int | None) -> Any:
    for name in () if attribute is None else str(attribute).split("."):
        item = item[int(name)] if isinstance(item, list) else None if item is None else item[name]
    return item


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = to_text(value), to_text(old), to_text(new)
    _check_size(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    return text.replace(old, new, -1 if count is None else count)


def _indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    _check_number(width)
    text, margin = to_text(value), width if isinstance(width, str) else " " * width
    _check_size(len(text) + (text.count("\n") + 1) * len(margin))
    indented = textwrap.indent(text, margin, (lambda _: True) if blank else None)
    return indented if first else indented.removeprefix(margin)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    text = to_text(value)
    if _WIDE_FORMAT.search(text):
        raise ValueError("a format may not be wider than 999 characters")
    return text % (kwargs or args)


def _center(value: Any, width: int = 80) -> str:
    _check_number(width)
    return to_text(value).center(width)


def _wordwrap(value: Any, width: int = 79) -> str:
    return "\n".join("\n".join(textwrap.wrap(line, max(width, 1))) for line in to_text(value).splitlines())


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    if isinstance(value, Undefined) or value is None or (boolean and not value):
        return default_value
    return value


def _length(value: Any) -> int:
    return 0 if value is None else len(list(value) if isinstance(value, Iterator) else value)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_as_json)


def _numbers_checked(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:
        for number in (*args[1:], *kwargs.values()):
            _check_number(number)
        return function(*args, **kwargs)

    return checked


def _of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda value, *args, **kwargs: function(to_text(value), *args, **kwargs)


_TAKEN: Final = (
    "abs", "dictsort", "first", "float", "groupby", "int", "items", "last", "list", "map", "max", "min", "reject",
    "rejectattr", "reverse", "select", "selectattr", "sort", "sum", "truncate", "unique", "urlencode",
)  # fmt: skip
_TAKEN_FOR_TEXT: Final = ("capitalize", "lower", "striptags", "title", "trim", "upper", "wordcount")
_TAKEN_WITH_NUMBERS: Final = ("batch", "round", "slice")


def _filters() -> dict[str, Callable[..., Any]]:
    return {
        **{name: FILTERS[name] for name in _TAKEN},
        **{name: _of_text(FILTERS[name]) for name in _TAKEN_FOR_TEXT},
        **{name: _numbers_checked(FILTERS[name]) for name in _TAKEN_WITH_NUMBERS},
        "e": _of_text(escape),
        "escape": _of_text(escape),
        "safe": to_text,
        "string": to_text,
        "tojson": _to_json,
        "d": _default,
        "default": _default,
        "count": _length,
        "length": _length,
        "join": _join,
        "center": _center,
        "format": _format,
        "indent": _indent,
        "replace": _replace,
        "wordwrap": _wordwrap,
        "_filled": _filled,
        "_fenced": _fenced,
        "_items": _checked_items,
        "_concat": _concat,
    }


class Sandbox(ImmutableSandboxedEnvironment):
    """Environment of all templates."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, optimized=False)
        self.filters = _filters()
        del self.globals["lipsum"]

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a part of a value, or one of the methods that templates may call."""
        if obj is None:
            return None
        if isinstance(obj, dict):
            if attribute in obj:
                return obj[attribute]
            if attribute in getattr(obj, "declared", ()):
                return None
        for kind, methods in ((dict, _DICT_METHODS), (str, _TEXT_METHODS), (list, _LIST_METHODS)):
            if isinstance(obj, kind):
                found = attribute in methods
                return getattr(obj, attribute) if found else self.undefined(obj=obj, name=attribute)
        if type(obj).__module__.startswith("jinja2."):  # a loop, a namespace, an undefined value
            return super().getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return the part at a key or a place."""
        if isinstance(obj, list | tuple | str) and isinstance(argument, int):
            try:
                return obj[argument]
            except IndexError:
                return self.undefined(obj=obj, name=str(argument))
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        return None if obj is None else self.undefined(obj=obj, name=argument)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls, within its time."""
        LIMITS.get().tick()
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute what fits into memory."""
        match operator, left, right:
            case "*", str() | list() | tuple(), int():
                _check_size(len(left) * right)
            case "*", int(), str() | list() | tuple():
                _check_size(left * len(right))
            case "*", int(), int():
                _check_bits(left.bit_length() + right.bit_length())
            case "**", int(), int():
                _check_bits(left.bit_length() * abs(right))
            case "+", (str() | list() | tuple()), (str() | list() | tuple()):
                _check_size(len(left) + len(right))
            case "%", str(), _:
                return _format(left, *right) if isinstance(right, tuple) else _format(left, right)
        return super().call_binop(context, operator, left, right)


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise ValueError(f"it would make a number of more than {MAX_BITS} bits")


def guard(tree: nodes.Template) -> nodes.Template:
    """Return a parsed template with its places, loops and joined texts guarded."""
    judged = _judged_names(tree)
    guarded: nodes.Template = _Guard(judged).visit(tree)
    return guarded


def _judged_names(tree: nodes.Template) -> frozenset[str]:
    """Return the names that hold the judged text or parts of it: ``output``, and what is made from it."""
    names, before = {"output"}, 0
    while len(names) > before:
        before = len(names)
        sources: list[tuple[nodes.Node, nodes.Node]] = [
            (node.node, node.target) for node in tree.find_all(nodes.Assign)
        ]
        sources += [(node.iter, node.target) for node in tree.find_all(nodes.For)]
        for node in tree.find_all(nodes.With):
            sources += zip(node.values, node.targets, strict=True)
        for source, target in sources:
            if _is_judged(source, names):
                names |= {name.name for name in _names(target)}
    return frozenset(names)


def _names(node: nodes.Node) -> Sequence[nodes.Name | nodes.NSRef]:
    if isinstance(node, nodes.Name | nodes.NSRef):
        return [node]
    return list(node.find_all((nodes.Name, nodes.NSRef)))


def _is_judged(node: nodes.Node, names: Iterable[str]) -> bool:
    return any(name.name in names for name in _names(node))


class _Guard(NodeTransformer):
    """Rewriting of a tree: every place is filled by a filter, every loop runs over checked items."""

    def __init__(self, judged: frozenset[str]) -> None:
        self._judged = judged

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802  (the name is made of the node's)
        """Convert the value of each place to text."""
        self.generic_visit(node)
        node.nodes = [
            part
            if isinstance(part, nodes.TemplateData)
            else _filter(part, "_fenced" if _is_judged(part, self._judged) else "_filled")
            for part in node.nodes
        ]
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        """Run over checked items."""
        self.generic_visit(node)
        node.iter = _filter(node.iter, "_items")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Join texts whose length is checked."""
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concat")


def _filter(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast(nodes.Expr, node), name, [], [], None, None, lineno=node.lineno)
