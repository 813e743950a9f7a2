"""Text with places to fill: ``{{ inputs.thesis }}``. Dotted names and nothing else: no code, no conditions, no loops.

What is filled in is never looked at again, so it cannot add places of its own.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from loopkit.agents.context import StageContext
from loopkit.errors import StageFailed

__all__ = ["Template"]

_PLACE: Final = re.compile(r"\{\{(.*?)\}\}")
_NAME: Final = re.compile(r"\s*(\w+(?:\.[\w-]+)*)\s*", re.ASCII)
_KNOWN: Final = (
    *("run_id", "agent_name", "cycle_id", "inputs", "stage", "attempt", "output", "evaluation", "idempotency_key"),
)


class Template:
    """A text that is filled with what a stage gets.

    Raises:
        StageFailed: a place holds something else than a name that every stage has.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        for place in _PLACE.finditer(text):
            _path(place)

    def fill(self, context: StageContext) -> str:
        """Put the values into their places: text as it is, nothing as empty text, anything else as JSON.

        Raises:
            StageFailed: a place names a part that is not there.
        """
        return _PLACE.sub(lambda place: _shown(_look_up(context, _path(place))), self.text)


def _path(place: re.Match[str]) -> list[str]:
    name = _NAME.fullmatch(place[1])
    path = name[1].split(".") if name else []
    if not path or path[0] not in _KNOWN:
        raise StageFailed(
            f"the template has {place[0][:100]}; what it may name are {', '.join(_KNOWN)} and their parts"
        )
    return path


def _look_up(context: StageContext, path: Sequence[str]) -> Any:
    value: Any = getattr(context, path[0])
    for name in path[1:]:
        if value is None:
            return None  # there is no evaluation yet, so it has no parts either
        if not isinstance(value, Mapping) or name not in value:
            raise StageFailed(f"the template names {'.'.join(path)}, which is not there")
        value = value[name]
    return value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=dict)
