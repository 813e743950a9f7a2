"""Stages that are Python callables, given as such or named ``module:callable``.

An async callable is awaited in the event loop. Any other is called in a daemon thread; one that outlives its timeout
or a cancellation is left behind there, and its result and its log lines are dropped.
"""

import importlib
import inspect
import re
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

import attrs

from loopkit.agents.context import Sink, StageContext
from loopkit.agents.threads import in_thread
from loopkit.agents.wording import describe
from loopkit.errors import InvalidConfig, StageFailed

__all__ = ["FunctionStage", "ImportedStage", "StageFunction"]

StageFunction = Callable[[StageContext], Any]
"""A sync or async callable of one argument."""

_REFERENCE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@attrs.frozen
class FunctionStage:
    """A stage that is a callable."""

    function: StageFunction
    _is_async: bool = attrs.field(init=False, eq=False, repr=False)

    @_is_async.default
    def _find_out(self) -> bool:
        return _is_async(self.function)

    @property
    def kind(self) -> str:
        return "python"

    @property
    def target(self) -> str:
        function = _unwrapped(self.function)
        named = function if hasattr(function, "__qualname__") else type(function)
        return f"{named.__module__}:{named.__qualname__}"

    @property
    def definition(self) -> str:
        return self.target

    def problem(self) -> str | None:
        return None

    async def __call__(self, context: StageContext) -> object:
        if self._is_async:
            return await self.function(context)
        gate = _Gate(context.sink)
        try:
            result = await in_thread(partial(self.function, attrs.evolve(context, sink=gate)))
            # A lambda around an async callable is such a one too.
            return await result if inspect.isawaitable(result) else result
        finally:
            gate.is_open = False


@attrs.define(eq=False)
class ImportedStage:
    """A stage that names a callable; it is imported with the first call, a folder first on the import path."""

    reference: str = attrs.field(alias="python")
    """``module:callable``; the callable may be an attribute of an attribute."""
    folder: Path
    _found: FunctionStage | None = attrs.field(default=None, init=False)

    @reference.validator
    def _check(self, _: object, reference: object) -> None:
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise InvalidConfig('must be "module:callable"', key="python")

    @property
    def kind(self) -> str:
        return "python"

    @property
    def target(self) -> str:
        return self.reference

    @property
    def definition(self) -> str:
        return self.reference

    def problem(self) -> str | None:
        try:
            self._find()
        except StageFailed as error:
            return str(error)
        return None

    async def __call__(self, context: StageContext) -> object:
        if self._found is None:
            # An import may take long or never end, so it is made where a timeout can leave it behind.
            await in_thread(self._find)
        assert self._found is not None
        return await self._found(context)

    def _find(self) -> None:
        if self._found is None:
            self._found = FunctionStage(_find(self.reference, self.folder))


class _Gate:
    """Lets log lines through until the call they belong to is over."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.is_open = True

    def __call__(self, message: str, metadata: Mapping[str, Any]) -> None:
        if self.is_open:
            self._sink(message, metadata)


def _unwrapped(function: object) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _is_async(function: StageFunction) -> bool:
    method = getattr(_unwrapped(function), "__call__", None)  # noqa: B004  (it is asked whether this method is async)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method)


# --- Importing ---------------------------------------------------------------------------------------------------

_IMPORTING: Final = threading.Lock()
_folders: Final[set[Path]] = set()
"""Every folder that was put on the import path here."""


def _find(reference: str, folder: Path) -> StageFunction:
    """Give the callable that ``reference`` names.

    Raises:
        StageFailed: it cannot be imported, or is none.
    """
    with _IMPORTING:
        _put_first(folder)
    module, _, path = reference.partition(":")
    try:
        importlib.invalidate_caches()
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        raise StageFailed(f"cannot load {reference}: {describe(error)}") from error
    if not callable(found):
        raise StageFailed(f"cannot load {reference}: it is no callable")
    function: StageFunction = found
    return function


def _put_first(folder: Path) -> None:
    """Put a configuration's folder first on the import path.

    Two configurations of one process may each have a ``stages.py``. A module that came from another one's folder and
    has a namesake here is forgotten, so that the import finds the one of this folder; who uses the other keeps it.
    """
    ours = tuple(f"{other}/" for other in _folders)
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(ours) and _has_namesake(name, folder):
            del sys.modules[name]
    _folders.add(folder)
    if sys.path[:1] != [str(folder)]:
        sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]


def _has_namesake(name: str, folder: Path) -> bool:
    """True when the folder holds another module of the name, or another package of its beginning."""
    top = name.partition(".")[0]
    here = PathFinder.find_spec(top, [str(folder)])
    return here is not None and here.origin != getattr(sys.modules.get(top), "__file__", None)
