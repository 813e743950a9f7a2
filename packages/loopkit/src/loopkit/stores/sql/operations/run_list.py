"""The list of runs as one statement that reads only what it shows, however many runs the database holds.

The statement has two parts. The first collects candidates: for each requested status (and agent) the next few ids from
an index in the order of the list, a few pages in all. The second reads the rows of the candidates, filters, sorts and
cuts them. A sort by score or duration covers the newest 1,000 matches; a text that is the prefix of more than 1,000 run
ids or cycle ids finds the highest 1,000 of them. Of a list that is filtered by a tag or a reason which few runs have,
these runs are the candidates; see :mod:`loopkit.stores.sql.operations.label_filters`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import attrs
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Double,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    union,
)
from sqlalchemy.sql.selectable import Subquery

from loopkit.core.run import ENDED, Run, RunStatus
from loopkit.storage import Order, RunQuery
from loopkit.stores import cursors, text_cuts
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations.label_filters import (
    LAST_CHARACTER,
    Found,
    LabelFilters,
    find_labels,
    label_filters,
)
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyColumn, AnySelect, literal
from loopkit.stores.sql.schema.tables import listed_status, runs, tags
from loopkit.stores.sql.schema.timestamps import ClockParameters, Instant, SecondsBetween, Time

__all__ = ["agent_names", "list_runs"]

_MOST_AGENTS: Final = 20
"""Most agents that a search prefix may match."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MOMENT: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST_MOMENT: Final = datetime(9999, 1, 1, tzinfo=UTC)
_EPOCH_AS_JULIAN_DAY: Final = 2440587.5

_created: Final = Instant(runs.c.created_at)
_completed: Final = Instant(runs.c.completed_at)
_duration: Final = SecondsBetween(runs.c.started_at, runs.c.completed_at)
_KEYS: Final[Mapping[Order, AnyColumn]] = {
    Order.CREATED: _created,
    Order.CREATED_ASC: _created,
    Order.COMPLETED: _completed,
    Order.SCORE: runs.c.final_score,
    Order.DURATION: _duration,
}
_BY_TIME: Final = frozenset({Order.CREATED, Order.CREATED_ASC, Order.COMPLETED})
"""Orders that an index serves and whose cursors hold a time."""


@attrs.frozen
class _Shape:
    """The properties of a query that the text of its statement depends on; all others are parameters."""

    order: Order
    statuses: tuple[RunStatus, ...]
    agents: int | None
    """Number of agents with a branch of their own; None: one branch for the runs of all agents."""
    text: bool
    only_agent: bool
    """True when an agent is given and the candidates are not only its runs."""
    stalled: bool
    within: bool
    """True when bounds of the creation time are given."""
    from_cursor: bool
    cut: bool
    """True when only the beginnings of texts are read."""
    labels: LabelFilters
    has_found_runs: bool
    """True when the search for the text has found runs by their titles."""
    has_found_tags: bool


def list_runs(
    connection: Connection, database: Database, query: RunQuery, clock: ClockParameters
) -> tuple[list[Run], str | None]:
    """Return the runs of a page, and the cursor of the next page or None.

    Raises:
        UnusableOption: the cursor is invalid or belongs to another order.
    """
    names = _names(connection, query)
    labels, label_values = label_filters(connection, query)
    found = find_labels(connection, query.text) if query.text else Found()
    shape = _Shape(
        order=query.order,
        statuses=_statuses(query),
        agents=None if names is None else len(names),
        text=bool(query.text),
        only_agent=bool(query.agent and (query.text or labels.first)),
        stalled=query.stalled,
        within=query.created_since is not None or query.created_before is not None,
        from_cursor=query.cursor is not None,
        cut=query.max_chars is not None,
        labels=labels,
        has_found_runs=bool(found.run_ids),
        has_found_tags=bool(found.tags),
    )
    if not shape.statuses or (names == [] and not query.text):
        return [], None
    limit = cursors.clamp_runs(query.limit)
    values = {**_values(database, query, names or [], limit), **label_values}
    values |= {"found_ids": list(found.run_ids), "found_tags": list(found.tags)}
    page = connection.execute(_statement(shape), {**values, **clock}).all()
    cursor = None
    if len(page) > limit:
        last = page[limit - 1]
        cursor = cursors.make_cursor(query.order, _cursor_key(last[-1], query.order), last[0])
    return [rows.listed_run(row, query.max_chars) for row in page[:limit]], cursor


def _statuses(query: RunQuery) -> tuple[RunStatus, ...]:
    wanted = query.statuses or frozenset(RunStatus)
    if query.order is Order.COMPLETED:
        wanted &= ENDED
    if query.stalled:
        wanted &= {RunStatus.RUNNING}
    if query.reason is not None:
        wanted &= {query.reason.status}
    return tuple(sorted(wanted))


