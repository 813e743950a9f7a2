"""The list of runs as one statement that reads only what it shows, however many runs there are.

First the candidates: for each status asked for (and each agent), the next few ids off an index that is sorted as the
list is, all together at most a few pages. Then the rows of these, filtered, sorted and cut. A sort by score or duration
looks at the newest 1,000 matches; a text that begins more than 1,000 ids or cycle ids finds the highest 1,000 of them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import attrs
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union,
)
from sqlalchemy.sql.selectable import Subquery

from loopkit.core.run import ENDED, Run, RunStatus
from loopkit.storage import Order, RunQuery
from loopkit.stores import listing
from loopkit.stores.sql import rows
from loopkit.stores.sql.instants import Instant, SecondsBetween, Time
from loopkit.stores.sql.tables import listed_status, runs

_AGENTS: Final = 20
"""How many agents' names a text may begin."""
_LAST: Final = "\U0010ffff"
"""Sorts after every text that goes on in another way."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MOMENT: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST_MOMENT: Final = datetime(9999, 1, 1, tzinfo=UTC)
_JULIAN_EPOCH: Final = 2440587.5

_created: Final = Instant(runs.c.created_at)
_completed: Final = Instant(runs.c.completed_at)
_duration: Final = SecondsBetween(runs.c.started_at, runs.c.completed_at)
_KEYS: Final[Mapping[Order, ColumnElement[Any]]] = {
    Order.CREATED: _created,
    Order.CREATED_ASC: _created,
    Order.COMPLETED: _completed,
    Order.SCORE: runs.c.final_score,
    Order.DURATION: _duration,
}
_TIMED: Final = frozenset({Order.CREATED, Order.CREATED_ASC, Order.COMPLETED})


@attrs.frozen
class _Shape:
    """What the statement's text depends on; everything else is a parameter."""

    order: Order
    statuses: tuple[RunStatus, ...]
    agents: int | None
    """How many agents have a branch of their own; None: every agent's runs."""
    text: bool
    only_agent: bool
    """One agent is asked for beside a text."""
    stalled: bool
    within: bool
    """Bounds of the creation are given."""
    from_cursor: bool


def list_runs(connection: Connection, query: RunQuery, clock: Mapping[str, Any]) -> tuple[list[Run], str | None]:
    """Give the runs of a page and the cursor of the next one.

    Raises:
        UnusableOption: the cursor is none of this order's.
    """
    names = _names(connection, query)
    shape = _Shape(
        order=query.order,
        statuses=_statuses(query),
        agents=None if names is None else len(names),
        text=bool(query.text),
        only_agent=bool(query.text and query.agent),
        stalled=query.stalled,
        within=query.created_since is not None or query.created_before is not None,
        from_cursor=query.cursor is not None,
    )
    if not shape.statuses or (names == [] and not query.text):
        return [], None
    limit = listing.clamp(query.limit)
    found = connection.execute(_statement(shape), _values(connection, query, names or [], limit) | dict(clock)).all()
    more = len(found) > limit
    cursor = None
    if more:
        last = found[limit - 1]
        cursor = listing.make_cursor(query.order, _cursor_key(last[-1], query.order), last[0])
    return [rows.run(row) for row in found[:limit]], cursor


def _statuses(query: RunQuery) -> tuple[RunStatus, ...]:
    wanted = query.statuses or frozenset(RunStatus)
    if query.order is Order.COMPLETED:
        wanted &= ENDED
    if query.stalled:
        wanted &= {RunStatus.RUNNING}
    return tuple(sorted(wanted))


def _names(connection: Connection, query: RunQuery) -> list[str] | None:
    """The agents to look at one by one; None: all together."""
    if not query.text:
        return [query.agent] if query.agent else None
    if query.agent:
        return [query.agent] if query.agent.startswith(query.text) else []
    found = connection.execute(_NAMES, {"low": query.text, "high": query.text + _LAST})
    return list(found.scalars())


def agent_names(*, low: ColumnElement[Any], high: ColumnElement[Any], limit: int) -> Select[str]:
    """Give the names of agents that have runs, from ``low`` on and below ``high``; each costs one step of an index."""
    name = runs.c.agent_name
    first = select(func.min(name).label("name")).where(name >= low, name < high)
    names = first.cte("names", recursive=True)
    following = select(func.min(name)).where(name > names.c.name, name < high).scalar_subquery()
    names = names.union_all(select(following).where(names.c.name.isnot(None)))
    return select(names.c.name).where(names.c.name.isnot(None)).limit(limit)


_NAMES: Final = agent_names(low=bindparam("low"), high=bindparam("high"), limit=_AGENTS)


# --- The statement ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _statement(shape: _Shape) -> Select[Any]:
    key = _KEYS[shape.order]
    candidates = _candidates(shape)
    if shape.order not in _TIMED:
        newest = _of(candidates, shape, runs.c.id).order_by(_created.desc(), runs.c.id.desc())
        candidates = newest.limit(bindparam("newest")).subquery("newest_matches")
    found = _of(candidates, shape, *rows.run_columns(), key.label("key")).where(key.isnot(None))
    if shape.from_cursor:
        found = found.where(_beyond_cursor(shape.order))
    return _sorted(found, shape.order).limit(bindparam("page"))


