"""The meaning of a database error for the caller, read from the error codes of drivers."""

import re
import sqlite3
from enum import Enum
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from loopkit.errors import DatabaseDamaged, DatabaseMoved, LoopkitError, StorageError, StorageUnavailable

__all__ = ["MOVED_STATE", "MOVED_TO", "Failure", "classify", "driver_text", "is_missing_right", "to_loopkit_error"]

_SQLITE_BUSY, _SQLITE_LOCKED, _SQLITE_IOERR, _SQLITE_CORRUPT, _SQLITE_FULL, _SQLITE_NOTADB = 5, 6, 10, 11, 13, 26

MOVED_TO: Final = "this database was moved to"
"""Beginning of the message with which a moved database refuses writes."""
MOVED_STATE: Final = "LKMOV"
"""SQLSTATE of that refusal on PostgreSQL."""

_MOVED_MESSAGE: Final = re.compile(rf"{MOVED_TO} .*")


class Failure(Enum):
    """Class of a database error, by what the caller can do."""

    PASSING = "passing"
    """Nothing was written; the same call may well succeed soon."""
    UNKNOWN = "unknown"
    """The connection is lost: whether a commit that was under way happened has to be read back."""
    FULL = "full"
    """Nothing was written, and nothing can be until somebody makes room."""
    DAMAGED = "damaged"
    """The database reports that its own content is unusable."""
    MOVED = "moved"
    """Nothing was written and nothing will be: the content is in another database now."""
    OTHER = "other"
    """A write that the database refuses, or a bug in loopkit: trying again changes nothing."""


_PASSING_STATES: Final = frozenset(
    {
        *("40001", "40P01", "55P03", "57014"),  # serialization, deadlock, lock and statement timeout
        *("25P02", "25P03", "25006"),  # failed transaction, idle in transaction for too long, read-only server
        *("53000", "53200", "53300", "53400"),  # out of memory, of connections, configured limit reached
        *("26000", "42P05"),  # a prepared statement that a pooler dropped, or gave to another session
    }
)
_PASSING_CODES: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "TRANSACTION_TIMEOUT", "TRANSACTION_BUSY"})
_PASSING_TEXTS: Final = ("stream", "timed out", "database is locked", "within a transaction")

_INSUFFICIENT_PRIVILEGE: Final = "42501"
_READ_ONLY_TRANSACTION: Final = "25006"


def classify(error: BaseException) -> Failure:
    """Return the class of an error of SQLAlchemy, of a driver or of our client of libSQL."""
    if isinstance(error, PoolTimeout):
        return Failure.PASSING
    original = _original(error)
    if _moved_message(original) is not None:
        return Failure.MOVED
    from loopkit.stores.sql.databases import libsql_client  # its driver is slow to load, and errors are rare

    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if isinstance(original, libsql_client.ConnectionLost) or isinstance(
        original.__context__, libsql_client.ConnectionLost
    ):
        return Failure.UNKNOWN
    if (code := getattr(original, "sqlite_errorcode", None)) is not None:
        return _sqlite(code & 0xFF)
    if hasattr(original, "sqlstate"):
        return _postgresql(original.sqlstate, _is_operational(original), lost=lost)
    return _libsql(getattr(original, "code", None), str(original)) if _is_libsql(original) else Failure.OTHER


def to_loopkit_error(error: BaseException) -> LoopkitError:
    """Return the error to raise when trying again has not helped."""
    original, text = _original(error), driver_text(error)
    match classify(error):
        case Failure.MOVED:
            return DatabaseMoved(_moved_message(original))
        case Failure.DAMAGED:
            return DatabaseDamaged(f"the database reports that it is damaged: {text}")
        case Failure.FULL:
            return StorageUnavailable(f"the database has no room left: {text}")
        case _ if is_missing_right(error):
            return StorageError(f"the database refused a statement: {text}")
        case _ if _is_read_only(original):
            return StorageUnavailable(f"the database can only be read, and loopkit has to write to it: {text}")
        case _:
            return StorageUnavailable(f"the database does not respond: {text}")


def driver_text(error: BaseException) -> str:
    """Return what the driver says of an error: no statement, no parameters and no address of SQLAlchemy's pages."""
    original = _original(error)
    return str(original).strip() or type(original).__name__


def _is_read_only(error: BaseException) -> bool:
    """Return True for a file or a mount without write permission, and for a standby server."""
    is_sqlite = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
    return is_sqlite or getattr(error, "sqlstate", None) == _READ_ONLY_TRANSACTION


def is_missing_right(error: BaseException) -> bool:
    """Return True when the user lacks a right that the statement needs (PostgreSQL)."""
    return getattr(_original(error), "sqlstate", None) == _INSUFFICIENT_PRIVILEGE


def _original(error: BaseException) -> BaseException:
    """Return the driver's error that SQLAlchemy has wrapped, or the error itself."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _moved_message(error: BaseException) -> str | None:
    """Return the message of a moved database's triggers; None when the error is not theirs."""
    may_be_theirs = (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_TRIGGER
        or getattr(error, "sqlstate", None) == MOVED_STATE
        or _is_libsql(error)
    )
    match = _MOVED_MESSAGE.search(str(error)) if may_be_theirs else None
    return match and match.group()


def _sqlite(code: int) -> Failure:
    if code in (_SQLITE_BUSY, _SQLITE_LOCKED):
        return Failure.PASSING
    if code == _SQLITE_IOERR:
        return Failure.UNKNOWN
    if code == _SQLITE_FULL:
        return Failure.FULL
    return Failure.DAMAGED if code in (_SQLITE_CORRUPT, _SQLITE_NOTADB) else Failure.OTHER


def _postgresql(state: str | None, operational: bool, *, lost: bool) -> Failure:
    if state in _PASSING_STATES:
        return Failure.PASSING
    if state == "53100":
        return Failure.FULL
    if state is not None and state.startswith("XX00"):
        return Failure.DAMAGED if state in ("XX001", "XX002") else Failure.UNKNOWN
    gone = state is not None and state.startswith(("08", "57P"))
    return Failure.UNKNOWN if gone or lost or (state is None and operational) else Failure.OTHER


def _is_operational(error: BaseException) -> bool:
    return type(error).__name__ in ("OperationalError", "PipelineAborted", "ConnectionTimeout", "InterfaceError")


def _is_libsql(error: BaseException) -> bool:
    from loopkit.stores.sql.databases import libsql_client

    return isinstance(error, libsql_client.ErrorResponse) or type(error).__module__.startswith("turso_serverless")


def _libsql(code: str | None, message: str) -> Failure:
    if code is not None and code.startswith("HTTP_5"):
        return Failure.UNKNOWN
    if code in _PASSING_CODES or any(text in message.lower() for text in _PASSING_TEXTS):
        return Failure.PASSING
    return Failure.DAMAGED if code in ("SQLITE_CORRUPT", "SQLITE_NOTADB") else Failure.OTHER
