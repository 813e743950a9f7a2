"""Call of a stage: its tries, the timeout of each, and the outcome.

Here, and nowhere else, everything that a user's stage may raise is caught. A result that cannot be used is an error of
the stage, never a score. Only two exceptions pass: the cancellation of the caller, and a KeyboardInterrupt where the
process does not handle SIGINT itself.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.error_place import error_details, log_stage_error, raised_by_stage
from loopkit.agents.error_text import describe_error
from loopkit.agents.evaluators.check_body import CheckBody
from loopkit.agents.results import parse_evaluation, parse_output
from loopkit.agents.usage.evaluation_usage import book_evaluation_usage
from loopkit.core.outcome import Errored, Evaluated, Outcome
from loopkit.core.run import Stage
from loopkit.errors import BadOutput, StageError, StageFailed, StageTimedOut

__all__ = ["backoff_seconds", "call_stage"]

FIRST_DELAY_SECONDS: Final = 0.5
MAX_DELAY_SECONDS: Final = 60.0

Passing = tuple[type[BaseException], ...]


def backoff_seconds(failed: int) -> float:
    """Return the seconds to wait after failed try number ``failed``: they double, less up to a quarter at random."""
    delay = FIRST_DELAY_SECONDS * 2.0 ** min(failed - 1, 60)
    return min(delay, MAX_DELAY_SECONDS) * random.uniform(0.75, 1.0)


async def call_stage(
    spec: StageSpec,
    context: StageContext,
    *,
    passing: Passing = (KeyboardInterrupt,),
    delay: Callable[[int], float] = backoff_seconds,
    pause: Callable[[float], Awaitable[object]] = anyio.sleep,
) -> Outcome:
    """Call a stage until a try succeeds or its retries are used up, and return the outcome.

    Args:
        passing: exceptions that are not the stage's error and pass to the caller. Empty where the process handles
            SIGINT itself: a KeyboardInterrupt can then only come from the stage.
        delay: returns the seconds to wait after the first, second ... failed try.
        pause: waits for that many seconds.
    """
    tries, number = spec.retries + 1, 0
    ends_at = None if context.seconds_left is None else anyio.current_time() + context.seconds_left
    while True:
        number += 1
        try:
            outcome = await _try(spec, context, passing, ends_at)
            if isinstance(outcome, Evaluated):
                book_evaluation_usage(context, outcome.evaluation)
            return outcome
        except StageError as error:
            failure, message, details = error, describe_error(error), _event_details(error, context)
            if number == tries or error.is_final or isinstance(error, BadOutput):
                return Errored(message, details=details)
        seconds = max(delay(number), min(failure.delay_seconds or 0, MAX_DELAY_SECONDS))
        if ends_at is not None and anyio.current_time() + seconds >= ends_at:
            return Errored(f"{message} (the budget's seconds leave no time for another try)", details=details)
        notice = f"Try {number} of {tries} failed and will be made again: {message}"
        if context.retrying is not None:
            context.retrying(notice, details)
        else:
            context.log(notice, **(details or {}))
        await pause(seconds)
        context = attrs.evolve(
            context, failed_try=failure, try_number=number + 1, cancellation=context.cancellation.next_try()
        )


def _event_details(error: StageError, context: StageContext) -> Mapping[str, Any] | None:
    """Return the metadata of the event that reports a failed try, and log the exception that a stage raised."""
    raised = raised_by_stage(error)
    if raised is None:
        return error.metadata or None
    details = error_details(raised)
    log_stage_error(raised, details, context, describe_error(error))
    return {**error.metadata, **details}


async def _try(spec: StageSpec, context: StageContext, passing: Passing, ends_at: float | None) -> Outcome:
    """Make one try within the timeout of the stage, and before the time at which the budget's seconds are used up.

    Raises:
        StageError: the try failed.
    """
    cancellation, seconds, is_last = context.cancellation, None, False
    if spec.timeout is not None or ends_at is not None:
        seconds, is_last = _seconds_of_try(spec.timeout, ends_at)
        cancellation.limit(seconds)
    try:
        if seconds is None:
            outcome = await _try_guarded(spec, context, passing)
        else:
            outcome = await _try_in_time(seconds, spec, context, passing)
    except StageTimedOut as error:
        cancellation.cancel()
        if is_last:
            raise StageTimedOut(error.seconds, is_last=True) from None
        raise
    except StageError:
        cancellation.finish()
        raise
    except BaseException:
        cancellation.cancel()
        raise
    cancellation.finish()
    return outcome


def _seconds_of_try(timeout: timedelta | None, ends_at: float | None) -> tuple[float | None, bool]:
    """Return how long a try may take, and whether it is the last one since the budget's seconds are used up then."""
    seconds = None if timeout is None else timeout.total_seconds()
    if ends_at is None:
        return seconds, False
    seconds_left = max(0.0, ends_at - anyio.current_time())
    return (seconds_left, True) if seconds is None or seconds_left < seconds else (seconds, False)


async def _try_in_time(seconds: float, spec: StageSpec, context: StageContext, passing: Passing) -> Outcome:
    with anyio.move_on_after(seconds) as scope:
        outcome = await _try_guarded(spec, context, passing)
    if scope.cancel_called:
        raise StageTimedOut(seconds)
    return outcome


async def _try_guarded(spec: StageSpec, context: StageContext, passing: Passing) -> Outcome:
    """Make one try. What the stage raises is raised again as StageError, except cancellation and interrupts."""
    try:
        result = await spec.body(context)
        # Parsing a result runs the user's code as well: a mapping may be of the user's own class.
        if isinstance(spec.body, CheckBody):
            return spec.body.parse_result(result)
        return parse_evaluation(result) if context.stage is Stage.EVALUATING else parse_output(result)
    except StageError:
        raise
    except BaseException as error:
        if isinstance(error, passing) or _is_closing(error):
            raise
        if _is_cancelled():
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            await anyio.lowlevel.checkpoint()  # the stage raised something else: the cancellation is raised here
        raise StageFailed(describe_error(error)) from error


def _is_closing(error: BaseException) -> bool:
    """True when the coroutine is closed after the end of its event loop, not when the stage itself raised the error."""
    if not isinstance(error, GeneratorExit):
        return False
    try:
        anyio.get_current_task()
    except RuntimeError:
        return True
    return False


def _is_cancelled() -> bool:
    """True when the caller cancels the task, not when the stage itself raised the exception."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    with suppress(RuntimeError):  # raised on trio
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return False
