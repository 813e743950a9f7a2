"""Times in SQL: the store's clock, and times that compare as instants on every database.

SQLite and libSQL store times as text, in two formats that do not sort alike; PostgreSQL stores ``timestamptz``. The
clock can be replaced in one place: every statement takes a parameter ``now``, which is NULL outside tests and the
simulation. PostgreSQL's ``now()`` is the start of the transaction and is never used.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from sqlalchemy import TIMESTAMP, Double, Text, bindparam, cast, func
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from loopkit.stores.sql.schema.expressions import AnyColumn, in_sql

__all__ = ["Clock", "ClockParameters", "Instant", "SecondsBetween", "StatementClock", "Time", "present", "stamp"]

ClockParameters: TypeAlias = Mapping[str, object]
"""Parameters of statements that know the time: ``now`` (NULL: the database's clock) and ``stalled_seconds``."""

Time: Final = Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
"""Type of a time column."""

_SQLITE_NOW: Final = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


@in_sql(sqlite=_SQLITE_NOW, postgresql="date_trunc('milliseconds', clock_timestamp())")
class Clock(FunctionElement[str]):
    """The database's current time, cut to milliseconds, in the form of a time column."""

    type = Time
    inherit_cache = True
    name = "clock"


@in_sql(sqlite=_SQLITE_NOW, postgresql="date_trunc('milliseconds', statement_timestamp())")
class StatementClock(FunctionElement[str]):
    """The database's time at the start of the statement: for conditions, so that an index can serve them."""

    type = Time
    inherit_cache = True
    name = "statement_clock"


@in_sql(sqlite="julianday({0})", postgresql="({0})")
class Instant(FunctionElement[object]):
    """A time as a value that sorts by instant: the Julian day number, or on PostgreSQL the time itself. Indexable."""

    type: TypeEngine[object] = Double().with_variant(TIMESTAMP(timezone=True), "postgresql")
    inherit_cache = True
    name = "instant"


@in_sql(
    sqlite="round((julianday({1}) - julianday({0})) * 86400.0, 3)",
    postgresql="extract(epoch FROM ({1}) - ({0}))::double precision",
)
class SecondsBetween(FunctionElement[float]):
    """Seconds from the first time to the second, to the millisecond."""

    type = Double()
    inherit_cache = True
    name = "seconds_between"


def stamp() -> AnyColumn:
    """Return the time to write: the parameter ``now`` if it is set, else the database's current time."""
    return func.coalesce(_now_parameter(), Clock())


def present() -> AnyColumn:
    """Return the time to compare with: the parameter ``now`` if it is set, else the start of the statement."""
    return func.coalesce(_now_parameter(), StatementClock())


def _now_parameter() -> AnyColumn:
    return cast(bindparam("now"), Time)
