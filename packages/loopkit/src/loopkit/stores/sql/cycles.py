"""Cycle ids in SQL: the day and the number of a ``YYYY-MM-DD-NNN``, as an index keeps them."""

from typing import Any

from sqlalchemy import BigInteger, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class CycleDay(FunctionElement[str]):
    """The first ten characters of a cycle id: its day, where it is one of a day."""

    type = Text()
    inherit_cache = True
    name = "cycle_day"


class CycleNumber(FunctionElement[int]):
    """The number of a cycle id ``YYYY-MM-DD-NNN``, NULL for every other text; of at most 15 digits, as in the core."""

    type = BigInteger()
    inherit_cache = True
    name = "cycle_number"


@compiles(CycleDay)
def _day(element: CycleDay, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 10)"


@compiles(CycleNumber)
def _number(element: CycleNumber, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    digits = "[0-9]"
    day = f"{digits * 4}-{digits * 2}-{digits * 2}-{digits}*"
    return (
        f"CASE WHEN {text} GLOB '{day}' AND substr({text}, 12) NOT GLOB '*[^0-9]*' AND length({text}) <= 26 "
        f"THEN CAST(substr({text}, 12) AS INTEGER) END"
    )


@compiles(CycleNumber, "postgresql")
def _number_postgresql(element: CycleNumber, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{1,15}$"
    return f"(CASE WHEN {text} ~ '{pattern}' THEN CAST(substr({text}, 12) AS BIGINT) END)"


class Day(FunctionElement[str]):
    """The UTC date of a time, ``YYYY-MM-DD``."""

    type = Text()
    inherit_cache = True
    name = "day"


class CycleId(FunctionElement[str]):
    """The cycle id of a day and a number."""

    type = Text()
    inherit_cache = True
    name = "cycle_id"


@compiles(Day)
def _date(element: Day, compiler: SQLCompiler, **options: Any) -> str:
    return f"strftime('%Y-%m-%d', {compiler.process(element.clauses, **options)})"


@compiles(Day, "postgresql")
def _date_postgresql(element: Day, compiler: SQLCompiler, **options: Any) -> str:
    return f"to_char(({compiler.process(element.clauses, **options)}) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


@compiles(CycleId)
def _cycle(element: CycleId, compiler: SQLCompiler, **options: Any) -> str:
    day, number = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({day} || printf('-%03d', {number}))"


@compiles(CycleId, "postgresql")
def _cycle_postgresql(element: CycleId, compiler: SQLCompiler, **options: Any) -> str:
    day, number = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({day} || '-' || lpad(CAST({number} AS TEXT), greatest(3, length(CAST({number} AS TEXT))), '0'))"
