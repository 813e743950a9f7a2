"""The decorator of values: classes with slots whose fields never change after they are made.

For mypy it is ``attrs.frozen``, so an assignment to a field is an error in loopkit and in typed code of users
(``tests/typing/rejected.py``). At run time it makes a plain class with slots: ``attrs.frozen`` sets each field through
``object.__setattr__``, which doubles the time of making a value, and a loop makes dozens. ``tests/core/test_values.py``
runs simulated schedules with the real ``attrs.frozen`` in its place, so that loopkit itself changes no value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import attrs

__all__ = ["Fields", "TextEnum", "maker", "replacer", "value"]

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    from attrs import frozen as value
else:
    value = partial(attrs.define, unsafe_hash=True, on_setattr=attrs.setters.NO_OP)


def maker(cls: Callable[P, T]) -> Callable[P, T]:
    """Create a function that makes values of a class as a call of the class does, for where every boundary makes one.

    Python calls a class through a dict of its keywords, and a function without: 2 us become 0.7 for eleven fields. The
    class has no converter and no validator.
    """
    made = cast("type[T]", cls)
    fields = attrs.fields_dict(made)  # type: ignore[arg-type]
    assert not any(field.converter or field.validator for field in fields.values())
    parameters: list[str] = []
    lines: list[str] = []
    defaults: dict[str, object] = {}
    for name, field in fields.items():
        if field.kw_only and "*" not in parameters:
            parameters.append("*")
        expression = name
        if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            defaults[name] = field.default.factory  # type: ignore[union-attr]
            parameters.append(f"{name}=missing")
            expression = f"defaults[{name!r}]() if {name} is missing else {name}"
        elif field.default is not attrs.NOTHING:
            defaults[name] = field.default
            parameters.append(f"{name}=defaults[{name!r}]")
        else:
            parameters.append(name)
        lines.append(_assignment(made, "made", name, expression))
    lines = [f"def make({', '.join(parameters)}):", "    made = new(cls)", *lines, "    return made"]
    return cast("Callable[P, T]", _run(lines, cls=cls, defaults=defaults, missing=attrs.NOTHING)["make"])


def replacer(cls: type[T], *names: str) -> Callable[..., T]:
    """Create a function of a value and of new values for the named fields, in order, that returns a changed copy.

    It does what ``attrs.evolve`` does, for where every boundary makes a copy: 7 us become 0.8 for a run.
    """
    fields = attrs.fields_dict(cls)  # type: ignore[arg-type]
    assert fields.keys() >= set(names), f"{set(names) - fields.keys()} are no fields of {cls.__name__}"
    lines = [f"def replace(value, {', '.join(names)}):", "    copy = new(cls)"]
    lines += [_assignment(cls, "copy", name, name if name in names else f"value.{name}") for name in fields]
    return cast("Callable[..., T]", _run([*lines, "    return copy"], cls=cls)["replace"])


def _assignment(cls: type[object], target: str, name: str, expression: str) -> str:
    """Return the statement that sets a field, as attrs writes it into ``__init__``."""
    if cls.__setattr__ is object.__setattr__:
        return f"    {target}.{name} = {expression}"
    return f"    put({target}, {name!r}, {expression})"  # a test makes values by attrs.frozen


def _run(lines: Iterable[str], **names: object) -> dict[str, object]:
    namespace: dict[str, object] = {"new": object.__new__, "put": object.__setattr__, **names}
    exec(compile("\n".join(lines), "<values>", "exec"), namespace)
    return namespace


class TextEnum(StrEnum):
    """Base of enums whose texts are written to rows, several dozen in each loop.

    ``value`` is the same text as in any enum, without the two calls of Python code that enum takes to read it.
    """

    if not TYPE_CHECKING:
        value = property(attrgetter("_value_"))


class Fields(Mapping[str, Any]):
    """Base of values that are also mappings of their fields by name: ``entry["score"]``, ``dict(entry)``."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        """Return the field with this name.

        Raises:
            KeyError: there is none.
        """
        cls: Any = type(self)
        if name not in attrs.fields_dict(cls):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        cls: Any = type(self)
        return iter(attrs.fields_dict(cls))

    def __len__(self) -> int:
        cls: Any = type(self)
        return len(attrs.fields(cls))
