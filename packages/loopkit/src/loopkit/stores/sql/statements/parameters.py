"""Sources of a statement's values, so that each statement is written once for every database.

A statement is written over :data:`Columns`: the values of one write request by name. :func:`as_parameters` passes each
value as a parameter of its own, so the statement writes one request each time it runs (SQLite).
:func:`as_json_records`, :func:`as_json_rows` (PostgreSQL) and :func:`as_json_each` (libSQL) read them as the columns of
one parameter, a JSON array that the database unfolds: one statement writes a whole batch, and its text is the same for
any number of them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    FromClause,
    Integer,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import literal_column
from sqlalchemy.types import TypeEngine

from loopkit.stores.sql.schema.expressions import AnyColumn

__all__ = [
    "BIGINT",
    "BOOLEAN",
    "INTEGER",
    "REAL",
    "TEXT",
    "ColumnTypes",
    "Columns",
    "ReadClock",
    "SqlValue",
    "Statement",
    "Values",
    "as_json_each",
    "as_json_records",
    "as_json_rows",
    "as_parameters",
    "columns_of",
    "compile_positional",
    "compile_statement",
    "constant",
]

ColumnTypes = Mapping[str, TypeEngine[Any]]
"""Names of a request's values, with their SQL types."""
Columns = Mapping[str, AnyColumn]
"""A request's values by name, as a statement refers to them."""
SqlValue = str | float | datetime | None
"""A value in the types that drivers take."""
Values = dict[str, SqlValue]
"""Values of a statement's parameters by name."""
ReadClock = Callable[[], Values]
"""Returns the parameters ``now`` (None: the database's clock) and ``stalled_seconds``."""

TEXT: Final = Text()
INTEGER: Final = Integer()
BIGINT: Final = BigInteger()
REAL: Final[TypeEngine[float]] = Double()
BOOLEAN: Final = Boolean(create_constraint=False)


def as_parameters(types: ColumnTypes) -> Columns:
    """Return the values of one request, each as a parameter of its name."""
    return {name: bindparam(name, type_=kind) for name, kind in types.items()}


def as_json_records(types: ColumnTypes, parameter: str) -> FromClause:
    """Return the requests of a JSON array, which is a parameter, as a table of PostgreSQL."""
    array = cast(bindparam(parameter, type_=TEXT), JSON())
    columns = [column(name, kind) for name, kind in types.items()]
    return func.json_to_recordset(array).table_valued(*columns, name=parameter).render_derived(with_types=True)


def as_json_each(types: ColumnTypes, parameter: str) -> FromClause:
    """Return what :func:`as_json_records` returns, in the functions of SQLite and libSQL; a float may be text."""
    array = func.json_each(bindparam(parameter, type_=TEXT)).table_valued("value")
    values = {name: func.json_extract(array.c.value, constant(f"$.{name}"), type_=types[name]) for name in types}
    columns = [(cast(value, REAL) if types[name] is REAL else value).label(name) for name, value in values.items()]
    return select(*columns).subquery(parameter)


def as_json_rows(types: ColumnTypes, names: Sequence[str], parameter: str) -> FromClause:
    """Return the rows of a JSON array, which is a parameter, as a table of PostgreSQL; each row is an array itself.

    Rows without names are a third of the text of :func:`as_json_records`, and quicker to write and to read. ``names``:
    those of the values of a row, in order; one that has no type is left out.
    """
    from sqlalchemy.dialects import postgresql

    array = func.jsonb_array_elements(cast(bindparam(parameter, type_=TEXT), postgresql.JSONB())).column_valued("value")
    values = [
        cast(array.op("->>")(constant(place)), types[name]).label(name)
        for place, name in enumerate(names)
        if name in types
    ]
    return select(*values).subquery(parameter)


def columns_of(table: FromClause) -> Columns:
    """Return the columns of a table by name."""
    return dict(table.columns.items())


def constant(value: str | float | None) -> AnyColumn:
    """Write a value of our own into the statement's text."""
    if value is None:
        return literal_column("NULL")
    if isinstance(value, str):
        assert "%" not in value, "a driver would read it as the mark of a parameter"
        return literal_column("'" + value.replace("'", "''") + "'", TEXT)
    return literal_column(repr(value), INTEGER if isinstance(value, int) else REAL)


@attrs.frozen
class Statement:
    """A statement's text for one database, and the names of its parameters."""

    text: str
    names: frozenset[str]


def compile_statement(statement: ClauseElement, dialect: Dialect) -> Statement:
    """Compile a statement; each of its parameters is given by name when it runs."""
    compiled = statement.compile(dialect=dialect)
    unnamed = [name for name, value in compiled.params.items() if value is not None]
    assert not unnamed, f"write these as constants: {unnamed} in {compiled}"
    return Statement(str(compiled), frozenset(compiled.params))


def compile_positional(statement: ClauseElement, dialect: Dialect, names: Sequence[str]) -> str:
    """Compile a statement whose parameters are given by position, in the order of ``names``."""
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup == list(names), f"{compiled.positiontup} are the parameters of {compiled}"
    return str(compiled)
