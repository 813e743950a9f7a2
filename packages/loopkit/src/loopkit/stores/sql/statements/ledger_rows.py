"""Statements that write the model calls and verdicts of a change: its part of the ledger, and what its judges said.

Each writes any number of them, and runs only when there are some. Like an event, a call or verdict is added only where
the update of the run stamped the nonce of this request as ``last_write``.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from sqlalchemy import Insert, Table, and_, cast, select
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core import strict_json
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.panel.verdict import Verdict
from loopkit.stores.sql.schema.expressions import AnyColumn
from loopkit.stores.sql.schema.tables import Json, runs, usage, verdicts
from loopkit.stores.sql.schema.timestamps import stamp
from loopkit.stores.sql.statements.parameters import BIGINT, INTEGER, REAL, TEXT, Columns, ColumnTypes, Values

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    InsertInto = Callable[[Table], sqlite.Insert | postgresql.Insert]

__all__ = ["CALL", "VERDICT", "call_values", "insert_call", "insert_verdict", "verdict_values"]

_CALL_VALUES: Final[ColumnTypes] = {
    "run_id": TEXT,
    "call_id": TEXT,
    "stage": TEXT,
    "attempt": INTEGER,
    "judge": TEXT,
    "sample": INTEGER,
    "try_number": INTEGER,
    "model": TEXT,
    "input_tokens": BIGINT,
    "output_tokens": BIGINT,
    "cached_tokens": BIGINT,
    "cost_nanos": BIGINT,
    "seconds": REAL,
    "state": TEXT,
}
_VERDICT_VALUES: Final[ColumnTypes] = {
    "run_id": TEXT,
    "attempt": INTEGER,
    "kind": TEXT,
    "name": TEXT,
    "sample": INTEGER,
    "made_by": TEXT,
    "score": REAL,
    "feedback": TEXT,
    "detail": TEXT,
}
_ORDER: Final[ColumnTypes] = {"nonce": TEXT, "place": INTEGER}
"""``place``: the position among the calls, or the verdicts, of the change; they are stored in this order."""

CALL: Final[ColumnTypes] = {**_CALL_VALUES, **_ORDER}
VERDICT: Final[ColumnTypes] = {**_VERDICT_VALUES, **_ORDER}


def call_values(run_id: str, nonce: str, calls: Iterable[ModelCall]) -> list[Values]:
    """Return the values of :data:`CALL` of each model call of a change; of two with one id those of the last."""
    last = {call.id: call for call in calls}
    return [
        {
            "run_id": run_id,
            "call_id": call.id,
            "stage": call.stage.value,
            "attempt": call.attempt,
            "judge": call.judge,
            "sample": call.sample,
            "try_number": call.try_number,
            "model": call.model,
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "cached_tokens": call.cached_tokens,
            "cost_nanos": call.cost_nanos,
            "seconds": call.seconds,
            "state": call.state.value,
            "nonce": nonce,
            "place": place,
        }
        for place, call in enumerate(last.values())
    ]


def verdict_values(run_id: str, nonce: str, new: Iterable[Verdict]) -> list[Values]:
    """Return the values of :data:`VERDICT` of each verdict of a change."""
    return [
        {
            "run_id": run_id,
            "attempt": verdict.attempt,
            "kind": verdict.kind.value,
            "name": verdict.name,
            "sample": verdict.sample,
            "made_by": verdict.made_by,
            "score": verdict.score,
            "feedback": verdict.feedback,
            "detail": strict_json.dumps(verdict.detail),
            "nonce": nonce,
            "place": place,
        }
        for place, verdict in enumerate(new)
    ]


def insert_call(call: Columns, insert_into: "InsertInto") -> Insert:
    """Insert a model call of a change that was written, or complete the one with its id, whose time stays."""
    values: dict[str, AnyColumn] = {name: call[name] for name in _CALL_VALUES} | {"created_at": stamp()}
    source = select(*values.values()).where(_was_written(call)).order_by(call["place"])
    inserted = insert_into(usage).from_select(list(values), source)
    completed = {name: inserted.excluded[name] for name in _CALL_VALUES if name not in ("run_id", "call_id")}
    return inserted.on_conflict_do_update(index_elements=[usage.c.run_id, usage.c.call_id], set_=completed)


def insert_verdict(verdict: Columns, insert_into: "InsertInto") -> Insert:
    """Insert a verdict of a change that was written, unless it is stored already."""
    values: dict[str, AnyColumn] = {name: verdict[name] for name in _VERDICT_VALUES}
    values |= {"detail": cast(verdict["detail"], Json), "created_at": stamp()}
    source = select(*values.values()).where(_was_written(verdict)).order_by(verdict["place"])
    return insert_into(verdicts).from_select(list(values), source).on_conflict_do_nothing()


def _was_written(values: Columns) -> ColumnElement[bool]:
    return and_(runs.c.id == values["run_id"], runs.c.last_write == values["nonce"])
