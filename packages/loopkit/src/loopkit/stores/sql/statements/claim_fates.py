"""Fates of a claim: what a claim makes of a run, and the journal events that the machine has for it.

A claim is decided inside one SQL statement, for many runs at once, so the machine cannot be asked about each run. But
its decision depends on few facts of a run: queued or running, cancel requested or not, lost too many leases or not, and
the kind of the newest artifact (none, output, evaluation). These make the members of :class:`ClaimFate`. So the machine
is asked beforehand, at import, about one example run for each fate, and its events are kept (:data:`CLAIM_EVENTS`). The
statement computes the fate from the row and stores it behind the call's nonce in ``last_write``; the events of that
fate follow. Two runs of one fate differ in one thing, their new holder: the examples are claimed by a placeholder.

An example. Run ``r7`` is running and stalled, and its newest artifact is the output of attempt 2. The call with the
nonce ``5f3a`` claims it for ``host:12:5f3a.1``:

- the update writes ``current_stage = 'evaluating'``, ``current_attempt = 2``, ``last_write = '5f3a.taken.evaluating'``;
- ``CLAIM_EVENTS[ClaimFate.TAKEN_OVER_EVALUATING]`` has two events, ``Taken over`` with the metadata
  ``{"status":"running","reason":"stalled","claimedBy":"{claimed_by}"}`` and ``Evaluating``;
- they become the last two events of the run, with ``{claimed_by}`` replaced by ``host:12:5f3a.1``.

tests/stores/sql/test_claims.py compares the result with the machine's decision for random runs and artifacts.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import attrs
from sqlalchemy import CTE, case, column, func, values
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core import machine, run_actions, strict_json
from loopkit.core.journal import Artifact, ArtifactType, NewEvent
from loopkit.core.policy import MAX_LOSSES
from loopkit.core.run import Run, RunStatus
from loopkit.stores.sql.schema.expressions import AnyColumn
from loopkit.stores.sql.statements.parameters import INTEGER, TEXT, Values, constant

__all__ = [
    "CLAIM_EVENTS",
    "PLACEHOLDER",
    "ClaimFate",
    "claim_events",
    "claim_events_table",
    "decode_last_write",
    "encode_fate",
    "encode_last_write",
]

PLACEHOLDER: Final = "{claimed_by}"
"""Text in the metadata of :data:`CLAIM_EVENTS` that stands for the new holder."""


class ClaimFate(StrEnum):
    """Effect of a claim on a run; the value is the text that the claim stores."""

    STARTED_PRODUCING = "started.producing"
    STARTED_EVALUATING = "started.evaluating"
    STARTED_REVISING = "started.revising"
    TAKEN_OVER_PRODUCING = "taken.producing"
    TAKEN_OVER_EVALUATING = "taken.evaluating"
    TAKEN_OVER_REVISING = "taken.revising"
    CANCELLED = "cancelled"
    """Ended, since a cancel was requested and nobody held it."""
    LOST = "lost"
    """Ended, since too many of its runners were lost."""

    @property
    def is_take_over(self) -> bool:
        """True when the run was running before."""
        return self.startswith(_TAKEN_OVER)

    @property
    def ended_in(self) -> RunStatus | None:
        """The status in which the claim ended the run; None when the run is held now."""
        return _ENDED.get(self)


_STARTED, _TAKEN_OVER = "started", "taken"
_FATES: Final = {fate.value: fate for fate in ClaimFate}
_ENDED: Final = {ClaimFate.CANCELLED: RunStatus.CANCELLED, ClaimFate.LOST: RunStatus.FAILED}


def encode_fate(
    *,
    cancelled: ColumnElement[bool],
    lost: ColumnElement[bool],
    taken_over: ColumnElement[bool],
    stage: ColumnElement[str],
) -> AnyColumn:
    """Return the text of the fate in SQL; the first condition that is true decides.

    ``stage``: where the run goes on; NULL when it ends.
    """
    kind = case(
        (cancelled, constant(ClaimFate.CANCELLED.value)),
        (lost, constant(ClaimFate.LOST.value)),
        (taken_over, constant(_TAKEN_OVER)),
        else_=constant(_STARTED),
    )
    return kind + func.coalesce(constant(".") + stage, constant(""))


def encode_last_write(nonce: AnyColumn, fate: AnyColumn) -> AnyColumn:
    """Return the ``last_write`` of a claim in SQL."""
    return nonce + constant(".") + fate


def decode_last_write(last_write: str | None) -> tuple[str, ClaimFate | None]:
    """Return the nonce in a run's ``last_write``, and the fate if a claim wrote it."""
    nonce, _, fate = (last_write or "").partition(".")
    return nonce, _FATES[fate] if fate else None


