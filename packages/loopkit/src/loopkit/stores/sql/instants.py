"""Time in SQL: the store's clock, and moments that compare as moments on every database.

SQLite and libSQL keep times as text, in two formats that do not sort alike; PostgreSQL keeps ``timestamptz``. The
clock can be replaced in one place: every statement takes a parameter ``now``, which is NULL outside tests and
simulation. PostgreSQL's ``now()`` is the transaction's start and is never used.
"""

from typing import Any, Final

from sqlalchemy import Double, Text, bindparam, cast, func
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

Time: Final = Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
"""A time column."""


class Clock(FunctionElement[Any]):
    """The database's clock as it stands now, cut to milliseconds, in the form that a time column takes."""

    type = Time
    inherit_cache = True
    name = "clock"


class StatementClock(FunctionElement[Any]):
    """The database's clock at the statement's start: for predicates, so that an index can serve them."""

    type = Time
    inherit_cache = True
    name = "statement_clock"


class Instant(FunctionElement[Any]):
    """A time as what sorts as a moment: the Julian day number, or on PostgreSQL the time itself. Indexable."""

    type: Any = Double().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
    inherit_cache = True
    name = "instant"


class SecondsBetween(FunctionElement[float]):
    """Seconds from the first time to the second, to the millisecond."""

    type = Double()
    inherit_cache = True
    name = "seconds_between"


@compiles(Clock)
@compiles(StatementClock)
def _clock(element: object, compiler: SQLCompiler, **options: Any) -> str:
    return "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


@compiles(Clock, "postgresql")
def _clock_postgresql(element: object, compiler: SQLCompiler, **options: Any) -> str:
    return "date_trunc('milliseconds', clock_timestamp())"


@compiles(StatementClock, "postgresql")
def _statement_clock_postgresql(element: object, compiler: SQLCompiler, **options: Any) -> str:
    return "date_trunc('milliseconds', statement_timestamp())"


@compiles(Instant)
def _instant(element: Instant, compiler: SQLCompiler, **options: Any) -> str:
    return f"julianday({compiler.process(element.clauses, **options)})"


@compiles(Instant, "postgresql")
def _instant_postgresql(element: Instant, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)})"


@compiles(SecondsBetween)
def _between(element: SecondsBetween, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"round((julianday({end}) - julianday({start})) * 86400.0, 3)"


@compiles(SecondsBetween, "postgresql")
def _between_postgresql(element: SecondsBetween, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"extract(epoch FROM ({end}) - ({start}))::double precision"


def _given() -> ColumnElement[Any]:
    return cast(bindparam("now"), Time)


def stamp() -> ColumnElement[Any]:
    """The time to write: parameter ``now`` where it is given, else the database's clock as it stands."""
    return func.coalesce(_given(), Clock())


def present() -> ColumnElement[Any]:
    """The time to compare with: parameter ``now`` where it is given, else the statement's start."""
    return func.coalesce(_given(), StatementClock())
