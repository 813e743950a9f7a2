"""Error responses as RFC 9457 problems: the one table of codes, statuses and titles.

Endpoints raise loopkit's errors, or :class:`Refused` with a :class:`ProblemCode`; :mod:`loopkit_web.app` turns both
into a :class:`Problem`. A problem never repeats the content of a request body.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import attrs

from loopkit import errors, wire
from loopkit.errors import Fault
from loopkit_web.http.json_schema import may_be_absent

__all__ = [
    "KINDS",
    "Problem",
    "ProblemCode",
    "ProblemDetails",
    "ProblemFault",
    "ProblemKind",
    "Refused",
    "problem",
    "refusal",
]


class ProblemCode(StrEnum):
    """Stable name of a kind of problem: ``code`` of its document and the end of its ``type``."""

    BAD_QUERY = "bad-query"
    BAD_HEADER = "bad-header"
    BAD_BODY = "bad-body"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    LOOPBACK_ONLY = "loopback-only"
    FOREIGN_ORIGIN = "foreign-origin"
    NOT_FOUND = "not-found"
    RUN_NOT_FOUND = "run-not-found"
    UNKNOWN_AGENT = "unknown-agent"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    TOO_SLOW = "too-slow"
    RUN_ENDED = "run-ended"
    RUN_NOT_ENDED = "run-not-ended"
    TOO_LARGE = "too-large"
    WRONG_TYPE = "wrong-type"
    WRONG_HOST = "wrong-host"
    INVALID = "invalid"
    KEY_REUSED = "key-reused"
    INTERNAL = "internal"
    STORE_UNAVAILABLE = "store-unavailable"
    PAGE_UNAVAILABLE = "page-unavailable"
    TOO_MANY_STREAMS = "too-many-streams"


@attrs.frozen
class ProblemKind:
    """Status and title of a problem code."""

    status: int
    title: str


KINDS: Final[Mapping[ProblemCode, ProblemKind]] = {
    ProblemCode.BAD_QUERY: ProblemKind(400, "The query is malformed"),
    ProblemCode.BAD_HEADER: ProblemKind(400, "A header is malformed"),
    ProblemCode.BAD_BODY: ProblemKind(400, "The body is malformed"),
    ProblemCode.UNAUTHENTICATED: ProblemKind(401, "Authentication required"),
    ProblemCode.FORBIDDEN: ProblemKind(403, "Permission denied"),
    ProblemCode.LOOPBACK_ONLY: ProblemKind(403, "Available only on the server's own machine"),
    ProblemCode.FOREIGN_ORIGIN: ProblemKind(403, "The request comes from another origin"),
    ProblemCode.NOT_FOUND: ProblemKind(404, "Not found"),
    ProblemCode.RUN_NOT_FOUND: ProblemKind(404, "No such run"),
    ProblemCode.UNKNOWN_AGENT: ProblemKind(404, "No such agent"),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(405, "Method not allowed"),
    ProblemCode.TOO_SLOW: ProblemKind(408, "The body did not arrive in time"),
    ProblemCode.RUN_ENDED: ProblemKind(409, "The run has ended"),
    ProblemCode.RUN_NOT_ENDED: ProblemKind(409, "The run has not ended"),
    ProblemCode.TOO_LARGE: ProblemKind(413, "The body is too large"),
    ProblemCode.WRONG_TYPE: ProblemKind(415, "The body has an unsupported media type"),
    ProblemCode.WRONG_HOST: ProblemKind(421, "Unknown host name"),
    ProblemCode.INVALID: ProblemKind(422, "The body is invalid"),
    ProblemCode.KEY_REUSED: ProblemKind(422, "The idempotency key belongs to another request"),
    ProblemCode.INTERNAL: ProblemKind(500, "Internal server error"),
    ProblemCode.STORE_UNAVAILABLE: ProblemKind(503, "The database is unavailable"),
    ProblemCode.PAGE_UNAVAILABLE: ProblemKind(503, "The page cannot be shown"),
    ProblemCode.TOO_MANY_STREAMS: ProblemKind(503, "Too many streams are open"),
}
"""Every problem by its code; docs/reference/http.md explains each."""

_DETAILS: Final[Mapping[ProblemCode, str]] = {
    ProblemCode.LOOPBACK_ONLY: "Without a token or an access hook, only direct requests from this machine to a "
    "loopback name are accepted. Start serve with --token, or pass an access hook to create_app.",
    ProblemCode.INTERNAL: "The server's log has the error under this request id.",
    ProblemCode.STORE_UNAVAILABLE: "Nothing was changed. The same request may be sent again.",
}
"""Details of the problems that are raised without one of their own."""

_RETRY_SECONDS: Final = 5
"""Value of Retry-After while the database is unavailable."""


class Refused(Exception):
    """Exception for a request whose response is a problem."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.detail = detail if detail is not None else _DETAILS.get(code)
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        """Additional members of the problem document."""
        super().__init__(code)


