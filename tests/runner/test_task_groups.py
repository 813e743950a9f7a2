"""Tasks that end by one error say it once."""

import anyio
import anyio.lowlevel
import pytest

from loopkit.errors import InvalidDatabase
from loopkit.runner.task_groups import open_tasks


async def fail_after_all_others(message: str) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise InvalidDatabase(message)


async def fail_beside(message: str) -> None:
    async with open_tasks() as tasks:
        tasks.start_soon(fail_after_all_others, message)
        await anyio.lowlevel.checkpoint()
        raise InvalidDatabase("moved")


@pytest.mark.anyio
async def test_an_error_that_several_tasks_met_leaves_as_itself() -> None:
    """Errors that differ leave together."""
    for other, expected in (("moved", InvalidDatabase), ("gone", ExceptionGroup)):
        with pytest.raises(expected):
            await fail_beside(other)
