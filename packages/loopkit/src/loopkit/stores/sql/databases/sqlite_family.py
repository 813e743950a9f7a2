"""The SQL that SQLite and libSQL share: text for times, triggers for each verb, one writer at a time."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs
from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import sqlite

from loopkit import wire
from loopkit.stores.sql.databases.database import Database, quoted, run_verbatim

__all__ = ["SqliteFamily"]

_VERBS: Final = ("INSERT", "UPDATE", "DELETE")


@attrs.define(eq=False)
class SqliteFamily(Database):
    """A database that speaks SQLite's SQL."""

    def time_parameter(self, moment: datetime) -> str:
        return wire.instant(moment)

    def upsert(self, table: Table, values: Mapping[str, object], *, key: str, update: Mapping[str, object]) -> Insert:
        return sqlite.insert(table).values(values).on_conflict_do_update(index_elements=[table.c[key]], set_=update)

    def notify(self, connection: Connection) -> None:
        """Do nothing: other processes see the commit itself or ask again."""

    def lock_schema(self, connection: Connection) -> None:
        """Do nothing: a transaction that writes is alone from its beginning."""

    def raise_sequences(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Do nothing: SQLite raises its sequences with each id that is inserted explicitly."""

    def prepare_checks(self, connection: Connection) -> None:
        """Do nothing: there is nothing to set."""

    def close_to_writers(self, connection: Connection, tables: Sequence[Table], message: str) -> None:
        for name, verb, table in _triggers(tables):
            run_verbatim(
                connection,
                f"CREATE TRIGGER {name} BEFORE {verb} ON {table.name} FOR EACH ROW "
                f"BEGIN SELECT RAISE(ABORT, {quoted(message)}); END",
            )

    def open_to_writers(self, connection: Connection, tables: Sequence[Table]) -> None:
        for name, *_ in _triggers(tables):
            run_verbatim(connection, f"DROP TRIGGER IF EXISTS {name}")


def _triggers(tables: Sequence[Table]) -> Iterator[tuple[str, str, Table]]:
    """Yield the name of each trigger, the verb that it refuses, and its table."""
    for table in tables:
        for verb in _VERBS:
            yield f"loopkit_moved_{table.name}_{verb.lower()}", verb, table
