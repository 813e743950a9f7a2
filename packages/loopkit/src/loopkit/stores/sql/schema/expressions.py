"""Building blocks of SQL expressions: types of columns and rows, and functions with one form per database.

A function of SQL that databases write differently is a class with a template for each::

    @in_sql(sqlite="julianday({0})", postgresql="({0})")
    class Instant(FunctionElement[float]): ...

SQLAlchemy fills in the arguments when it compiles a statement; ``{0}`` is the first one.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Row, Select, String, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["PG_READABLE_JSON", "AnyColumn", "AnyRow", "AnySelect", "in_sql", "literal", "literals"]

AnyColumn: TypeAlias = ColumnElement[Any]
"""Expression of any type. SQLAlchemy's column types are invariant, so ``object`` would accept none."""
AnyRow: TypeAlias = Row[Any]
"""Row as the driver returns it; the database alone knows the types of its columns."""
AnySelect: TypeAlias = Select[Any]
"""Statement that returns such rows."""

PG_READABLE_JSON: Final = (
    r"regexp_replace(CAST({0} AS TEXT), E'\\\\u[dD][89abAB]..\\\\u[dD][c-fC-F]..', '', 'g') "
    r"!~ E'\\\\u(0000|[dD][89a-fA-F])'"
)
"""Condition of PostgreSQL that the fields of the JSON ``{0}`` can be read. Its type ``json`` takes the escape of a NUL
or of a lone surrogate, and refuses every operator on a value that holds one anywhere. In ``E'...'`` a backslash means
the same whatever ``standard_conforming_strings`` is."""

_Function = TypeVar("_Function", bound=type[FunctionElement[Any]])


def in_sql(*, sqlite: str, postgresql: str) -> Callable[[_Function], _Function]:
    """Register the SQL of a function class: ``sqlite`` for SQLite and libSQL, ``postgresql`` for PostgreSQL."""

    def register(function: _Function) -> _Function:
        compiles(function)(_form(sqlite))
        compiles(function, "postgresql")(_form(postgresql))
        return function

    return register


def literal(value: str) -> ColumnElement[str]:
    """Return a word as an SQL literal; it must not contain a quote."""
    return literal_column(f"'{value}'", String())


def literals(values: Iterable[str]) -> list[ColumnElement[str]]:
    """Return words as SQL literals, sorted."""
    return [literal(value) for value in sorted(values)]


def _form(template: str) -> Callable[..., str]:
    def compile_function(element: FunctionElement[Any], compiler: SQLCompiler, **options: object) -> str:
        return template.format(*(compiler.process(argument, **options) for argument in element.clauses))

    return compile_function
