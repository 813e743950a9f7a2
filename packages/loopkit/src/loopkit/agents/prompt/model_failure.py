"""Failures of requests to a model, as errors of the stage: what happened, and whether another request can help.

Another request is made after a connection that failed, after a status of 408, 409, 429 or 500 and more, and after a
response that cannot be read. A spent quota is a 429 that no waiting mends.
"""

import math
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from loopkit.agents.error_text import describe_error
from loopkit.core.ledger.calls import CallState
from loopkit.errors import StageFailed

__all__ = ["ModelFailed", "ModelRefused", "failure_of", "retry_after_seconds"]

_PASSING_STATUSES: Final = frozenset({408, 409, 429})
_SPENT_QUOTA: Final = "insufficient_quota"
_NOT_SENT: Final = frozenset(
    {*("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "InvalidURL", "LocalProtocolError")}
    | {"UserError", "TypeError", "AttributeError", "UnicodeEncodeError"}
)
"""Exceptions that are raised before a request is sent."""
_NO_CONNECTION: Final = frozenset({"ConnectError", "ConnectTimeout", "UnsupportedProtocol", "InvalidURL"})
"""Exceptions of HTTP clients that reach no server."""
_UNREADABLE: Final = frozenset({"UnexpectedModelBehavior", "ValidationError", "JSONDecodeError"})
"""Exceptions about a response that came and cannot be read; what it cost is not known."""
_LASTING: Final = ("UserError", "TypeError", "AttributeError", "UnicodeEncodeError")
"""Exceptions about the request itself, which would be raised again."""


class ModelFailed(StageFailed):
    """A request to a model gave no answer that can be read."""

    state: CallState = CallState.UNANSWERED
    """Outcome of the request, as the ledger has it: whether it can have cost something."""


class ModelRefused(ModelFailed):
    """The server of a model answered with an HTTP status of 400 or more."""

    state = CallState.FAILED

    def __init__(self, message: str, *, status: int, is_final: bool, delay_seconds: float | None = None) -> None:
        self.status = status
        super().__init__(message, is_final=is_final, delay_seconds=delay_seconds)


def failure_of(error: Exception, server: str) -> ModelFailed:
    """Return the error of the stage for what a request to a server raised."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:
        spent = _SPENT_QUOTA in _codes(error)
        is_passing = (status in _PASSING_STATUSES or status >= 500) and not spent
        delay = retry_after_seconds(getattr(error, "headers", None)) if is_passing else None
        message = f"the model did not answer: status {status}: {_server_message(error)}"
        return ModelRefused(message, status=status, is_final=not is_passing, delay_seconds=delay)
    if isinstance(error, LookupError):  # the library reads the first of the choices without looking whether it is there
        failure = ModelFailed("the model did not answer: the response holds no choices")
    elif (reason := _connection_fault(error)) is not None:
        failure = ModelFailed(f"the model did not answer: cannot connect to {server}: {reason}")
    else:
        is_final = type(error).__name__ in _LASTING
        failure = ModelFailed(f"the model did not answer: {describe_error(error)}", is_final=is_final)
    failure.state = _state_of(error)
    return failure


def _state_of(error: Exception) -> CallState:
    """Return what is known of a request that raised: it was not sent, it was answered by something, or neither."""
    for cause in _causes(error):
        if type(cause).__name__ in _NOT_SENT or getattr(cause, "phase", None) in ("pool", "connect"):
            return CallState.FAILED
        if isinstance(cause, LookupError) or type(cause).__name__ in _UNREADABLE:
            return CallState.ANSWERED
    return CallState.UNANSWERED


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _connection_fault(error: BaseException) -> str | None:
    """Return why no connection was made, in the words of the operating system; None: there was one."""
    names, phases = set[str](), set[object]()
    for cause in _causes(error):
        names.add(type(cause).__name__)
        phases.add(getattr(cause, "phase", None))
    if not names & _NO_CONNECTION and "connect" not in phases:
        return None
    while (inner := error.__cause__ or error.__context__) is not None:  # anyio sums up its attempts in a context
        error = inner.exceptions[0] if isinstance(inner, BaseExceptionGroup) else inner
        if isinstance(error, socket.gaierror) and error.strerror:
            return error.strerror
        if isinstance(error, ConnectionError) and error.errno:
            return os.strerror(error.errno)
    return describe_error(error)


def retry_after_seconds(headers: Mapping[str, str] | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None where there is none that can be read.

    Source: RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    text = next((value for name, value in (headers or {}).items() if name.lower() == "retry-after"), "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        seconds = (at - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _codes(error: Exception) -> set[object]:
    body = _error_body(error)
    named = (getattr(error, "provider_error_code", None), getattr(error, "provider_error_type", None))
    return {*named, *(code for code in (body.get("code"), body.get("type")) if isinstance(code, str))}


def _server_message(error: Exception) -> str:
    """Return the server's own words, or all that the library says of its response."""
    message = _error_body(error).get("message")
    return message if isinstance(message, str) and message else describe_error(error)


def _error_body(error: Exception) -> Mapping[str, Any]:
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, Mapping) else None
    found = inner if isinstance(inner, Mapping) else body
    return found if isinstance(found, Mapping) else {}