def _names(connection: Connection, query: RunQuery) -> list[str] | None:
    """Return the agents that get a branch of their own; None for one branch over all agents."""
    if not query.text:
        return [query.agent] if query.agent else None
    if query.agent:
        return [query.agent] if query.agent.startswith(query.text) else []
    bounds = {"low": query.text, "high": query.text + LAST_CHARACTER}
    return list(connection.execute(_NAMES, bounds).scalars())


def agent_names(*, low: AnyColumn, high: AnyColumn, limit: int) -> Select[str]:
    """Select the names >= ``low`` and < ``high`` of agents that have runs; each costs one step in an index.

    Names that are too long are left out; those that begin alike cost one step together.
    """
    name = runs.c.agent_name
    lowest = case(
        (func.length(func.min(name)) <= text_cuts.MAX_NAME_CHARS, func.min(name)),
        else_=func.substr(func.min(name), 1, text_cuts.MAX_NAME_CHARS) + LAST_CHARACTER,
    )
    names = select(lowest.label("name")).where(name >= low, name < high).cte("names", recursive=True)
    following = select(lowest).where(name > names.c.name, name < high).scalar_subquery()
    names = names.union_all(select(following).where(names.c.name.isnot(None)))
    return select(names.c.name).where(func.length(names.c.name) <= text_cuts.MAX_NAME_CHARS).limit(limit)


_found_ids: Final[BindParameter[Sequence[str]]] = bindparam("found_ids", expanding=True)
_found_tags: Final[BindParameter[Sequence[str]]] = bindparam("found_tags", expanding=True)
_NAMES: Final = agent_names(low=bindparam("low"), high=bindparam("high"), limit=_MOST_AGENTS)


@lru_cache(maxsize=512)
def _statement(shape: _Shape) -> AnySelect:
    key = _KEYS[shape.order]
    candidates = _candidates(shape)
    if shape.order not in _BY_TIME:
        newest = _matches(candidates, shape, runs.c.id).order_by(_created.desc(), runs.c.id.desc())
        candidates = newest.limit(bindparam("newest")).subquery("newest_matches")
    columns = (*rows.listed_columns(cut=shape.cut), key.label("key"))
    statement = _matches(candidates, shape, *columns).where(key.isnot(None))
    if shape.from_cursor:
        statement = statement.where(_beyond_cursor(shape.order))
    return _sorted(statement, shape.order).limit(bindparam("page"))


def _matches(candidates: Subquery, shape: _Shape, *columns: AnyColumn) -> AnySelect:
    """Select the candidates' rows that pass every filter.

    The filters hide their columns, so that the database looks rows up by candidate and not by an index on the filter.
    """
    statement = select(*columns).select_from(candidates.join(runs, runs.c.id == candidates.c.id))
    statement = statement.where(_hidden(runs.c.status).in_([literal(status) for status in shape.statuses]))
    if shape.within:
        statement = statement.where(*_created_within(_hidden(_created)))
    if shape.only_agent:
        statement = statement.where(_hidden(runs.c.agent_name) == bindparam("agent"))
    statement = statement.where(*shape.labels.conditions())
    if shape.text and shape.labels.first is not None:
        statement = statement.where(_has_text(shape))
    return statement.where(rows.is_stalled()) if shape.stalled else statement


def _has_text(shape: _Shape) -> ColumnElement[bool]:
    """Build the condition for candidates that no branch of the text has found."""
    conditions = [_has_prefix(column) for column in (runs.c.id, runs.c.cycle_id, runs.c.agent_name)]
    if shape.has_found_runs:
        conditions.append(runs.c.id.in_(_found_ids))
    if shape.has_found_tags:
        of_run = select(tags.c.run_id).where(tags.c.run_id == runs.c.id, tags.c.tag.in_(_found_tags))
        conditions.append(of_run.correlate(runs).exists())
    return or_(*conditions)


def _candidates(shape: _Shape) -> Subquery:
    if shape.labels.first is not None:
        return shape.labels.candidates().subquery("candidates")
    branches = [_branch(shape, status, agent) for agent in _agents(shape) for status in shape.statuses]
    if shape.text:
        branches += [_with_prefix(runs.c.id), _with_prefix(runs.c.cycle_id), *_found(shape)]
    return union(*(select(branch.subquery().c.id) for branch in branches)).subquery("candidates")


def _agents(shape: _Shape) -> list[ColumnElement[bool] | None]:
    if shape.agents is None:
        return [None]
    return [runs.c.agent_name == bindparam(f"agent_{number}") for number in range(shape.agents)]


