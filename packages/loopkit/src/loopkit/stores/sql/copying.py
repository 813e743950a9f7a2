"""Moving everything to another database, ids and journal kept.

An exported run is plain JSON: its row, events, artifacts and idempotency keys, every column by name; times are ISO-8601
text, JSON columns the text that stands there.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    select,
    text,
)

from loopkit import wire
from loopkit.stores.sql import rows
from loopkit.stores.sql.instants import Time
from loopkit.stores.sql.tables import Json, artifacts, events, keys, runs

MOST_BYTES: Final = 32 << 20
"""An export stops before the run whose artifacts bring it above this, unless it is the first."""

_PARTS: Final = {"events": events, "artifacts": artifacts, "keys": keys}


def _column(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """JSON as its text, so that not even a blank in it changes."""
    return cast(column, Text).label(column.key) if column.type is Json else column


def _all(table: Table) -> list[ColumnElement[Any]]:
    return [_column(column) for column in table.c]


_ids: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_IDS: Final = select(runs.c.id).where(runs.c.id > bindparam("after")).order_by(runs.c.id).limit(bindparam("most"))
_KNOWN: Final = select(func.count()).where(runs.c.id.in_(_ids))
_SIZES: Final = (
    select(artifacts.c.run_id, func.sum(func.length(artifacts.c.content)))
    .where(artifacts.c.run_id.in_(_ids))
    .group_by(artifacts.c.run_id)
)
_RUNS: Final = select(*_all(runs)).where(runs.c.id.in_(_ids)).order_by(runs.c.id)
_OF_RUNS: Final = {
    "events": select(*_all(events)).where(events.c.run_id.in_(_ids)).order_by(events.c.run_id, events.c.id),
    "artifacts": select(*_all(artifacts))
    .where(artifacts.c.run_id.in_(_ids))
    .order_by(artifacts.c.run_id, artifacts.c.id),
    "keys": select(*_all(keys)).where(keys.c.run_id.in_(_ids)).order_by(keys.c.run_id, keys.c.key),
}


def export_runs(connection: Connection, after: str, limit: int) -> list[dict[str, Any]]:
    """Give up to ``limit`` whole runs with id > ``after``, by id; fewer where their artifacts are large."""
    ids = _small_enough(connection, list(connection.execute(_IDS, {"after": after, "most": limit}).scalars()))
    if not ids:
        return []
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(_RUNS, {"ids": ids}):
        found[row.id] = {"run": _plain(runs, row), **{part: [] for part in _PARTS}}
    for part, statement in _OF_RUNS.items():
        for row in connection.execute(statement, {"ids": ids}):
            found[row.run_id][part].append(_plain(_PARTS[part], row))
    return list(found.values())


def import_runs(connection: Connection, exported: Sequence[Mapping[str, Any]]) -> None:
    """Write exported runs, with their ids, into a database that holds none of them; once, if the call is made again."""
    ids = [one["run"]["id"] for one in exported]
    if ids and connection.execute(_KNOWN, {"ids": ids}).scalar() == len(ids):
        return
    _insert(connection, runs, (one["run"] for one in exported))
    for part, table in _PARTS.items():
        _insert(connection, table, (row for one in exported for row in one[part]))
    _set_sequences(connection)


def is_empty(connection: Connection) -> bool:
    """True when there is no run, event or artifact."""
    return all(
        connection.execute(select(table.c.run_id).limit(1)).first() is None for table in (events, artifacts)
    ) and (connection.execute(select(runs.c.id).limit(1)).first() is None)


def _small_enough(connection: Connection, ids: list[str]) -> list[str]:
    if not ids:
        return ids
    sizes = {row[0]: int(row[1] or 0) for row in connection.execute(_SIZES, {"ids": ids})}
    total, kept = 0, 0
    for run_id in ids:
        total += sizes.get(run_id, 0)
        if kept and total > MOST_BYTES:
            break
        kept += 1
    return ids[:kept]


def _plain(table: Table, row: Iterable[Any]) -> dict[str, Any]:
    return {column.key: _plain_value(column, value) for column, value in zip(table.c, row, strict=True)}


def _plain_value(column: ColumnElement[Any], value: Any) -> Any:
    if column.type is not Time or value is None:
        return value
    moment = rows.moment(value)
    return None if moment is None else wire.instant(moment)


def _insert(connection: Connection, table: Table, given: Iterable[Mapping[str, Any]]) -> None:
    written = [{column.key: _value(connection, column, row.get(column.key)) for column in table.c} for row in given]
    if written:
        connection.execute(insert(table), written)


def _value(connection: Connection, column: ColumnElement[Any], value: Any) -> Any:
    if value is None:
        return None
    if column.type is Time:
        return rows.time_parameter(connection.dialect, wire.parse_instant(value))
    if column.type is Json and not _is_json(value):
        return json.dumps(value)  # text that another program left where JSON belongs
    return value


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _set_sequences(connection: Connection) -> None:
    """Let PostgreSQL draw ids above those that were brought along; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in (events, artifacts):
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), highest) "
                f"FROM (SELECT max(id) AS highest FROM {table.name}) AS ids WHERE highest IS NOT NULL"
            )
        )
