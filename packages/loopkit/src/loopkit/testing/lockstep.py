"""Two stores in lockstep: the same operations at the same times must have the same results, errors, rows and journals.

An operation is a verb and a seed from which its arguments are drawn, so any list of operations can be played, shortened
and played again. Both stores take their time from one :class:`~loopkit.testing.HandClock`. Ids may differ; they are
compared by the order in which they were first seen.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from random import Random
from typing import Any, Final, NamedTuple

import attrs

from loopkit.core import machine
from loopkit.core.attempts import PastAttempt, attempts_of
from loopkit.core.journal import Change, EventType, NewEvent
from loopkit.core.labels.label_change import KEEP, LabelChange
from loopkit.core.lease import Claimant, Lease
from loopkit.core.ledger.calls import CallState, ModelCall, spending_of
from loopkit.core.ledger.sums import Spending
from loopkit.core.outcome import Errored, Outcome, Produced
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.core.policy import Definition
from loopkit.core.run import EndReason, NewRun, Run, RunStatus, Stage
from loopkit.errors import KeyReused, LoopkitError
from loopkit.storage import (
    Held,
    Labelling,
    Maintenance,
    Order,
    RunnerRegistry,
    RunQuery,
    RunScores,
    RunStatistics,
    Storage,
)
from loopkit.testing.hand_clock import HandClock
from loopkit.testing.lockstep_panels import Sitting
from loopkit.testing.steps import read_ledger, scored

__all__ = ["PANEL_WEIGHTS", "VERBS", "Difference", "Operation", "operations", "play"]

AGENTS: Final = {"writer": "w", "painter": Definition("p", {"drafts": 2, "maxLosses": 2})}
_KEYS: Final = (None, None, None, "key-1", "key-2")
_SPANS: Final = (timedelta(milliseconds=1), timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=121))


class Operation(NamedTuple):
    """Call of a verb."""

    verb: str
    seed: int
    """Seed from which its arguments are drawn."""


class Difference(AssertionError):
    """Difference between the two stores."""


@attrs.define
class Side:
    """One of the two stores, with the leases that its callers hold."""

    store: Storage
    runs: list[str] = attrs.field(factory=list)
    held: list[Held] = attrs.field(factory=list)
    """Every lease so far, with the run as its holder knows it."""
    names: dict[str, str] = attrs.field(factory=dict)
    """Name of each id of this store in comparisons."""
    read: dict[str, int] = attrs.field(factory=dict)
    """Id of the last event compared, by run id."""
    rows: dict[str, Any] = attrs.field(factory=dict)
    """Runs as they were compared last, by run id."""
    calls: dict[str, dict[str, ModelCall]] = attrs.field(factory=dict)
    """Model calls as they were written, by run id and their own."""

    def met(self, *runs: Run) -> None:
        """Name the runs that are new."""
        for run in runs:
            if run.id not in self.names:
                self.names[run.id] = f"run {len(self.runs)}"
                self.runs.append(run.id)

    def took(self, *held: Held) -> None:
        """Name the leases that are new."""
        for claimed in held:
            self.met(claimed.run)
            self.names[claimed.lease.lease_id] = f"lease {len(self.held)}"
            self.names[claimed.lease.claimed_by] = f"holder {len(self.held)}"
            self.held.append(claimed)

    def normal(self, value: Any) -> Any:
        """Return a value with ids replaced by their names, and without the numbers of rows."""
        if isinstance(value, Enum) or value is None:
            return value
        if isinstance(value, str):
            for known, name in self.names.items():
                value = value.replace(known, name)
            return value
        if isinstance(value, dict):
            return {self.normal(key): self.normal(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.normal(item) for item in value]
        if attrs.has(type(value)):
            fields = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
            numbered = isinstance(fields.get("id"), int)
            return {name: self.normal(item) for name, item in fields.items() if not (numbered and name == "id")} | {
                "": type(value).__name__
            }
        return value


Verb = Callable[[Side, Random], Awaitable[Any]]


def operations(seed: int, length: int, weights: Mapping[str, int] | None = None) -> list[Operation]:
    """Draw a sequence of operations from a seed; ``weights`` are those of some verbs, in place of all."""
    random = Random(seed)
    drawn = {name: weight for name, (weight, _) in VERBS.items()} if weights is None else weights
    return [Operation(verb, random.getrandbits(32)) for verb in random.choices([*drawn], [*drawn.values()], k=length)]


async def play(reference: Storage, other: Storage, clock: HandClock, sequence: Sequence[Operation]) -> None:
    """Play a sequence on two empty stores.

    Raises:
        Difference: the results or the stored runs differ; the message says where.
    """
    sides = (Side(reference), Side(other))
    for number, operation in enumerate(sequence):
        if operation.verb == "wait":
            clock.advance(Random(operation.seed).choice(_SPANS))
            continue
        answers = [await _answer(side, operation) for side in sides]
        _compare(f"step {number}, {operation}", *answers)
        shown = [await _changed(side) for side in sides]
        _compare(f"what is stored after step {number}, {operation}", *shown)
    whole = [[await _journal(side, run_id, after=0) for run_id in side.runs if run_id in side.rows] for side in sides]
    _compare("everything at the end", *whole)
    _compare("the check at the end", *[side.normal(await side.store.check()) for side in sides])


async def _answer(side: Side, operation: Operation) -> Any:
    try:
        answer = await VERBS[operation.verb][1](side, Random(operation.seed))
    except KeyReused:
        return ["KeyReused"]  # when a batch reuses several keys, the stores may name different ones
    except LoopkitError as error:
        return [type(error).__name__, side.normal(str(error))]
    return side.normal(answer)


async def _changed(side: Side) -> list[Any]:
    """Return the rows that changed, with their new events and their artifacts."""
    page = await side.store.list_runs(RunQuery(limit=200, order=Order.CREATED_ASC))
    side.met(*page.runs)
    rows = {run.id: side.normal(run) for run in page.runs}
    changed = [run_id for run_id, row in rows.items() if side.rows.get(run_id) != row]
    shown = [[rows[run_id], *await _journal(side, run_id, after=side.read.get(run_id, 0))] for run_id in changed]
    gone = [side.normal(run_id) for run_id in side.rows if run_id not in rows]
    side.rows = rows
    return [*shown, gone]


async def _journal(side: Side, run_id: str, *, after: int) -> list[Any]:
    events = await side.store.list_events(run_id, after=after)
    if events:
        side.read[run_id] = events[-1].id
    artifacts = await side.store.list_artifacts(run_id)
    ledger = await read_ledger(side.store, await side.store.get_run(run_id))
    return [side.normal(events), side.normal(artifacts), side.normal(ledger)]


def _compare(where: str, expected: Any, actual: Any) -> None:
    if expected != actual:
        raise Difference(f"{where}\nreference: {expected}\nother:     {actual}")


_POLICIES: Final[Sequence[Mapping[str, Any]]] = (
    *({}, {}, {}, {"drafts": 2}, {"maxLosses": 1}, {"maxLosses": 0}),
    *({"stop": {"patience": 1}}, {"stop": {"repeat": True}}, {"drafts": 2, "stop": {"patience": 1, "minDelta": 0.2}}),
)


_TITLES: Final = (None, None, "Loops of spring", "Österreich im Mai")
_TAGS: Final = ("spring", "urgent", "ärger")


def _new(random: Random) -> NewRun:
    day = "2031-04-05"
    return NewRun(
        agent_name=random.choice([*AGENTS, *AGENTS, "unknown"]),
        inputs={"n": random.randrange(3)},
        max_attempts=random.randint(1, 3),
        pass_threshold=random.choice([0.0, 0.5, 0.8]),
        cycle_id=random.choice([None, None, "spring", f"{day}-{random.choice([7, 998, 999, 1000])}"]),
        actor=random.choice([None, "mira"]),
        idempotency_key=random.choice(_KEYS),
        policy=random.choice(_POLICIES),
        title=random.choice(_TITLES),
        tags=tuple(random.sample(_TAGS, random.choice([0, 0, 1, 2]))),
    )


def _claimant(random: Random) -> Claimant:
    return Claimant(name=random.choice(["anna:1", "boris:2"]), heartbeat=timedelta(seconds=random.choice([10, 30])))


def _run_id(side: Side, random: Random) -> str:
    return random.choice([*side.runs, "run_unknown"]) if random.random() < 0.9 else "run_unknown"


def _held(side: Side, random: Random) -> tuple[int, Held] | None:
    """Draw a lease, the newest more often than an older one."""
    if not side.held:
        return None
    number = random.randrange(len(side.held)) if random.random() < 0.3 else len(side.held) - 1
    return number, side.held[number]


async def _submit(side: Side, random: Random) -> list[Run]:
    runs = await side.store.submit([_new(random) for _ in range(random.randint(0, 3))])
    side.met(*runs)
    return runs


async def _start(side: Side, random: Random) -> Held:
    held = await side.store.start(_new(random), _claimant(random), definition=random.choice([None, "d"]))
    side.took(held)
    return held


async def _claim(side: Side, random: Random) -> list[Held]:
    agents = random.choice([AGENTS, AGENTS, {"writer": "other"}, {}])
    held = await side.store.claim(_claimant(random), agents, limit=random.choice([0, 1, 1, 2, 5]))
    side.took(*held)
    return held


async def _claim_run(side: Side, random: Random) -> Held:
    held = await side.store.claim_run(_claimant(random), _run_id(side, random))
    side.took(held)
    return held


def _leases(side: Side, random: Random) -> list[Lease]:
    leases = [held.lease for held in random.sample(side.held, min(len(side.held), random.randint(0, 4)))]
    if leases and random.random() < 0.2:
        leases.append(attrs.evolve(leases[0], lease_id="forged", fencing_token=9))
    return leases


async def _heartbeat(side: Side, random: Random) -> object:
    return await side.store.heartbeat(_leases(side, random))


async def _watch(side: Side, random: Random) -> object:
    return await side.store.watch(_leases(side, random))


async def _record(
    side: Side, random: Random, change: Callable[[Run, Random, Sequence[PastAttempt]], Change]
) -> Run | None:
    """Write a change as the holder computes it, unless the run has ended for the holder; some are written twice."""
    drawn = _held(side, random)
    if drawn is None or drawn[1].run.current_stage is None:
        return None
    number, held = drawn
    attempts = attempts_of(await side.store.list_artifacts(held.run.id))
    known = side.calls.setdefault(held.run.id, {})
    drawn_change = _with_ledger(change(held.run, random, attempts), known, random)
    for _ in range(random.choice([1, 1, 1, 1, 1, 1, 1, 2])):
        run = await side.store.record(held.lease, drawn_change)
        side.held[number] = attrs.evolve(held, run=run)
        known.update({call.id: call for call in drawn_change.calls})
    return attrs.evolve(run, title=None, tags=())  # they may be those of the claim


def _with_ledger(change: Change, known: Mapping[str, ModelCall], random: Random) -> Change:
    """Return a change that books drawn model calls, new ones and known ones, and adds drawn verdicts."""
    stage, attempt = change.run.current_stage, change.run.current_attempt
    assert stage is not None
    named = dict.fromkeys([*known, f"call {random.getrandbits(32)}", "call"])  # one change has each call once
    ids = random.sample(list(named), random.choice([0, 0, 1, 2]))
    calls = [_call(known.get(call_id), call_id, stage, attempt, random) for call_id in ids]
    before = spending_of(known[call_id] for call_id in ids if call_id in known)
    after = spending_of(calls)
    spending = Spending(
        input_tokens=after.input_tokens - before.input_tokens,
        output_tokens=after.output_tokens - before.output_tokens,
        cost_nanos=None if after.cost_nanos is None else after.cost_nanos - (before.cost_nanos or 0),
        unpriced_calls=after.unpriced_calls - before.unpriced_calls,
        stage_seconds=random.choice([0.0, 0.1, 1.5]),
    )
    verdicts = [_verdict(attempt, random) for _ in range(random.randint(0, 2))] if stage is Stage.EVALUATING else []
    return attrs.evolve(change, calls=tuple(calls), verdicts=tuple(verdicts), spending=spending)


def _call(known: ModelCall | None, call_id: str, stage: Stage, attempt: int, random: Random) -> ModelCall:
    cost = random.choice([None, 0, 2**40 + 1])
    return ModelCall(
        id=call_id,
        stage=stage,
        attempt=attempt,
        judge=random.choice([None, "zwölf"]),
        sample=random.choice([None, 2]),
        model=random.choice([None, "openai:gpt-5-mini"]),
        input_tokens=random.choice([None, 0, 2**40]),
        output_tokens=random.choice([None, 7]),
        cost_nanos=known.cost_nanos if cost is None and known is not None else cost,
        seconds=random.choice([None, 0.1]),
        state=random.choice(list(CallState)),
    )


def _verdict(attempt: int, random: Random) -> Verdict:
    return Verdict(
        attempt=attempt,
        kind=random.choice(list(VerdictKind)),
        name=random.choice(["facts", "zwölf", "Ärger"]),
        sample=random.randint(1, 2),
        made_by=random.choice(["old", "new"]),
        score=random.choice([0.0, 0.1, 1.0]),
        feedback=random.choice(["", "line\r\n \u2028"]),
        detail=random.choice([{}, {"criteria": {"b": 0.1, "a": [None, 2**60]}}]),
    )


def _outcome(run: Run, random: Random) -> Outcome:
    if random.random() < 0.1:
        return Errored("the stage gave up")
    if run.current_stage is Stage.EVALUATING:
        return scored(random.choice([0.0, 0.3, 0.5, 0.7, 0.8, 1.0]), random.choice(["", "zwölf \u2028"]))
    return Produced(random.choice(["", "text", "line\r\n"])) if random.random() < 0.8 else Produced("[1]", is_json=True)


async def _advance(side: Side, random: Random) -> Run | None:
    def change(run: Run, drawn: Random, attempts: Sequence[PastAttempt]) -> Change:
        return machine.advance(run, _outcome(run, drawn), attempts=attempts)

    return await _record(side, random, change)


async def _judge(side: Side, random: Random) -> list[Any] | None:
    """Have the current output of a held run evaluated by a panel, to its end or not; return who was asked."""
    evaluating = [(number, held) for number, held in enumerate(side.held) if held.run.current_stage is Stage.EVALUATING]
    if not evaluating:
        return None
    number, held = random.choice(evaluating)
    sitting = Sitting(store=side.store, held=held, random=random)
    try:
        await sitting.hold()
    finally:
        side.held[number] = sitting.held
    return [sitting.asked, attrs.evolve(sitting.held.run, title=None, tags=())]  # they may be those of the claim


async def _log(side: Side, random: Random) -> Run | None:
    def change(run: Run, drawn: Random, _: Sequence[PastAttempt]) -> Change:
        lines = [NewEvent(event_type=EventType.LOG, stage=run.current_stage, message="log", metadata={"n": 1.5})]
        return machine.log_change(run, lines * drawn.randint(0, 2))

    return await _record(side, random, change)


async def _release(side: Side, random: Random) -> Run | None:
    return await _record(side, random, lambda run, *_: machine.released_change(run, "stop"))


async def _cancel_seen(side: Side, random: Random) -> Run | None:
    """End a run as its holder does when it learns of a cancel request."""
    states = await side.store.watch([held.lease for held in side.held])
    requested = [held for held, state in zip(side.held, states, strict=True) if state.cancel_requested]
    if not requested:
        return None
    side = attrs.evolve(side, held=requested)
    return await _record(side, random, lambda run, *_: machine.cancelled_change(run))


async def _request_cancel(side: Side, random: Random) -> Run:
    return await side.store.request_cancel(_run_id(side, random), actor=random.choice([None, "otto"]))


async def _retry(side: Side, random: Random) -> Run:
    run = await side.store.retry(_run_id(side, random), idempotency_key=random.choice(_KEYS))
    side.met(run)
    return run


async def _label(side: Side, random: Random) -> Run | None:
    if not isinstance(side.store, Labelling):
        return None
    change = LabelChange(
        title=random.choice([KEEP, *_TITLES]),
        tags=random.choice([KEEP, KEEP, (), _TAGS[:2]]),
        added=random.choice([(), _TAGS[2:], tuple(f"tag {number}" for number in range(18))]),
        removed=random.choice([(), _TAGS[:1]]),
    )
    return await side.store.label(_run_id(side, random), change)


async def _get(side: Side, random: Random) -> Run:
    return await side.store.get_run(_run_id(side, random))


async def _list(side: Side, random: Random) -> list[Any]:
    order = random.choice(list(Order))
    query = RunQuery(
        statuses=frozenset(random.sample(list(RunStatus), random.choice([0, 0, 1, 2]))),
        agent=random.choice([None, None, "writer"]),
        text=random.choice([None, None, "2031-04-05-00", "spr", "pa", "%", "loop", "öst mai"]),
        limit=random.randint(1, 4),
        order=order,
        stalled=random.random() < 0.2,
        tags=tuple(random.sample(_TAGS, random.choice([0, 0, 0, 1, 2]))),
        reason=random.choice([None, None, None, *EndReason]),
    )
    shown: list[Any] = []
    while True:
        page = await side.store.list_runs(query)
        shown.append(page.runs)
        if page.next_cursor is None:
            return shown
        query = attrs.evolve(query, cursor=page.next_cursor)


async def _events(side: Side, random: Random) -> object:
    run_id = _run_id(side, random)
    ids = [event.id for event in await side.store.list_events(run_id)]
    after, before = random.choice([0, *ids]), random.choice([None, *ids])
    return await side.store.list_events(run_id, after=after, before=before, limit=random.randint(0, 5))


async def _prune(side: Side, random: Random) -> object:
    if not isinstance(side.store, Maintenance):
        return None
    gone = await side.store.prune(random.choice([timedelta(0), timedelta(seconds=60)]), limit=random.randint(1, 3))
    names = [side.normal(run_id) for run_id in gone]
    side.runs = [run_id for run_id in side.runs if run_id not in gone]
    return names


async def _figures(side: Side, random: Random) -> list[object]:
    store, figures = side.store, list[object]()
    if isinstance(store, RunScores):
        trajectories = await store.trajectories(random.sample(side.runs, min(len(side.runs), 3)))
        figures.append(list(trajectories.values()))
    if isinstance(store, RunStatistics):
        figures += [await store.overview(), await store.stats()]
    if isinstance(store, RunnerRegistry):
        figures.append(await store.holdings(limit=random.randint(1, 5)))
    return figures


async def _wait(side: Side, random: Random) -> None:
    """Do nothing: :func:`play` advances the clock of both stores."""


VERBS: Final[dict[str, tuple[int, Verb]]] = {
    "submit": (10, _submit),
    "start": (5, _start),
    "claim": (10, _claim),
    "claim_run": (4, _claim_run),
    "heartbeat": (5, _heartbeat),
    "watch": (3, _watch),
    "advance": (30, _advance),
    "judge": (8, _judge),
    "log": (3, _log),
    "release": (4, _release),
    "cancel_seen": (1, _cancel_seen),
    "request_cancel": (5, _request_cancel),
    "retry": (4, _retry),
    "label": (3, _label),
    "get": (2, _get),
    "list": (5, _list),
    "events": (3, _events),
    "prune": (2, _prune),
    "figures": (2, _figures),
    "wait": (15, _wait),
}
"""Verbs by name, each with its weight in a drawn sequence."""

PANEL_WEIGHTS: Final = {"start": 4, "claim": 12, "advance": 8, "judge": 12, "release": 2, "wait": 8}
"""Weights for sequences in which most evaluations are those of panels, and go from holder to holder."""
