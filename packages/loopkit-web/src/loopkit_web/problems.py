"""Everything that can go wrong for a client: its status and its words, as RFC 9457 problems. Nowhere else.

Endpoints raise loopkit's errors, or :class:`Refused` with a code of :data:`KINDS`; the dispatcher turns both into a
:class:`Problem`. A problem never repeats what the client sent in its body.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from loopkit import errors, wire
from loopkit.errors import Fault

__all__ = ["KINDS", "Kind", "Problem", "Refused", "problem", "refusal"]


@attrs.frozen
class Kind:
    """One sort of problem: the same code always has this status and title."""

    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = {
    "bad-query": Kind(400, "The query is malformed"),
    "bad-header": Kind(400, "A header is malformed"),
    "bad-body": Kind(400, "The body is malformed"),
    "unauthenticated": Kind(401, "Say who you are"),
    "forbidden": Kind(403, "Not allowed"),
    "loopback-only": Kind(403, "Open only on the machine itself"),
    "foreign-origin": Kind(403, "The request comes from another origin"),
    "not-found": Kind(404, "There is nothing here"),
    "run-not-found": Kind(404, "No such run"),
    "unknown-agent": Kind(404, "No such agent"),
    "method-not-allowed": Kind(405, "Not a method of this address"),
    "too-slow": Kind(408, "The body took too long"),
    "run-ended": Kind(409, "The run has ended"),
    "run-not-ended": Kind(409, "The run has not ended"),
    "too-large": Kind(413, "The body is too large"),
    "wrong-type": Kind(415, "The body has another type"),
    "wrong-host": Kind(421, "Not a name of this server"),
    "invalid": Kind(422, "The body has faults"),
    "key-reused": Kind(422, "The idempotency key was used before"),
    "internal": Kind(500, "Something is wrong here"),
    "store-unavailable": Kind(503, "The database does not answer"),
    "too-many-streams": Kind(503, "Too many streams are open"),
}
"""Every problem by its code. A page of the reference documentation explains each."""

_WORDS: Final[Mapping[str, str]] = {
    "loopback-only": "Without an access hook only this machine itself may ask, under a loopback name and not through "
    "a proxy. Serve with a token, or give create_app an access hook.",
    "internal": "The fault is in the server's log under this request id.",
    "store-unavailable": "Nothing was changed. The same request may be made again.",
}

_RETRY_SECONDS: Final = 5


class Refused(Exception):
    """A request that is answered with a problem."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.detail = detail if detail is not None else _WORDS.get(code)
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        """Further members of the problem."""
        super().__init__(code)


@attrs.frozen(kw_only=True)
class Problem:
    """One problem as a client sees it."""

    code: str
    status: int
    title: str
    detail: str | None = None
    instance: str
    """The path that was asked for, mount prefix included."""
    request_id: str
    faults: tuple[Fault, ...] = ()
    extra: Mapping[str, Any] = attrs.field(factory=dict)

    def document(self) -> dict[str, Any]:
        """Give the problem as JSON (RFC 9457, section 3.1)."""
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
    """Give the refusal that an error means for the client; what nobody foresaw is ``internal``."""
    match error:
        case Refused():
            return error
        case errors.RunNotFound():
            return Refused("run-not-found", str(error))
        case errors.UnknownAgent(name=name):
            return Refused("unknown-agent", f"there is no agent {name!r}")
        case errors.InvalidInputs(faults=faults):
            return Refused("invalid", faults=[Fault(f"/inputs{fault.pointer}", fault.detail) for fault in faults])
        case errors.RunEnded(status=status):
            return Refused("run-ended", str(error), extra={"currentStatus": status})
        case errors.RunNotEnded(status=status):
            return Refused("run-not-ended", str(error), extra={"currentStatus": status})
        case errors.KeyReused():
            return Refused("key-reused", "The same key came before with another request.")
        case errors.UnusableOption():
            return Refused("bad-query", str(error))
        case errors.StorageError() | errors.InvalidDatabase():
            return Refused("store-unavailable", headers={"Retry-After": str(_RETRY_SECONDS)})
        case _:
            return Refused("internal")


def problem(refused: Refused, *, instance: str, request_id: str) -> Problem:
    """Give the problem that answers a refused request."""
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