def _of(candidates: Subquery, shape: _Shape, *columns: ColumnElement[Any]) -> Select[Any]:
    """Select from the candidates' rows what passes every filter.

    The filters hide their columns, so that no database finds rows by an index of theirs instead of by the candidates.
    """
    found = select(*columns).select_from(candidates.join(runs, runs.c.id == candidates.c.id))
    found = found.where(_hidden(runs.c.status).in_([_literal(status) for status in shape.statuses]))
    if shape.within:
        found = found.where(*_created_within(_hidden(_created)))
    if shape.only_agent:
        found = found.where(_hidden(runs.c.agent_name) == bindparam("agent"))
    return found.where(rows.is_stalled()) if shape.stalled else found


def _candidates(shape: _Shape) -> Subquery:
    branches = [_branch(shape, status, agent) for agent in _agents(shape) for status in shape.statuses]
    if shape.text:
        branches += [_beginning(runs.c.id), _beginning(runs.c.cycle_id)]
    return union(*(select(branch.subquery().c.id) for branch in branches)).subquery("candidates")


def _agents(shape: _Shape) -> list[ColumnElement[bool] | None]:
    if shape.agents is None:
        return [None]
    return [runs.c.agent_name == bindparam(f"agent_{number}") for number in range(shape.agents)]


def _branch(shape: _Shape, status: RunStatus, agent: ColumnElement[bool] | None) -> Select[Any]:
    """The next ids of one status (and agent), off the index that is sorted as the list is."""
    found = select(runs.c.id).where(listed_status == _literal(status))
    if agent is not None:
        found = found.where(agent)
    if shape.order is Order.COMPLETED:
        found = found.where(runs.c.completed_at.isnot(None))
    if shape.within and shape.order is Order.COMPLETED:
        # A run ends after it was made, so the first holds anyway; it bounds what is read of the index.
        found = found.where(_completed >= _bound("since"), *_created_within(_hidden(_created)))
    elif shape.within:
        found = found.where(*_created_within(_created))
    if shape.stalled:
        found = found.where(rows.is_stalled())
    if shape.from_cursor and shape.order in _TIMED:
        found = found.where(_beyond_cursor(shape.order))
    return _sorted(found, shape.order if shape.order in _TIMED else Order.CREATED).limit(bindparam("branch"))


def _beginning(column: ColumnElement[str]) -> Select[Any]:
    within = and_(column >= bindparam("low"), column < bindparam("high"))
    return select(runs.c.id).where(within).order_by(column.desc()).limit(bindparam("newest"))


def _beyond_cursor(order: Order) -> ColumnElement[bool]:
    """What comes after the cursor. The bound on the key alone is there for SQLite, which bounds an index by no pair."""
    key = _KEYS[order]
    cursor = _bound("cursor") if order in _TIMED else bindparam("cursor", type_=Double())
    last = bindparam("cursor_id", type_=runs.c.id.type)
    if order is Order.CREATED_ASC:
        return and_(key >= cursor, or_(key > cursor, runs.c.id > last))
    return and_(key <= cursor, or_(key < cursor, runs.c.id < last))


def _sorted(statement: Select[Any], order: Order) -> Select[Any]:
    key = _KEYS[order]
    if order is Order.CREATED_ASC:
        return statement.order_by(key, runs.c.id)
    return statement.order_by(key.desc(), runs.c.id.desc())


def _literal(status: RunStatus) -> ColumnElement[Any]:
    return literal_column(f"'{status.value}'")


def _bound(name: str) -> Instant:
    return Instant(bindparam(name, type_=Time))


def _created_within(created: ColumnElement[Any]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return created >= _bound("since"), created < _bound("before")


def _hidden(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, in a form that no index serves."""
    return func.coalesce(column, column)


# --- Parameters -------------------------------------------------------------------------------------------------------


def _values(connection: Connection, query: RunQuery, names: list[str], limit: int) -> dict[str, Any]:
    def time(value: datetime) -> Any:
        return rows.time_parameter(connection.dialect, value)

    many = query.order not in _TIMED
    values: dict[str, Any] = {
        "since": time(query.created_since or _FIRST_MOMENT),
        "before": time(query.created_before or _LAST_MOMENT),
        "page": limit + 1,
        "newest": listing.NEWEST,
        "branch": listing.NEWEST if many else limit + 1,
    }
    if query.text:
        values |= {"low": query.text, "high": query.text + _LAST}
    if query.text and query.agent:
        values["agent"] = query.agent
    if query.cursor is not None:
        key, values["cursor_id"] = listing.read_cursor(query.cursor, query.order)
        values["cursor"] = time(_moment(key)) if query.order in _TIMED else key
    return values | {f"agent_{number}": name for number, name in enumerate(names)}


def _cursor_key(value: Any, order: Order) -> float:
    """Turn what was sorted by into a cursor's number: milliseconds for times."""
    if order not in _TIMED:
        return float(value)
    if isinstance(value, datetime):
        return (value - _EPOCH) / timedelta(milliseconds=1)
    return round((float(value) - _JULIAN_EPOCH) * 86_400_000)


def _moment(milliseconds: float) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=round(milliseconds * 1000))
    except OverflowError:
        return _LAST_MOMENT