def _branch(shape: _Shape, status: RunStatus, agent: ColumnElement[bool] | None) -> AnySelect:
    """Select the next ids of one status (and agent) from the index in the order of the list."""
    statement = select(runs.c.id).where(listed_status == literal(status))
    if agent is not None:
        statement = statement.where(agent)
    if shape.order is Order.COMPLETED:
        statement = statement.where(runs.c.completed_at.isnot(None))
    if shape.within and shape.order is Order.COMPLETED:
        # A run ends after its creation, so the first condition always holds; it bounds the part of the index to read.
        statement = statement.where(_completed >= _bound("since"), *_created_within(_hidden(_created)))
    elif shape.within:
        statement = statement.where(*_created_within(_created))
    if shape.stalled:
        statement = statement.where(rows.is_stalled())
    statement = statement.where(*shape.labels.conditions())
    if shape.from_cursor and shape.order in _BY_TIME:
        statement = statement.where(_beyond_cursor(shape.order))
    return _sorted(statement, shape.order if shape.order in _BY_TIME else Order.CREATED).limit(bindparam("branch"))


def _with_prefix(column: ColumnElement[str]) -> AnySelect:
    return select(runs.c.id).where(_has_prefix(column)).order_by(column.desc()).limit(bindparam("newest"))


def _has_prefix(column: ColumnElement[str]) -> ColumnElement[bool]:
    return and_(column >= bindparam("low"), column < bindparam("high"))


def _found(shape: _Shape) -> list[AnySelect]:
    """Select the ids of runs with a title or a tag that the search has found."""
    branches: list[AnySelect] = []
    if shape.has_found_runs:
        branches.append(select(runs.c.id).where(runs.c.id.in_(_found_ids)))
    if shape.has_found_tags:
        tagged = select(tags.c.run_id.label("id")).where(tags.c.tag.in_(_found_tags))
        branches.append(tagged.order_by(tags.c.run_id.desc()).limit(bindparam("newest")))
    return branches


def _beyond_cursor(order: Order) -> ColumnElement[bool]:
    """Build the condition for runs after the cursor.

    It bounds the key alone as well, since SQLite does not use a row-value comparison as an index bound. The id of the
    cursor may be cut: then the run's own id is above it.
    """
    key = _KEYS[order]
    cursor = _bound("cursor") if order in _BY_TIME else bindparam("cursor", type_=Double())
    last = bindparam("cursor_id", type_=runs.c.id.type)
    if order is Order.CREATED_ASC:
        is_another = rows.id_beginning(text_cuts.MAX_ID_CHARS) != last
        return and_(key >= cursor, or_(key > cursor, and_(runs.c.id > last, is_another)))
    return and_(key <= cursor, or_(key < cursor, runs.c.id < last))


def _sorted(statement: AnySelect, order: Order) -> AnySelect:
    key = _KEYS[order]
    if order is Order.CREATED_ASC:
        return statement.order_by(key, runs.c.id)
    return statement.order_by(key.desc(), runs.c.id.desc())


def _bound(name: str) -> Instant:
    return Instant(bindparam(name, type_=Time))


def _created_within(created: AnyColumn) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return created >= _bound("since"), created < _bound("before")


def _hidden(column: AnyColumn) -> AnyColumn:
    """Return the same value in a form that no index serves."""
    return func.coalesce(column, column)


def _values(database: Database, query: RunQuery, names: list[str], limit: int) -> dict[str, object]:
    by_time = query.order in _BY_TIME
    values: dict[str, object] = {
        "since": database.time_parameter(query.created_since or _FIRST_MOMENT),
        "before": database.time_parameter(query.created_before or _LAST_MOMENT),
        "page": limit + 1,
        "newest": cursors.NEWEST,
        "branch": limit + 1 if by_time else cursors.NEWEST,
    }
    if query.max_chars is not None:
        values |= rows.cut_parameters(query.max_chars)
    if query.text:
        values |= {"low": query.text, "high": query.text + LAST_CHARACTER}
    if query.agent:
        values["agent"] = query.agent
    if query.cursor is not None:
        key, values["cursor_id"] = cursors.read_cursor(query.cursor, query.order)
        values["cursor"] = database.time_parameter(_moment(key)) if by_time else key
    return values | {f"agent_{number}": name for number, name in enumerate(names)}


def _cursor_key(value: datetime | float, order: Order) -> float:
    """Convert a sort key to the number in a cursor: milliseconds since 1970 for times."""
    if isinstance(value, datetime):
        return (value - _EPOCH) / timedelta(milliseconds=1)
    if order not in _BY_TIME:
        return float(value)
    return round((float(value) - _EPOCH_AS_JULIAN_DAY) * 86_400_000)


def _moment(milliseconds: float) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=round(milliseconds * 1000))
    except OverflowError:
        return _LAST_MOMENT
