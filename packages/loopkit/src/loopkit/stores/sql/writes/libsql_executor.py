"""Batches on libSQL: one HTTP request for each batch, in which each statement runs only if the one before succeeded.

The candidates of a claim are read by an HTTP request before it, which holds no lock; the claim itself takes only those
that may still be claimed. A claim without candidates costs no write.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs
from sqlalchemy import bindparam, func, null, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

from loopkit.core import strict_json
from loopkit.stores.sql.databases.libsql import LibsqlDialect
from loopkit.stores.sql.databases.libsql_client import Client, Step, exact_json
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.rows import Row
from loopkit.stores.sql.schema.tables import artifacts, keys, runs
from loopkit.stores.sql.statements import changes, claims, ledger_rows, readback, submissions
from loopkit.stores.sql.statements.parameters import (
    TEXT,
    Columns,
    ReadClock,
    SqlValue,
    Statement,
    Values,
    as_json_each,
    as_parameters,
    columns_of,
    compile_statement,
    constant,
)
from loopkit.stores.sql.writes.batch import Batch
from loopkit.stores.sql.writes.requests import Claimed, ClaimRuns
from loopkit.stores.sql.writes.set_based import (
    AddStatement,
    SetBasedExecutor,
    SetOutcomes,
    Statements,
    claimed_of,
    json_array,
)

__all__ = ["LibsqlExecutor"]

DIALECT: Final = LibsqlDialect(paramstyle="named")

_CHANGES: Final = columns_of(as_json_each(changes.CHANGE, "changes"))
_EVENTS: Final = columns_of(as_json_each(changes.EVENT, "events"))
_NEW: Final = columns_of(as_json_each(submissions.NEW, "new"))
_LEASES: Final = columns_of(as_json_each(changes.LEASE, "leases"))
_CANDIDATES: Final = columns_of(as_json_each(claims.CANDIDATE, "candidates"))
_REQUESTED: Final[Columns] = {
    "run_id": func.coalesce(
        select(keys.c.run_id).where(keys.c.key == bindparam("key", type_=TEXT)).scalar_subquery(),
        bindparam("run_id", type_=TEXT),
    ),
    "number": constant(1),
    "definition": bindparam("definition", type_=TEXT),
    "policy": bindparam("policy", type_=TEXT),
}
"""The one run that is asked for: by its id, or by the key that it was submitted with."""

_ARTIFACTS_OF_RUN: Final = (
    select(func.json_group_array(func.json_array(*rows.ARTIFACT_COLUMNS)))
    .where(artifacts.c.run_id == runs.c.id)
    .scalar_subquery()
)
"""The artifacts of a run as JSON, in no order."""


def _compile(statement: ClauseElement) -> Statement:
    return compile_statement(statement, DIALECT)


def _claim(candidate: Columns) -> list[Statement]:
    """Claim candidates, insert the events, and return the rows; their previous heartbeat is filled in afterwards."""
    run_ids = select(candidate["run_id"])
    nonce = bindparam("nonce", type_=TEXT)
    written_now = func.substr(runs.c.last_write, constant(1), func.length(nonce)) == nonce
    written = select(*readback.stored_columns(), null(), _ARTIFACTS_OF_RUN).where(runs.c.id.in_(run_ids), written_now)
    return [
        _compile(claims.claim_or_end(claims.with_newest_artifact(candidate).subquery("candidate"))),
        _compile(claims.insert_claim_events(runs, runs.c.id.in_(run_ids))),
        _compile(written.order_by(runs.c.created_at, runs.c.id)),
    ]


CLAIM_OLDEST: Final = _claim(_CANDIDATES)
CLAIM_REQUESTED: Final = _claim(_REQUESTED)
SELECT_REQUESTED: Final = _compile(claims.select_candidate(_REQUESTED["run_id"]))
SELECT_CANCELLED: Final = _compile(claims.select_cancelled())
SELECT_WAITING: Final = [
    _compile(claims.select_queued(as_parameters(claims.AGENT))),
    _compile(claims.select_stalled(as_parameters(claims.AGENT))),
]
STATEMENTS: Final = Statements(
    before_record=[],
    record=_compile(changes.update_run(_CHANGES).returning(*rows.WRITTEN_COLUMNS)),
    after_record=[
        _compile(changes.insert_artifact(columns_of(as_json_each(changes.ARTIFACT, "artifacts")), runs)),
        _compile(changes.insert_event(_EVENTS, runs)),
    ],
    insert_calls=_compile(ledger_rows.insert_call(columns_of(as_json_each(ledger_rows.CALL, "calls")), sqlite.insert)),
    insert_verdicts=_compile(
        ledger_rows.insert_verdict(columns_of(as_json_each(ledger_rows.VERDICT, "verdicts")), sqlite.insert)
    ),
    insert_keys=_compile(submissions.insert_key(_NEW, sqlite.insert)),
    before_numbers=[],
    submit=_compile(
        submissions.insert_run(_NEW, func.row_number().over(order_by=_NEW["run_id"])).returning(
            *readback.inserted_columns()
        )
    ),
    after_submit=[_compile(changes.insert_event(_EVENTS, runs))],
    insert_tags=_compile(submissions.insert_tag(columns_of(as_json_each(submissions.TAG, "tags")))),
    run_of_key=_compile(readback.select_run_of_key()),
    renew=_compile(changes.renew_lease(_LEASES).returning(runs.c.id)),
    leases=_compile(changes.select_lease(_LEASES)),
    run=_compile(readback.select_run(bindparam("run_id", type_=TEXT))),
    claimed_by_call=_compile(claims.select_claimed_by_call(_ARTIFACTS_OF_RUN)),
)


class LibsqlExecutor(SetBasedExecutor):
    """The :class:`loopkit.stores.sql.writes.batch.Executor` of a libSQL server."""

    statements = STATEMENTS

    def __init__(self, client: Client, clock: ReadClock) -> None:
        super().__init__(clock)
        self._client = client
        self._candidates: dict[str, list[claims.Candidate]] = {}
        """Candidates of each claim of the batch, by the claim's nonce."""

    def encode(self, values: Values) -> str:
        return strict_json.dumps({name: _sent(value) for name, value in values.items()})

    def perform(self, batch: Batch) -> None:
        open_claims = [claim for claim in batch.claims if claim.run_id is None]
        self._candidates = self._read_candidates(open_claims) if open_claims else {}
        if len(open_claims) == len(batch.requests) and not any(self._candidates.values()):
            for claim in open_claims:
                claim.outcome = Claimed([], [])
            return
        super().perform(batch)

    def close(self) -> None:
        """Do nothing: the client belongs to the database."""

    @contextmanager
    def _transaction(self, batch: Batch) -> Iterator[AddStatement]:
        steps: list[Step] = []
        pending: list[_StepRows] = []

        def add(statement: Statement, values: Values) -> _StepRows:
            steps.append(_step(statement, values))
            pending.append(_StepRows())
            return pending[-1]

        yield add
        for step_rows, result in zip(pending, self._client.transaction(steps), strict=True):
            step_rows.rows = result.rows

    def _wait_for_locks(self, add: AddStatement, batch: Batch, clock: Values) -> None:
        """Do nothing: every transaction here begins with the one lock of the database."""

    def _notify(self, add: AddStatement, batch: Batch) -> None:
        """Do nothing: other processes ask once a second."""

    def _claim(self, add: AddStatement, claim: ClaimRuns, clock: Values) -> SetOutcomes:
        candidates = self._candidates[claim.nonce]
        array = json_array(strict_json.dumps(candidate) for candidate, _ in candidates)
        values: Values = {**claim.call, **clock, "candidates": array}
        *_, written = [add(statement, values) for statement in CLAIM_OLDEST]

        def set_outcomes() -> None:
            by_id = {row[rows.ID]: row for row in written.fetchall()}
            claim.outcome = claimed_of(
                [
                    _with_previous(by_id[candidate["run_id"]], previous)
                    for candidate, previous in candidates
                    if candidate["run_id"] in by_id
                ]
            )

        return set_outcomes

    def _claim_one(
        self, add: AddStatement, claim: ClaimRuns, run_id: str, key: str | None, clock: Values
    ) -> SetOutcomes:
        values = {**claim.call, **clock, "run_id": run_id, "key": key}
        before = add(SELECT_REQUESTED, values)
        *_, written = [add(statement, values) for statement in CLAIM_REQUESTED]

        def set_outcomes() -> None:
            previous = next((heartbeat for *_, heartbeat in before.fetchall()), None)
            claim.outcome = claimed_of([_with_previous(row, previous) for row in written.fetchall()])

        return set_outcomes

    def _read_candidates(self, open_claims: Sequence[ClaimRuns]) -> dict[str, list[claims.Candidate]]:
        """Read for each claim the runs to end for a cancel request, then the oldest of all agents."""
        clock = self._clock()
        calls = [
            (claim, {**claim.call, **clock}, [strict_json.loads_or_text(agent) for agent in claim.agents])
            for claim in open_claims
        ]
        steps: list[Step] = []
        for _, call, agents in calls:
            steps.append(_step(SELECT_CANCELLED, call))
            steps += [_step(statement, call | agent) for agent in agents for statement in SELECT_WAITING]
        results = iter(self._client.read(steps))
        candidates: dict[str, list[claims.Candidate]] = {}
        for claim, _, agents in calls:
            cancelled = [run_id for (run_id,) in next(results).rows]
            waiting = [
                (since, run_id, agent, previous)
                for agent in agents
                for _ in SELECT_WAITING
                for run_id, since, previous in next(results).rows
            ]
            candidates[claim.nonce] = claims.merge_candidates(cancelled, waiting, claim.limit)
        return candidates


@attrs.define
class _StepRows:
    """The rows of a step, set when the HTTP request is answered."""

    rows: Sequence[Row] = attrs.field(factory=list)

    def fetchall(self) -> Sequence[Row]:
        return self.rows

    def fetchone(self) -> Row | None:
        return next(iter(self.rows), None)


def _with_previous(row: Row, previous: float | None) -> Row:
    """Return a row of a claim with the previous heartbeat, which was read before it."""
    return (*row[: rows.PREVIOUS_HEARTBEAT], previous, *row[rows.PREVIOUS_HEARTBEAT + 1 :])


def _step(statement: Statement, values: Values) -> Step:
    return statement.text, {name: _sent(values[name]) for name in statement.names}


def _sent(value: SqlValue) -> SqlValue:
    """Return a value as the statements take it: a float as text."""
    return exact_json(value) if isinstance(value, float) else value
