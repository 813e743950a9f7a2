"""The decorator of values: classes with slots whose fields never change after they are made.

For mypy it is ``attrs.frozen``, so an assignment to a field is an error in loopkit and in typed code of users
(``tests/typing/rejected.py``). At run time it makes a plain class with slots: ``attrs.frozen`` sets each field through
``object.__setattr__``, which doubles the time of making a value, and a loop makes dozens. ``tests/core/test_values.py``
runs simulated schedules with the real ``attrs.frozen`` in its place, so that loopkit itself changes no value.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

__all__ = ["Fields", "TextEnum", "value"]

if TYPE_CHECKING:
    from attrs import frozen as value
else:
    value = partial(attrs.define, unsafe_hash=True, on_setattr=attrs.setters.NO_OP)


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
