"""Task groups that raise a single error as itself, so that callers can catch what the documentation promises."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

__all__ = ["open_tasks"]


@asynccontextmanager
async def open_tasks() -> AsyncIterator[TaskGroup]:
    """Open a task group; if one error ended it, in however many tasks, raise that error without a group around it."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(set(map(repr, error.exceptions))) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__
