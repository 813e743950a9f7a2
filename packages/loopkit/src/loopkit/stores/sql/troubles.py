"""What a database's error means for the call that met it: the one place that reads drivers' error codes."""

import re
import sqlite3
from enum import Enum
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from loopkit.errors import DatabaseDamaged, InvalidDatabase, LoopkitError, StorageUnavailable
from loopkit.stores.sql import libsql

_SQLITE_BUSY, _SQLITE_LOCKED, _SQLITE_IOERR, _SQLITE_CORRUPT, _SQLITE_FULL, _SQLITE_NOTADB = 5, 6, 10, 11, 13, 26

MOVED_TO: Final = "this database was moved to"
MOVED_STATE: Final = "LKMOV"
"""What PostgreSQL calls the error of a write to a database that was moved."""

_REFUSED: Final = re.compile(rf"{MOVED_TO} .*")


class Trouble(Enum):
    """What to do about an error."""

    PASSING = "passing"
    """Nothing was written; the same call may well succeed soon."""
    UNKNOWN = "unknown"
    """The connection is lost: whether a commit under way happened has to be read back."""
    FULL = "full"
    """Nothing was written, and nothing can be until somebody makes room."""
    DAMAGED = "damaged"
    """The database says that its own content is not usable."""
    MOVED = "moved"
    """Nothing was written and nothing will be: the content is in another database now."""
    OTHER = "other"
    """A refused item, or a fault of loopkit's: trying again changes nothing."""


_PASSING_STATES: Final = frozenset(
    {
        *("40001", "40P01", "55P03", "57014"),  # serialization, deadlock, lock and statement timeout
        *("25P02", "25P03", "25006"),  # in a failed transaction, idle too long in one, on a server that only reads
        *("53000", "53200", "53300", "53400"),  # out of memory, connections, limits
        *("26000", "42P05"),  # a prepared statement that a pooler took away, or gave to another
    }
)
_PASSING_CODES: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "TRANSACTION_TIMEOUT", "TRANSACTION_BUSY"})
_PASSING_TEXTS: Final = ("stream", "timed out", "database is locked", "within a transaction")


def trouble(error: BaseException) -> Trouble:
    """Tell what an error of SQLAlchemy, of a driver or of :mod:`libsql`'s client means."""
    if isinstance(error, PoolTimeout):
        return Trouble.PASSING
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if _refusal(original) is not None:
        return Trouble.MOVED
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if isinstance(original, libsql.ConnectionLost) or isinstance(original.__context__, libsql.ConnectionLost):
        return Trouble.UNKNOWN
    if (code := getattr(original, "sqlite_errorcode", None)) is not None:
        return _sqlite(code & 0xFF)
    if hasattr(original, "sqlstate"):
        return _postgresql(original.sqlstate, _is_operational(original), lost=lost)
    return _libsql(getattr(original, "code", None), str(original)) if _is_libsql(original) else Trouble.OTHER


def explained(error: BaseException) -> LoopkitError:
    """Give the error of loopkit's that a caller gets when trying again has not helped."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = str(original).strip() or type(original).__name__
    match trouble(error):
        case Trouble.MOVED:
            return InvalidDatabase(_refusal(original))
        case Trouble.DAMAGED:
            return DatabaseDamaged(f"the database says that it is damaged: {said}")
        case Trouble.FULL:
            return StorageUnavailable(f"the database has no room left: {said}")
        case _:
            return StorageUnavailable(f"the database gives no answer: {said}")


def _refusal(error: BaseException) -> str | None:
    """Give what the triggers of a moved database say, where the error is theirs."""
    theirs = (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_TRIGGER
        or getattr(error, "sqlstate", None) == MOVED_STATE
        or _is_libsql(error)
    )
    found = _REFUSED.search(str(error)) if theirs else None
    return found and found.group()


def _sqlite(code: int) -> Trouble:
    if code in (_SQLITE_BUSY, _SQLITE_LOCKED):
        return Trouble.PASSING
    if code == _SQLITE_IOERR:
        return Trouble.UNKNOWN
    if code == _SQLITE_FULL:
        return Trouble.FULL
    return Trouble.DAMAGED if code in (_SQLITE_CORRUPT, _SQLITE_NOTADB) else Trouble.OTHER


def _postgresql(state: str | None, operational: bool, *, lost: bool) -> Trouble:
    if state in _PASSING_STATES:
        return Trouble.PASSING
    if state == "53100":
        return Trouble.FULL
    if state is not None and state.startswith("XX00"):
        return Trouble.DAMAGED if state in ("XX001", "XX002") else Trouble.UNKNOWN
    gone = state is not None and state.startswith(("08", "57P"))
    return Trouble.UNKNOWN if gone or lost or (state is None and operational) else Trouble.OTHER


def _is_operational(error: BaseException) -> bool:
    return type(error).__name__ in ("OperationalError", "PipelineAborted", "ConnectionTimeout", "InterfaceError")


def _is_libsql(error: BaseException) -> bool:
    return isinstance(error, libsql.ServerAnswer) or type(error).__module__.startswith("turso_serverless")


def _libsql(code: str | None, message: str) -> Trouble:
    if code is not None and code.startswith("HTTP_5"):
        return Trouble.UNKNOWN
    if code in _PASSING_CODES or any(said in message.lower() for said in _PASSING_TEXTS):
        return Trouble.PASSING
    return Trouble.DAMAGED if code in ("SQLITE_CORRUPT", "SQLITE_NOTADB") else Trouble.OTHER
