"""Cycle ids in SQL: the day and the number in ``YYYY-MM-DD-NNN``, in the form that an index holds."""

from typing import Final

from sqlalchemy import BigInteger, Text
from sqlalchemy.sql.functions import FunctionElement

from loopkit.stores.sql.schema.expressions import in_sql

__all__ = ["CycleDay", "CycleId", "CycleNumber", "Day"]

_GLOB: Final = "[0-9]" * 4 + "-" + "[0-9]" * 2 + "-" + "[0-9]" * 2 + "-[0-9]*"


@in_sql(sqlite="substr({0}, 1, 10)", postgresql="substr({0}, 1, 10)")
class CycleDay(FunctionElement[str]):
    """The first ten characters of a text: the day, if the text is a cycle id."""

    type = Text()
    inherit_cache = True
    name = "cycle_day"


@in_sql(
    sqlite=(
        f"CASE WHEN {{0}} GLOB '{_GLOB}' AND substr({{0}}, 12) NOT GLOB '*[^0-9]*' AND length({{0}}) <= 26 "
        "THEN CAST(substr({0}, 12) AS INTEGER) END"
    ),
    postgresql=(
        "(CASE WHEN {0} ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}-[0-9]{{1,15}}$' THEN CAST(substr({0}, 12) AS BIGINT) END)"
    ),
)
class CycleNumber(FunctionElement[int]):
    """The number of a cycle id ``YYYY-MM-DD-NNN``, NULL for every other text; at most 15 digits, as in the core."""

    type = BigInteger()
    inherit_cache = True
    name = "cycle_number"


@in_sql(sqlite="strftime('%Y-%m-%d', {0})", postgresql="to_char(({0}) AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
class Day(FunctionElement[str]):
    """The UTC date of a time, ``YYYY-MM-DD``."""

    type = Text()
    inherit_cache = True
    name = "day"


@in_sql(
    sqlite="({0} || printf('-%03d', {1}))",
    postgresql="({0} || '-' || lpad(CAST({1} AS TEXT), greatest(3, length(CAST({1} AS TEXT))), '0'))",
)
class CycleId(FunctionElement[str]):
    """The cycle id of a day and a number."""

    type = Text()
    inherit_cache = True
    name = "cycle_id"
