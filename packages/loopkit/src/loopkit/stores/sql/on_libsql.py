"""Batches on libSQL: one request a batch, in which each statement runs only if the one before did.

What a claim may take is looked for by a request before it, which holds no lock; the claim itself takes only what may
still be claimed, and a look that finds nothing costs no write.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import attrs
from sqlalchemy import Select, bindparam, func, null, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

from loopkit.core import plain
from loopkit.stores.sql import claiming, rows, statements
from loopkit.stores.sql.executing import Batch, Claimed
from loopkit.stores.sql.items import Claiming
from loopkit.stores.sql.libsql import Client, Step
from loopkit.stores.sql.sources import TEXT, Items, Script, constant, each, items, one, script
from loopkit.stores.sql.tables import artifacts, keys, runs
from loopkit.stores.sql.whole import Run, Scripts, Settle, WholeBatches, array, claimed

DIALECT: Final = sqlite.dialect(paramstyle="named")

_CHANGES: Final = items(each(statements.CHANGE, "changes"))
_EVENTS: Final = items(each(statements.EVENT, "events"))
_NEW: Final = items(each(statements.NEW, "new"))
_LEASES: Final = items(each(statements.LEASE, "leases"))
_PICKS: Final = items(each(claiming.PICK, "picks"))
_PICK_THAT: Final[Items] = {
    "run_id": func.coalesce(
        select(keys.c.run_id).where(keys.c.key == bindparam("key", type_=TEXT)).scalar_subquery(),
        bindparam("run_id", type_=TEXT),
    ),
    "number": constant(1),
    "definition": bindparam("definition", type_=TEXT),
}
_ROW: Final = (*statements.run_columns(), runs.c.last_write, runs.c.event_seq)


_KEPT: Final = (
    select(func.json_group_array(func.json_array(*rows.ARTIFACT_COLUMNS)))
    .where(artifacts.c.run_id == runs.c.id)
    .scalar_subquery()
)
"""The artifacts of a run as JSON, in no order."""


def _script(statement: ClauseElement) -> Script:
    return script(statement, DIALECT)


def _take(pick: Items) -> list[Script]:
    """Claim picks, tell of it, and give what came of it; the previous heartbeat is known from the look before."""
    picked = runs.c.id.in_(select(pick["run_id"]))
    prefix = bindparam("write", type_=TEXT)
    taken: Select[Any] = select(*_ROW, null(), _KEPT).where(
        picked, func.substr(runs.c.last_write, constant(1), func.length(prefix)) == prefix
    )
    return [
        _script(claiming.take(claiming.resumed(pick).subquery("picked"))),
        _script(claiming.tell_claim(runs, picked)),
        _script(taken.order_by(runs.c.created_at, runs.c.id)),
    ]


TAKE: Final = _take(_PICKS)
TAKE_THAT: Final = _take(_PICK_THAT)
WAITING_THAT: Final = _script(claiming.waiting_one(_PICK_THAT["run_id"]))
WAITING_CANCELLED: Final = _script(claiming.waiting_cancelled())
WAITING: Final = [
    _script(claiming.waiting_queued(one(claiming.AGENT))),
    _script(claiming.waiting_stalled(one(claiming.AGENT))),
]
SCRIPTS: Final = Scripts(
    before_record=[],
    record=_script(statements.go_on(_CHANGES).returning(*rows.WRITTEN_COLUMNS)),
    after_record=[
        _script(statements.keep_artifact(items(each(statements.ARTIFACT, "artifacts")), runs)),
        _script(statements.tell(_EVENTS, runs)),
    ],
    keep_keys=_script(statements.keep_key(_NEW, "sqlite")),
    before_numbers=[],
    submit=_script(statements.queue(_NEW, func.row_number().over(order_by=_NEW["run_id"])).returning(*_ROW)),
    after_submit=[_script(statements.tell(_EVENTS, runs))],
    run_of_key=_script(statements.run_of_key()),
    renew=_script(statements.renew(_LEASES).returning(runs.c.id)),
    look=_script(statements.look(_LEASES)),
    run_now=_script(statements.run_now(bindparam("run_id", type_=TEXT))),
    claimed_by_call=_script(claiming.claimed_by_call(_KEPT)),
)


class OnLibsql(WholeBatches):
    """An :class:`loopkit.stores.sql.executing.Executor` of a libSQL server."""

    scripts = SCRIPTS

    def __init__(self, client: Client, clock: Callable[[], dict[str, Any]]) -> None:
        """``clock`` gives the parameters ``now`` and ``stalled_seconds``."""
        super().__init__(clock)
        self._client = client
        self._picks: dict[str, list[claiming.Pick]] = {}

    def perform(self, batch: Batch) -> None:
        looking = [claim for claim in batch.claims if claim.run_id is None]
        self._picks = self._look(looking) if looking else {}
        if len(looking) == len(batch.items) and not any(self._picks.values()):
            for claim in looking:
                claim.outcome = Claimed([], [])
            return
        super().perform(batch)

    def close(self) -> None:
        """Do nothing: the client belongs to the database."""

    @contextmanager
    def _transaction(self, batch: Batch) -> Iterator[Run]:
        steps: list[Step] = []
        answers: list[_Answer] = []

        def run(script: Script, values: dict[str, Any]) -> _Answer:
            steps.append(_step(script, values))
            answers.append(_Answer())
            return answers[-1]

        yield run
        for answer, result in zip(answers, self._client.transaction(steps), strict=True):
            answer.rows = result.rows

    def _wait_for_locks(self, run: Run, batch: Batch, clock: dict[str, Any]) -> None:
        """Do nothing: every transaction here begins with the one lock."""

    def _after(self, run: Run, batch: Batch) -> None:
        """Do nothing: others ask once a second."""

    def _claim(self, run: Run, item: Claiming, clock: dict[str, Any]) -> Settle:
        picks = self._picks[item.write]
        values = {**item.call, **clock, "picks": array(plain.dumps(pick) for pick, _ in picks)}
        *_, taken = [run(script, values) for script in TAKE]

        def settle() -> None:
            before = {pick["run_id"]: previous for pick, previous in picks}
            found = {row[0]: (*row[:-2], before[row[0]], row[-1]) for row in taken.fetchall()}
            item.outcome = claimed([found[pick["run_id"]] for pick, _ in picks if pick["run_id"] in found])

        return settle

    def _claim_that(self, run: Run, item: Claiming, run_id: str, key: str | None, clock: dict[str, Any]) -> Settle:
        values = {**item.call, **clock, "run_id": run_id, "key": key}
        before = run(WAITING_THAT, values)
        *_, taken = [run(script, values) for script in TAKE_THAT]

        def settle() -> None:
            previous = next((row[-1] for row in before.fetchall()), None)
            item.outcome = claimed([(*row[:-2], previous, row[-1]) for row in taken.fetchall()])

        return settle

    def _look(self, looking: Sequence[Claiming]) -> dict[str, list[claiming.Pick]]:
        """Find the runs to end for a cancel request, then the oldest of all agents, for each claim."""
        clock = self._clock()
        asked = [({**item.call, **clock}, [plain.loads(agent) for agent in item.agents]) for item in looking]
        steps: list[Step] = []
        for call, agents in asked:
            steps.append(_step(WAITING_CANCELLED, call))
            steps += [_step(waiting, call | agent) for agent in agents for waiting in WAITING]
        found = iter(self._client.read(steps))
        picks: dict[str, list[claiming.Pick]] = {}
        for item, (call, agents) in zip(looking, asked, strict=True):
            cancelled = [run_id for (run_id,) in next(found).rows]
            waiting = [
                (since, run_id, agent["definition"], previous)
                for agent in agents
                for _ in WAITING
                for run_id, since, previous in next(found).rows
            ]
            picks[item.write] = claiming.picks(cancelled, waiting, call["limit"])
        return picks


@attrs.define
class _Answer:
    """The rows of a step, given when the request is answered."""

    rows: list[tuple[Any, ...]] = attrs.field(factory=list)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(iter(self.rows), None)


def _step(script: Script, values: dict[str, Any]) -> Step:
    return script.text, {name: values[name] for name in script.names}
