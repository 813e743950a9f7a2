"""Stages that are Python callables, passed as such or named ``module:callable``.

An async callable is awaited in the event loop. Any other is called in a daemon thread; a call that outlives its timeout
or a cancellation is left behind there, and its result and its log lines are dropped.
"""

import importlib
import inspect
import re
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

import attrs

from loopkit.agents.context import Sink, StageContext
from loopkit.agents.error_place import describe_with_place
from loopkit.agents.stages.threads import call_in_thread
from loopkit.errors import InvalidConfig, StageFailed

__all__ = ["FunctionStage", "ImportedStage", "StageFunction", "check_reference", "import_callable"]

StageFunction = Callable[[StageContext], Any]
"""A sync or async callable of one argument."""


def _check_arity(_: object, attribute: Any, function: Any) -> None:
    """Check that a call with one positional argument fits the signature, where there is one that can be read."""
    try:
        # A wrapper may take other arguments than the function that it wraps.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = getattr(_unwrap_partial(function), "__qualname__", type(function).__qualname__)
        raise InvalidConfig(
            f"must be callable with one positional argument, the stage context: {name} takes {signature} ({error})"
        ) from None


_REFERENCE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@attrs.frozen
class FunctionStage:
    """A stage that is a callable."""

    function: StageFunction = attrs.field(validator=_check_arity)
    _is_async: bool = attrs.field(init=False, eq=False, repr=False)

    @_is_async.default
    def _default_is_async(self) -> bool:
        return _is_async(self.function)

    @property
    def kind(self) -> str:
        return "python"

    @property
    def target(self) -> str:
        function = _unwrap_partial(self.function)
        definition = function if hasattr(function, "__qualname__") else type(function)
        return f"{definition.__module__}:{definition.__qualname__}"

    @property
    def name(self) -> str:
        """Name of the callable, or of its class."""
        function = _unwrap_partial(self.function)
        return str(getattr(function, "__name__", type(function).__name__))

    @property
    def definition(self) -> str:
        return self.target

    def problem(self) -> str | None:
        return None

    def __call__(self, context: StageContext) -> Coroutine[object, object, object]:
        if self._is_async:
            coroutine: Coroutine[object, object, object] = self.function(context)
            return coroutine
        return self._call_in_thread(context)

    async def _call_in_thread(self, context: StageContext) -> object:
        gate = _Gate(context.sink)
        try:
            result = await call_in_thread(partial(self.function, attrs.evolve(context, sink=gate)))
            # A lambda around an async callable counts as async too.
            return await result if inspect.isawaitable(result) else result
        finally:
            gate.is_open = False


@attrs.define(eq=False)
class ImportedStage:
    """A stage that names a callable, which the first call imports with ``folder`` first on the import path."""

    reference: str = attrs.field(alias="python")
    """``module:callable``; the callable may be an attribute of an attribute."""
    folder: Path
    _imported: FunctionStage | None = attrs.field(default=None, init=False)

    @reference.validator
    def _check(self, _: object, reference: object) -> None:
        check_reference(reference, key="python")

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
            self._import()
        except StageFailed as error:
            return str(error)
        return None

    async def __call__(self, context: StageContext) -> object:
        if self._imported is None:
            # An import may take long or never end, so it is done where a timeout can leave it behind.
            await call_in_thread(self._import)
        assert self._imported is not None
        return await self._imported(context)

    def _import(self) -> None:
        if self._imported is None:
            function = import_callable(self.reference, self.folder)
            try:
                self._imported = FunctionStage(function)
            except InvalidConfig as error:
                raise StageFailed(f"cannot load {self.reference}: {error.reason}") from None


def check_reference(reference: object, *, key: str) -> None:
    """Check that a setting is ``module:callable``.

    Raises:
        InvalidConfig: it is not.
    """
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise InvalidConfig('must be "module:callable"', key=key)


class _Gate:
    """Sink that passes log lines on until the call that they belong to is over."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.is_open = True

    def __call__(self, message: str, metadata: Mapping[str, Any]) -> None:
        if self.is_open:
            self._sink(message, metadata)


def _unwrap_partial(function: object) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _is_async(function: StageFunction) -> bool:
    method = getattr(_unwrap_partial(function), "__call__", None)  # noqa: B004  (is this method async?)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method)


_IMPORT_LOCK: Final = threading.Lock()
_folders: Final[set[Path]] = set()
"""Folders that were put on the import path by this module."""


def import_callable(reference: str, folder: Path) -> Callable[..., Any]:
    """Import the callable that ``reference`` names.

    Raises:
        StageFailed: it cannot be imported, or is not callable.
    """
    with _IMPORT_LOCK:
        _put_first_on_path(folder)
    module, _, path = reference.partition(":")
    try:
        importlib.invalidate_caches()
        value: Any = importlib.import_module(module)
        for name in path.split("."):
            value = getattr(value, name)
    except (Exception, SystemExit) as error:
        raise StageFailed(f"cannot load {reference}: {describe_with_place(error)}") from error
    if not callable(value):
        raise StageFailed(f"cannot load {reference}: it is not callable")
    function: Callable[..., Any] = value
    return function


def _put_first_on_path(folder: Path) -> None:
    """Put the folder of a configuration first on the import path.

    Two configurations of one process may each have a ``stages.py``. A module that was imported from the folder of
    another configuration, and has the name of one in this folder, is removed from ``sys.modules``. The import then
    finds the one of this folder, and code that has imported the other keeps it.
    """
    known_folders = tuple(f"{known}/" for known in _folders)
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(known_folders) and _has_namesake(name, folder):
            del sys.modules[name]
    _folders.add(folder)
    if sys.path[:1] != [str(folder)]:
        sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]


def _has_namesake(name: str, folder: Path) -> bool:
    """True when the folder holds another module of that top-level name."""
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(folder)])
    return spec is not None and spec.origin != getattr(sys.modules.get(top), "__file__", None)
