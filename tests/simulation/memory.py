"""The memory store below a world: a server that never fails, reached over a network that does."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from loopkit import LeaseLost, MemoryStore, Run, StorageUnavailable
from loopkit.core.journal import Change
from loopkit.core.lease import Lease
from loopkit.core.ledger.calls import StoredCall, spending_of
from loopkit.core.panel.verdict import Verdict
from loopkit.storage import Storage
from tests.simulation.ground import Row
from tests.simulation.process import SeededIds

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

T = TypeVar("T")

VERBS = {"submit", "claim", "heartbeat", "watch", "request_cancel", "retry"}
"""Verbs that runners and clients call, beside ``record``."""


class MemoryGround(MemoryStore):
    """The shipped store, read directly."""

    def __init__(self, world: "World") -> None:
        ids = SeededIds(world.chance, world.next_number)
        super().__init__(stalled_after=world.stalled_after, now=world.now, ids=ids)
        self._seen: dict[str, Run] = {}
        self._artifacts_seen = 0

    def store(self, process: "Process") -> Storage:
        return cast(Storage, Wire(process, self))

    def changed(self) -> Iterator[Row]:
        for run in self._runs.values():
            if self._seen.get(run.id) is not run:
                self._seen[run.id] = run
                yield _row(run, len(self._events[run.id]))

    def kept(self) -> Iterator[tuple[str, str]]:
        seen, self._artifacts_seen = self._artifacts_seen, self._artifact_ids
        if seen < self._artifact_ids:
            for run_id, artifacts in self._artifacts.items():
                for artifact in artifacts:
                    if artifact.id > seen:
                        yield run_id, artifact.content

    def told(self, run_id: str, after: int) -> list[str]:
        return [event.message or "" for event in self._events[run_id][after:]]

    def calls(self, run_id: str) -> dict[str, int]:
        return {call.id: call.input_tokens or 0 for call in self._calls[run_id].values()}

    def verdicts(self, run_id: str) -> set[tuple[int, str]]:
        return {(verdict.attempt, verdict.name) for verdict in self._verdicts[run_id].values()}

    def scores_given(self, run_id: str) -> list[tuple[int, str, int, float]]:
        return [(given.attempt, given.name, given.sample, given.score) for given in self._verdicts[run_id].values()]

    def artifacts(self, run_id: str) -> list[tuple[int, str, str]]:
        return [
            (artifact.attempt, artifact.artifact_type.value, artifact.content) for artifact in self._artifacts[run_id]
        ]

    def end_by_hand(self, run_id: str) -> bool:
        return False

    async def wrongs(self) -> list[tuple[str | None, str]]:
        return [(run_id, wrong) for run_id in self._runs for wrong in self._wrongs(run_id)]

    def leave(self) -> None:
        """Do nothing: each schedule has a store of its own."""

    def _wrongs(self, run_id: str) -> Iterator[str]:
        """Return the breaches in the artifacts and events of an ended run."""
        run, told = self._runs[run_id], Counter(self.told(run_id, 0))
        yield from (f"{line!r} stands twice" for line, times in told.items() if line.startswith("call ") and times > 1)
        claims = told["Started"] + told["Taken over"]
        if claims != run.fencing_token:
            yield f"{claims} claims are told, and the token is {run.fencing_token}"
        stages = [(artifact.attempt, artifact.artifact_type.value) for artifact in self._artifacts[run_id]]
        if stages != sorted(set(stages), key=lambda stage: (stage[0], stage[1] == "evaluation")):
            yield f"its artifacts are {stages}"
        calls = spending_of(self._calls[run_id].values())
        if attrs.evolve(run.spending, stage_seconds=0.0) != calls:
            yield f"its sums are {run.spending}, and those of its calls {calls}"
        best = max((score for _, score in self._scores(run_id)), default=None)
        if best != run.final_score:
            yield f"its score is {run.final_score}, and the best one kept is {best}"


def _row(run: Run, told: int) -> Row:
    return Row(
        run.id,
        run.status.value,
        run.current_stage and run.current_stage.value,
        run.current_attempt,
        run.final_score,
        run.fencing_token,
        run.claimed_by,
        run.last_seen_at,
        run.cancel_requested_at is not None,
        told,
    )


class Wire:
    """The store over a network: a request or its response may be late or lost."""

    def __init__(self, process: "Process", server: MemoryGround) -> None:
        self.stalled_after = server.stalled_after
        self._process = process
        self._server = server

    def __getattr__(self, verb: str) -> Any:
        if verb not in VERBS:
            raise AttributeError(verb)
        return partial(self._ask, getattr(self._server, verb))

    async def record(self, lease: Lease, change: Change) -> Run:
        try:
            return await self._process.booker.record(partial(self._ask, self._server.record), lease, change)
        except LeaseLost:
            self._process.world.told_lost(lease)
            raise

    async def list_calls(self, run_id: str) -> Sequence[StoredCall]:
        return await self._ask(self._server.list_calls, run_id)

    async def list_verdicts(self, run_id: str, attempt: int) -> Sequence[Verdict]:
        return await self._ask(self._server.list_verdicts, run_id, attempt)

    async def wait_for_work(self, timeout: float) -> None:
        await self._process.wait_for_work()

    async def _ask(self, verb: Callable[..., Awaitable[T]], *values: Any, **named: Any) -> T:
        await self._travel("request")
        try:
            answer = await verb(*values, **named)
        finally:
            self._process.world.watch()
        await self._travel("answer")
        return answer

    async def _travel(self, what: str) -> None:
        await self._process.travel()
        if self._process.is_struck(what):
            raise StorageUnavailable(f"the {what} is lost")
