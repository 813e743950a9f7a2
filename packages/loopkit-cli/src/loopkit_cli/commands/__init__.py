"""The commands, one module each, named as the command. ``main`` puts them together.

``cancel_retry`` holds two. A command reads its options, calls the library, and prints; what several share is beside
this folder. The module of a command is loaded when the command is used, or described in the help.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Final

import click

__all__ = ["Commands"]

_PLACES: Final = {
    "init": "init:init",
    "run": "run:run",
    "submit": "submit:submit",
    "worker": "worker:worker",
    "list": "list:list_",
    "show": "show:show",
    "events": "events:events",
    "artifacts": "artifacts:artifacts",
    "usage": "usage:usage",
    "cancel": "cancel_retry:cancel",
    "retry": "cancel_retry:retry",
    "label": "label:label",
    "agents": "agents:agents",
    "serve": "serve:serve",
    "runners": "runners:runners",
    "stats": "stats:stats",
    "verify": "verify:verify",
    "prune": "prune:prune",
    "copy": "copy:copy",
    "completion": "completion:completion",
}
"""Module and variable of each command, in the order of the help: first what a new user needs."""


class Commands(MutableMapping[str, click.Command]):
    """Commands of the program by name, each loaded when it is first used."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, variable = _PLACES[name].partition(":")
            self._loaded[name] = getattr(import_module(f"{__name__}.{module}"), variable)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"the command {name} belongs to the program")

    def __iter__(self) -> Iterator[str]:
        yield from _PLACES

    def __len__(self) -> int:
        return len(_PLACES)
