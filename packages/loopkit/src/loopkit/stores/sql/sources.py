"""Where the hot statements take their items from, so that each is written once for every database.

A statement is written over an :data:`Items`: an item's values by name. :func:`one` gives the values as parameters, so
the statement does one item each time it is run (SQLite). :func:`many` gives them as columns of one parameter,
a JSON array that the database unfolds, so the statement does a whole batch (PostgreSQL); its text is the same however
many there are.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs
from sqlalchemy import BigInteger, Boolean, Double, FromClause, Integer, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.elements import ColumnElement, literal_column
from sqlalchemy.types import TypeEngine

Shape = Mapping[str, TypeEngine[Any]]
"""The names of an item's values, and their types."""
Items = Mapping[str, ColumnElement[Any]]
"""An item's values as a statement sees them."""

TEXT: Final = Text()
INTEGER: Final = Integer()
BIG: Final = BigInteger()
REAL: Final[TypeEngine[Any]] = Double()
YES_NO: Final = Boolean(create_constraint=False)


def one(shape: Shape) -> Items:
    """Give the values of one item, each as a parameter of its name."""
    return {name: bindparam(name, type_=kind) for name, kind in shape.items()}


def many(shape: Shape, parameter: str) -> FromClause:
    """Give the items of a JSON array, a parameter, as a table."""
    array = cast(bindparam(parameter, type_=TEXT), postgresql.JSON())
    columns = [column(name, kind) for name, kind in shape.items()]
    return func.json_to_recordset(array).table_valued(*columns, name=parameter).render_derived(with_types=True)


def each(shape: Shape, parameter: str) -> FromClause:
    """Give what :func:`many` gives, in SQLite's words."""
    array = func.json_each(bindparam(parameter, type_=TEXT)).table_valued("value")
    found = [
        func.json_extract(array.c.value, constant(f"$.{name}"), type_=kind).label(name) for name, kind in shape.items()
    ]
    return select(*found).subquery(parameter)


def items(table: FromClause) -> Items:
    """Give the columns of a table by name."""
    return dict(table.columns.items())


def constant(value: str | float | None) -> ColumnElement[Any]:
    """Write a value of our own into the statement's text."""
    if value is None:
        return literal_column("NULL")
    if isinstance(value, str):
        assert "%" not in value, "a driver would take it for a parameter"
        return literal_column("'" + value.replace("'", "''") + "'", TEXT)
    return literal_column(repr(value), INTEGER if isinstance(value, int) else REAL)


@attrs.frozen
class Script:
    """A statement's text for one database, and the names of its parameters."""

    text: str
    names: frozenset[str]


def script(statement: ClauseElement, dialect: Dialect) -> Script:
    """Compile a statement whose only parameters are given by name when it is run."""
    compiled = statement.compile(dialect=dialect)
    unnamed = [name for name, value in compiled.params.items() if value is not None]
    assert not unnamed, f"write these as constants: {unnamed} in {compiled}"
    return Script(str(compiled), frozenset(compiled.params))