def claim_events(fate: ClaimFate, claimed_by: str | None) -> Iterator[Values]:
    """Yield the events of a fate, in order, by the names of :data:`loopkit.stores.sql.statements.changes.EVENT`."""
    for event in CLAIM_EVENTS[fate]:
        metadata = event["metadata"]
        if isinstance(metadata, str) and claimed_by is not None:
            metadata = metadata.replace(PLACEHOLDER, strict_json.dumps(claimed_by)[1:-1])
        yield event | {"metadata": metadata}


def claim_events_table() -> CTE:
    """Return :data:`CLAIM_EVENTS` as a table: a row for each event, with the number of events of its fate after it."""
    texts = ("event_type", "stage", "message", "metadata")
    data = [
        (fate.value, len(events) - place, *(event[name] for name in texts))
        for fate, events in CLAIM_EVENTS.items()
        for place, event in enumerate(events, 1)
    ]
    columns = [column(name, INTEGER if name == "back" else TEXT) for name in ("fate", "back", *texts)]
    return values(*columns, name="claim_events", literal_binds=True).data(data).cte("claim_events")


def _decisions() -> Iterator[tuple[ClaimFate, Sequence[NewEvent]]]:
    """Ask the machine for the events of every fate."""
    queued, running = _example_run(RunStatus.QUEUED), _example_run(RunStatus.RUNNING)
    for kinds in (), (ArtifactType.OUTPUT,), (ArtifactType.OUTPUT, ArtifactType.EVALUATION):
        stored = [_example_artifact(kind) for kind in kinds]
        for kind, run in (_STARTED, queued), (_TAKEN_OVER, running):
            decision = machine.decide_claim(run, stored, claimed_by=PLACEHOLDER)
            yield ClaimFate(f"{kind}.{decision.stage}"), decision.events
    lost_again = attrs.evolve(running, lost_leases=MAX_LOSSES - 1)
    yield ClaimFate.LOST, machine.decide_claim(lost_again, (), claimed_by=PLACEHOLDER).events
    end = run_actions.decide_cancel(queued).end
    assert end is not None
    yield ClaimFate.CANCELLED, end.events


def _event_values(event: NewEvent) -> Values:
    return {
        "event_type": event.event_type.value,
        "stage": None if event.stage is None else event.stage.value,
        "attempt": None,
        "message": event.message,
        "metadata": None if event.metadata is None else strict_json.dumps(event.metadata),
    }


def _example_run(status: RunStatus) -> Run:
    return Run(
        id="",
        agent_name="",
        cycle_id="",
        status=status,
        max_attempts=2,
        pass_threshold=1.0,
        inputs={},
        created_at=_EXAMPLE_TIME,
    )


def _example_artifact(kind: ArtifactType) -> Artifact:
    return Artifact(id=0, run_id="", attempt=1, artifact_type=kind, filename="", content="", created_at=_EXAMPLE_TIME)


_EXAMPLE_TIME: Final = datetime.min.replace(tzinfo=UTC)

CLAIM_EVENTS: Final = {fate: [_event_values(event) for event in events] for fate, events in _decisions()}
"""The events of each fate, in order, claimed by :data:`PLACEHOLDER`."""
