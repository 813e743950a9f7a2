"""Calling a stage: the timeout of each try, the tries, and what comes of them.

Here, and nowhere else, everything that a user's stage may raise is caught. What is no usable result is an error of
the stage, never a score; only the cancellation of whoever called goes through, and the interrupt of a keyboard where
nobody handles it.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import anyio
import anyio.lowlevel

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.results import evaluated, produced
from loopkit.agents.wording import describe
from loopkit.core.outcome import Errored, Outcome
from loopkit.core.run import Stage
from loopkit.errors import BadOutput, StageError, StageFailed, StageTimedOut

__all__ = ["backoff", "call"]

logger = logging.getLogger("loopkit.agents")

FIRST_DELAY_SECONDS: Final = 0.5
MAX_DELAY_SECONDS: Final = 60.0

Passing = tuple[type[BaseException], ...]


def backoff(failed: int) -> float:
    """Give the seconds to wait after the ``failed``-th failed try: they double, less up to a quarter by chance."""
    delay = FIRST_DELAY_SECONDS * 2.0 ** min(failed - 1, 60)
    return min(delay, MAX_DELAY_SECONDS) * random.uniform(0.75, 1.0)


async def call(
    spec: StageSpec,
    context: StageContext,
    *,
    passing: Passing = (KeyboardInterrupt,),
    delay: Callable[[int], float] = backoff,
    pause: Callable[[float], Awaitable[object]] = anyio.sleep,
) -> Outcome:
    """Call a stage until a try succeeds or its retries are used up, and give what that came to.

    Args:
        passing: exceptions that are nobody's error but go through to the caller. Where loopkit handles SIGINT itself
            nothing needs to: a KeyboardInterrupt can then come from the stage alone.
        delay: gives the seconds to wait after the first, second ... failed try.
        pause: waits that long.
    """
    tries, number = spec.retries + 1, 0
    while True:
        number += 1
        try:
            return await _try(spec, context, passing)
        except StageError as error:
            message = describe(error)
            if number == tries or isinstance(error, BadOutput):
                return Errored(message)
        tell = context.retrying or context.log
        tell(f"Try {number} of {tries} failed and will be made again: {message}")
        await pause(delay(number))


async def _try(spec: StageSpec, context: StageContext, passing: Passing) -> Outcome:
    """Make one try, within the stage's timeout.

    Raises:
        StageError: what went wrong.
    """
    if spec.timeout is None:
        return await _guarded(spec, context, passing)
    seconds = spec.timeout.total_seconds()
    with anyio.move_on_after(seconds) as scope:
        outcome = await _guarded(spec, context, passing)
    if scope.cancel_called:
        raise StageTimedOut(seconds)
    return outcome


async def _guarded(spec: StageSpec, context: StageContext, passing: Passing) -> Outcome:
    """Make one try. Whatever the stage raises leaves as a StageError, unless it is none of the stage's business."""
    try:
        result = await spec.body(context)
        # Reading a result runs the user's code as well: a mapping may be of a class of theirs.
        return evaluated(result) if context.stage is Stage.EVALUATING else produced(result)
    except StageError:
        raise
    except BaseException as error:
        if isinstance(error, passing) or _is_closing(error):
            raise
        if _is_cancelled():
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            await anyio.lowlevel.checkpoint()  # something else came of it: the cancellation goes on from here
        logger.debug("%s of run %s failed", context.stage, context.run_id, exc_info=error)
        raise StageFailed(describe(error)) from error


def _is_closing(error: BaseException) -> bool:
    """True when the coroutine is being closed after its event loop has ended; a stage may raise the same by itself."""
    if not isinstance(error, GeneratorExit):
        return False
    try:
        anyio.get_current_task()
    except RuntimeError:
        return True
    return False


def _is_cancelled() -> bool:
    """True when whoever called us wants the task to stop; a stage may raise the same exception by itself."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    with suppress(RuntimeError):  # raised on trio
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return False
