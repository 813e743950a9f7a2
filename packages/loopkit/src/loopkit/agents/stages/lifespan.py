"""Lifespan of what stages share, such as clients and connection pools, from before the first stage to the end.

A lifespan is a callable without arguments that returns an async context manager. What that yields is ``deps`` of the
stage context. It is entered in the event loop of the stages.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from loopkit.agents.error_place import describe_with_place
from loopkit.agents.error_text import describe_error, kind_of
from loopkit.agents.stages.python import check_reference, import_callable
from loopkit.errors import InvalidConfig, StageFailed, UnusableOption

if TYPE_CHECKING:
    from loopkit.agents.agent import Agent

__all__ = ["ImportedLifespan", "Lifespan", "check_lifespan", "open_deps"]

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
"""Callable without arguments that returns an async context manager; what that yields is ``deps`` of the context."""


@attrs.frozen(eq=False)
class ImportedLifespan:
    """Lifespan that names a callable, which is imported when it is entered."""

    reference: str = attrs.field()
    """``module:callable``."""
    folder: Path
    """Folder that is first on the import path."""

    @reference.validator
    def _check(self, _: object, reference: object) -> None:
        check_reference(reference, key="lifespan")

    def problem(self) -> str | None:
        """Return why it cannot be opened, as far as that shows before it is entered, or None; this imports it."""
        try:
            function = import_callable(self.reference, self.folder)
        except StageFailed as error:
            return str(error)
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            return f"cannot enter {self.reference}: it must be callable without arguments: {describe_error(error)}"
        except ValueError:  # a callable that does not say what it takes
            return None
        if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
            return f"cannot enter {self.reference}: decorate it with contextlib.asynccontextmanager"
        return None

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Any]:
        """Open the lifespan.

        Raises:
            InvalidConfig: it cannot be imported or entered; the message has its error.
        """
        async with AsyncExitStack() as stack:
            try:
                manager = _manager_of(import_callable(self.reference, self.folder))
                deps = await stack.enter_async_context(manager)
            except Exception as error:
                message = describe_with_place(error)
                raise InvalidConfig(f"cannot enter {self.reference}: {message}", key="lifespan") from error
            yield deps


def check_lifespan(lifespan: object) -> None:
    """Check that a lifespan is callable.

    Raises:
        UnusableOption: it is not.
    """
    if lifespan is not None and not callable(lifespan):
        raise UnusableOption(f"the lifespan must be a callable without arguments, not {kind_of(lifespan)}")


@asynccontextmanager
async def open_deps(agents: Iterable["Agent"], lifespan: Lifespan | None = None) -> AsyncIterator[Mapping[str, Any]]:
    """Open the lifespan of each agent, each lifespan once, and yield what they yielded by the name of the agent.

    Args:
        agents: agents whose own lifespans count where ``lifespan`` is None.
        lifespan: lifespan of all of them.

    Raises:
        UnusableOption: a lifespan returned no async context manager. Other errors are those of the lifespan.
    """
    async with AsyncExitStack() as stack:
        entered: dict[Lifespan, Any] = {}
        deps: dict[str, Any] = {}
        for agent in agents:
            wanted = lifespan or agent.lifespan
            if wanted is None:
                continue
            if wanted not in entered:
                entered[wanted] = await stack.enter_async_context(_manager_of(wanted))
            deps[agent.name] = entered[wanted]
        yield deps


def _manager_of(lifespan: Callable[[], Any]) -> AbstractAsyncContextManager[Any]:
    manager = lifespan()
    if hasattr(manager, "__aenter__") and hasattr(manager, "__aexit__"):
        opened: AbstractAsyncContextManager[Any] = manager
        return opened
    if inspect.iscoroutine(manager):
        manager.close()
    raise UnusableOption(
        f"the lifespan must return an async context manager, not {kind_of(manager)}; "
        "decorate it with contextlib.asynccontextmanager"
    )