@attrs.frozen(kw_only=True)
class Problem:
    """One problem as the client sees it."""

    code: ProblemCode
    status: int
    title: str
    detail: str | None = None
    instance: str
    """Requested path, mount prefix included."""
    request_id: str
    faults: tuple[Fault, ...] = ()
    extra: Mapping[str, Any] = attrs.field(factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the problem as JSON.

        Source: RFC 9457, section 3.1.
        """
        document: dict[str, Any] = {
            "type": f"urn:loopkit:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "instance": self.instance,
            "code": self.code,
            "requestId": self.request_id,
            **self.extra,
        }
        if self.detail is not None:
            document["detail"] = self.detail
        if self.faults:
            document["errors"] = [wire.fault(fault) for fault in self.faults]
        return document


def refusal(error: Exception) -> Refused:
    """Return the refusal that an error means for the client; an unexpected error is ``internal``."""
    match error:
        case Refused():
            return error
        case errors.RunNotFound():
            return Refused(ProblemCode.RUN_NOT_FOUND, str(error))
        case errors.UnknownAgent(name=name):
            return Refused(ProblemCode.UNKNOWN_AGENT, f"There is no agent {name!r}.")
        case errors.InvalidInputs(faults=faults):
            return Refused(
                ProblemCode.INVALID, faults=[Fault(f"/inputs{fault.pointer}", fault.detail) for fault in faults]
            )
        case errors.RunEnded(status=status):
            return Refused(ProblemCode.RUN_ENDED, str(error), extra={"currentStatus": status})
        case errors.RunNotEnded(status=status):
            return Refused(ProblemCode.RUN_NOT_ENDED, str(error), extra={"currentStatus": status})
        case errors.KeyReused():
            return Refused(ProblemCode.KEY_REUSED, "This key was already used with a different request.")
        case errors.UnusableOption():
            return Refused(ProblemCode.BAD_QUERY, str(error))
        case errors.StorageError() | errors.InvalidDatabase():
            return _unavailable(error)
        case _:
            return Refused(ProblemCode.INTERNAL)


def _unavailable(error: Exception) -> Refused:
    """Return the refusal while the database is unavailable; a moved one never takes the request, so it is named."""
    if isinstance(error, errors.DatabaseMoved):
        return Refused(ProblemCode.STORE_UNAVAILABLE, f"Nothing was changed: {error}.")
    return Refused(ProblemCode.STORE_UNAVAILABLE, headers={"Retry-After": str(_RETRY_SECONDS)})


def problem(refused: Refused, *, instance: str, request_id: str) -> Problem:
    """Return the problem that describes a refused request."""
    kind = KINDS[refused.code]
    return Problem(
        code=refused.code,
        status=kind.status,
        title=kind.title,
        detail=refused.detail,
        instance=instance,
        request_id=request_id,
        faults=refused.faults,
        extra=refused.extra,
    )


@attrs.frozen(kw_only=True)
class ProblemFault:
    """One fault: its place as a JSON pointer, and a description."""

    pointer: str
    detail: str


@attrs.frozen(kw_only=True)
class ProblemDetails:
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    instance: str
    request_id: str
    detail: str | None = may_be_absent(None)
    current_status: str | None = may_be_absent(None)
    errors: Sequence[ProblemFault] = may_be_absent(())
