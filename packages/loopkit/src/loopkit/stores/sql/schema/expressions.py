"""Building blocks of SQL expressions: types of columns and rows, and functions with one form per database.

A function of SQL that databases write differently is a class with a template for each::

    @in_sql(sqlite="julianday({0})", postgresql="({0})")
    class Instant(FunctionElement[float]): ...

SQLAlchemy fills in the arguments when it compiles a statement; ``{0}`` is the first one.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["AnyColumn", "AnyRow", "AnySelect", "in_sql"]

AnyColumn: TypeAlias = ColumnElement[Any]
"""Expression of any type. SQLAlchemy's column types are invariant, so ``object`` would accept none."""
AnyRow: TypeAlias = Row[Any]
"""Row as the driver returns it; the database alone knows the types of its columns."""
AnySelect: TypeAlias = Select[Any]
"""Statement that returns such rows."""

_Function = TypeVar("_Function", bound=type[FunctionElement[Any]])


def in_sql(*, sqlite: str, postgresql: str) -> Callable[[_Function], _Function]:
    """Register the SQL of a function class: ``sqlite`` for SQLite and libSQL, ``postgresql`` for PostgreSQL."""

    def register(function: _Function) -> _Function:
        compiles(function)(_form(sqlite))
        compiles(function, "postgresql")(_form(postgresql))
        return function

    return register


def _form(template: str) -> Callable[..., str]:
    def compile_function(element: FunctionElement[Any], compiler: SQLCompiler, **options: object) -> str:
        return template.format(*(compiler.process(argument, **options) for argument in element.clauses))

    return compile_function
