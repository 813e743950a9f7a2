"""Export and import of whole runs, to move them to another database with their ids and journals.

An exported run is strict JSON: its row, and its rows in the other tables, every column by name. Times are ISO-8601
text; a JSON column is the text that is stored.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import BindParameter, Connection, Table, Text, bindparam, cast, func, insert, select

from loopkit import wire
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyColumn
from loopkit.stores.sql.schema.tables import Json, artifacts, events, keys, runs, tags, usage, verdicts
from loopkit.stores.sql.schema.timestamps import Time

__all__ = ["MOST_BYTES", "ExportedRun", "as_imported", "export_runs", "import_runs", "is_empty"]

ExportedRun: TypeAlias = dict[str, Any]
"""One run as JSON: ``run`` is its row, and under each name of :data:`_PARTS` there is a list of rows."""

MOST_BYTES: Final = 32 << 20
"""Most bytes of artifacts in one export; the first run is exported whatever its size."""

_PARTS: Final = {
    "events": events,
    "artifacts": artifacts,
    "keys": keys,
    "tags": tags,
    "usage": usage,
    "verdicts": verdicts,
}
"""Tables whose rows belong to a run, by their names in an exported run."""


def _column(column: AnyColumn) -> AnyColumn:
    """Return a column as it is exported: JSON as its text, so that not even its white space changes."""
    return cast(column, Text).label(column.key) if column.type is Json else column


def _columns(table: Table) -> list[AnyColumn]:
    return [_column(column) for column in table.c]


_ids: Final[BindParameter[Sequence[str]]] = bindparam("ids", expanding=True)
_IDS: Final = select(runs.c.id).where(runs.c.id > bindparam("after")).order_by(runs.c.id).limit(bindparam("most"))
_COUNT_KNOWN: Final = select(func.count()).where(runs.c.id.in_(_ids))
_SIZES: Final = (
    select(artifacts.c.run_id, func.sum(func.length(artifacts.c.content)))
    .where(artifacts.c.run_id.in_(_ids))
    .group_by(artifacts.c.run_id)
)
_RUNS: Final = select(*_columns(runs)).where(runs.c.id.in_(_ids)).order_by(runs.c.id)
_OF_RUNS: Final = {
    "events": select(*_columns(events)).where(events.c.run_id.in_(_ids)).order_by(events.c.run_id, events.c.id),
    "artifacts": select(*_columns(artifacts))
    .where(artifacts.c.run_id.in_(_ids))
    .order_by(artifacts.c.run_id, artifacts.c.id),
    "keys": select(*_columns(keys)).where(keys.c.run_id.in_(_ids)).order_by(keys.c.run_id, keys.c.key),
    "usage": select(*_columns(usage)).where(usage.c.run_id.in_(_ids)).order_by(usage.c.run_id, usage.c.id),
    "verdicts": select(*_columns(verdicts)).where(verdicts.c.run_id.in_(_ids)).order_by(*verdicts.primary_key),
    "tags": select(*_columns(tags)).where(tags.c.run_id.in_(_ids)).order_by(tags.c.run_id, tags.c.tag),
}


def export_runs(connection: Connection, after: str, limit: int) -> list[ExportedRun]:
    """Return up to ``limit`` whole runs with id > ``after``, by id; fewer when their artifacts are large."""
    ids = _small_enough(connection, list(connection.execute(_IDS, {"after": after, "most": limit}).scalars()))
    if not ids:
        return []
    exported: dict[str, ExportedRun] = {}
    for row in connection.execute(_RUNS, {"ids": ids}):
        exported[row.id] = {"run": _to_json(runs, row), **{part: [] for part in _PARTS}}
    for part, statement in _OF_RUNS.items():
        for row in connection.execute(statement, {"ids": ids}):
            exported[row.run_id][part].append(_to_json(_PARTS[part], row))
    return list(exported.values())


def import_runs(connection: Connection, database: Database, exported: Sequence[Mapping[str, Any]]) -> None:
    """Write exported runs with their ids into a database that holds none of them; a repeated call changes nothing."""
    ids = [run["run"]["id"] for run in exported]
    if ids and connection.execute(_COUNT_KNOWN, {"ids": ids}).scalar() == len(ids):
        return
    _insert(connection, database, runs, (run["run"] for run in exported))
    for part, table in _PARTS.items():
        _insert(connection, database, table, (row for run in exported for row in run[part]))
    database.raise_sequences(connection, (events, artifacts, usage))


def is_empty(connection: Connection) -> bool:
    """Return True when there is no run, event or artifact."""
    return all(
        connection.execute(select(column).limit(1)).first() is None
        for column in (events.c.run_id, artifacts.c.run_id, runs.c.id)
    )


def _small_enough(connection: Connection, ids: list[str]) -> list[str]:
    """Return the first ids whose artifacts together have at most :data:`MOST_BYTES`, and at least one."""
    if not ids:
        return ids
    sizes = {row[0]: int(row[1] or 0) for row in connection.execute(_SIZES, {"ids": ids})}
    total = 0
    for count, run_id in enumerate(ids):
        total += sizes.get(run_id, 0)
        if count and total > MOST_BYTES:
            return ids[:count]
    return ids


def _to_json(table: Table, row: Iterable[object]) -> dict[str, object]:
    return {column.key: _to_json_value(column, value) for column, value in zip(table.c, row, strict=True)}


def _to_json_value(column: AnyColumn, value: object) -> object:
    if column.type is not Time or value is None:
        return value
    moment = rows.moment(value)
    return None if moment is None else wire.instant(moment)


def _insert(connection: Connection, database: Database, table: Table, exported: Iterable[Mapping[str, object]]) -> None:
    values = [{column.key: _value(database, column, row.get(column.key)) for column in table.c} for row in exported]
    if values:
        connection.execute(insert(table), values)


def _value(database: Database, column: AnyColumn, value: object) -> object:
    if value is None:
        return None
    if column.type is Time:
        return database.time_parameter(wire.parse_instant(str(value)))
    return _json_text(str(value)) if column.type is Json else value


def as_imported(exported: Mapping[str, Any]) -> ExportedRun:
    """Return an exported run as it is exported again after it was imported: text that is no JSON has become JSON."""
    parts = {part: [_as_imported(table, row) for row in exported[part]] for part, table in _PARTS.items()}
    return {**exported, "run": _as_imported(runs, exported["run"]), **parts}


def _as_imported(table: Table, row: Mapping[str, Any]) -> Mapping[str, Any]:
    texts = [column.key for column in table.c if column.type is Json and row[column.key] is not None]
    return {**row, **{key: _json_text(str(row[key])) for key in texts}}


def _json_text(value: str) -> str:
    """Return the text of a JSON column; what another program left there is made a JSON text where it is none."""
    return value if _is_json(value) else json.dumps(value)


def _is_json(value: str) -> bool:
    try:
        json.loads(value, parse_constant=_refuse)  # NaN and Infinity, which Python alone reads
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)
