"""Watch over one call of a stage, so that a stage that does not stop cannot hold its run for ever.

A timeout and a cancellation only ask a stage to stop. One that is still under way when the grace time after that is
over is left behind: the end of its run is written without it, and whatever it returns later is dropped.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import anyio

from loopkit.agents.stage_call import MAX_DELAY_SECONDS
from loopkit.core import machine
from loopkit.core.journal import Change
from loopkit.core.outcome import Errored
from loopkit.core.run import Run
from loopkit.runner.runner_context import RunnerContext

__all__ = ["LONGEST_DELAY", "StageWatch"]

logger = logging.getLogger("loopkit.runner")

LONGEST_DELAY: Final = timedelta(seconds=MAX_DELAY_SECONDS)
"""Longest pause between two tries of a stage."""


class StageWatch:
    """Watch over one call of a stage.

    Args:
        context: the runner's parts.
        run: the run as it is while the stage is under way.
        timeout: the timeout of each try; None: no try is watched.
        grace: how long a try may take to stop once it was told to, before it is left behind.
        end_run: writes the run's end without the stage.
        part: name of the check or judge that is called; None: the whole stage.
    """

    def __init__(
        self,
        context: RunnerContext,
        run: Run,
        timeout: timedelta | None,
        *,
        grace: timedelta,
        end_run: Callable[[Change], Awaitable[None]],
        part: str | None = None,
    ) -> None:
        self.is_over = False
        """True when the call has returned or its run is finished; what the stage still logs is dropped."""
        self._context = context
        self._run = run
        self._timeout = timeout
        self._grace = grace
        self._end_run = end_run
        self._part = part
        self._try_scope: anyio.CancelScope | None = None

    def begin_try(self, *, delay: timedelta = timedelta(0)) -> None:
        """Watch the next try, which begins at most ``delay`` from now, and no longer the one before."""
        if self._timeout is None:
            return
        self._end_try()
        if not self.is_over:
            self._try_scope = anyio.CancelScope()
            grace_ends_in = delay + self._timeout + self._grace
            self._context.tasks.start_soon(
                self._end_hung_try, self._try_scope, self._timeout, grace_ends_in, name=f"timeout {self._run.id}"
            )

    def end(self) -> None:
        """End the watch: the call has returned, or its run is finished."""
        self.is_over = True
        self._end_try()

    async def leave_behind(self, decide_change: Callable[[], Change], *, at_most: timedelta | None = None) -> None:
        """Wait for the grace time; if the call is still under way then, end the run without it.

        Args:
            decide_change: returns the last change of the run, as of the end of the grace time.
            at_most: longest grace time; None: no limit.
        """
        grace = self._grace if at_most is None else min(self._grace, at_most)
        await anyio.sleep(grace.total_seconds())
        if not self.is_over:
            logger.error("stage %s of run %s does not stop; it is left behind", self._run.current_stage, self._run.id)
            await self._end_run(decide_change())

    def _end_try(self) -> None:
        if self._try_scope is not None:
            self._try_scope.cancel()
            self._try_scope = None

    async def _end_hung_try(self, scope: anyio.CancelScope, timeout: timedelta, grace_ends_in: timedelta) -> None:
        """Wait until the grace time is over; if the try is still under way then, fail the run without it."""
        with scope:
            await anyio.sleep(grace_ends_in.total_seconds())
        if scope.cancel_called or self.is_over:
            return
        message = f"timed out after {timeout.total_seconds():g} s and does not stop; it is left behind"
        logger.error("stage %s of run %s %s", self._run.current_stage, self._run.id, message)
        stage = self._run.current_stage
        assert stage is not None
        await self._end_run(machine.advance(self._run, Errored(message, part=self._part).in_stage(stage)))
