"""The write path as its callers see it: verbs that prepare a request, wait for its outcome and return what it means.

Two lanes: the writer's, where requests that wait together are written together, and the keeper's for leases, with a
connection of its own, so that a writer that waits for a lock cannot lose a lease.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import anyio.to_thread
import attrs

from loopkit.core import ids as naming
from loopkit.core import machine, strict_json
from loopkit.core.ids import Ids
from loopkit.core.journal import Change
from loopkit.core.lease import Claimant, Lease, LeaseState
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import LeaseLost, LoopkitError, StorageError
from loopkit.eventloop import Turns
from loopkit.storage import Held
from loopkit.stores.sql.operations import run_queries
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.rows import Row
from loopkit.stores.sql.statements.parameters import ReadClock
from loopkit.stores.sql.writes import outcomes, requests
from loopkit.stores.sql.writes.batch import Executor
from loopkit.stores.sql.writes.lanes import WriterDriver, WriterLane
from loopkit.stores.sql.writes.requests import NO_AGENTS, Claimed, ClaimRuns, RecordChange, SubmitRuns
from loopkit.stores.sql.writes.transactions import Transactions
from loopkit.stores.sql.writes.writer import Writer

__all__ = ["EventCounts", "WritePath"]

logger = logging.getLogger("loopkit.stores")

MOST_COUNTS: Final = 100_000
"""Most leases whose number of events a store remembers; that of another is read when it writes."""


class EventCounts:
    """Numbers of events of the runs that this store's callers hold, by lease, as the store read or wrote them last.

    With the number a change can be written as meant; without it, or if it is wrong, the change is written carefully.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def of(self, lease: Lease) -> int | None:
        """Return the number of events of a run; None if it is not known."""
        return self._counts.get(lease.lease_id)

    def note_claimed(self, claimed: Claimed) -> None:
        """Remember the numbers of the runs that a claim got."""
        for row in claimed.rows:
            if row[rows.LEASE_ID] is not None:
                self._counts[row[rows.LEASE_ID]] = row[rows.EVENT_SEQ]
        while len(self._counts) > MOST_COUNTS:  # leases that were lost without a further write
            del self._counts[next(iter(self._counts))]

    def note_written(self, lease: Lease, row: Row, status: RunStatus) -> None:
        """Remember the number in a row of ``WRITTEN_NAMES``, or drop it if the lease has ended."""
        if status is RunStatus.RUNNING:
            self._counts[lease.lease_id] = row[rows.WRITTEN_EVENT_SEQ]
        else:
            self.forget(lease)

    def forget(self, lease: Lease) -> None:
        """Drop the number of a lease that is lost."""
        self._counts.pop(lease.lease_id, None)


class WritePath:
    """The verbs of a store that go through its two lanes; see :class:`loopkit.storage.Storage` for their promises.

    Args:
        create_executor: creates an executor; called once for each lane.
        driver: runs the lanes.
        transactions: run the reads that a refused write needs.
        clock: the parameters that every statement with a time takes.
        ids: source of ids and nonces.
        notify: called when runs became claimable.
    """

    def __init__(
        self,
        *,
        create_executor: Callable[[], Executor],
        driver: WriterDriver,
        transactions: Transactions,
        clock: ReadClock,
        ids: Ids,
        notify: Callable[[], None],
    ) -> None:
        self._driver = driver
        self._transactions = transactions
        self._clock = clock
        self._ids = ids
        self._notify = notify
        self._event_counts = EventCounts()
        writer, keeper = create_executor(), create_executor()
        self._encode = writer.encode
        self._writer_lane = self._lane(writer, "loopkit writer")
        self._keeper_lane = self._lane(keeper, "loopkit keeper")

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        """Write new runs; return one for each, in order."""
        distinct = outcomes.without_repeats(new)
        if not distinct:
            return []
        ids = self._run_ids(len(distinct))
        new_runs = list(distinct.values())
        build = partial(requests.submit_request, new_runs, ids, self._ids.nonce(), self._encode)
        stored_rows = await self._submit(await _built(build, new_runs))
        new_tags = dict(zip(ids, (new_run.tags for new_run in new_runs), strict=True))
        stored: dict[str | int, Run] = {}
        turns = Turns()
        for identity, row in zip(distinct, stored_rows, strict=True):
            stored[identity] = _with_tags(rows.run(row), new_tags)
            await turns.pause_after(stored[identity].inputs)
        self._notify()
        return [stored[outcomes.identity_of(position, new_run)] for position, new_run in enumerate(new)]

    async def start(self, new: NewRun, claimant: Claimant, *, definition: str | None) -> Held:
        """Write a new run and claim it in the same transaction."""
        claim = self._claim_request(claimant, run_id="", definition=definition)
        build = partial(requests.submit_request, [new], self._run_ids(1), claim.nonce, self._encode, claim)
        (row,) = await self._submit(await _built(build, [new]))
        return await self._held_run(row[rows.ID], claimant, claim.result())

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int) -> list[Held]:
        """Claim the oldest runs of agents."""
        claimed = await self._claim(self._claim_request(claimant, agents=agents, limit=limit))
        return await self._read_held_runs(claimed)

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None) -> Held:
        """Claim one run."""
        request = self._claim_request(claimant, run_id=run_id, definition=definition)
        return await self._held_run(run_id, claimant, await self._claim(request))

    async def record(self, lease: Lease, change: Change) -> Run:
        """Write a change of a held run; return the run that it leaves."""
        request = RecordChange(self._ids.nonce(), lease, change, self._event_counts.of(lease))
        outcome = await self._writer_lane.ask(request)
        if isinstance(outcome, Exception):
            run = await self._run_recorded_before(request, outcome)
        elif outcome is None:
            self._event_counts.forget(lease)
            raise LeaseLost(lease.run_id)
        else:
            run = rows.written_run(outcome, change)
            self._event_counts.note_written(lease, outcome, run.status)
        if run.status is RunStatus.QUEUED:
            self._notify()
        return run

    async def check_leases(self, leases: Sequence[Lease], *, renews: bool) -> list[LeaseState]:
        """Renew leases, or only look them up; return the state of each, in order."""
        if not leases:
            return []
        request = requests.renew_request(leases, self._encode, renews=renews)
        outcome = await self._keeper_lane.ask(request)
        if isinstance(outcome, Exception):
            raise outcome if isinstance(outcome, LoopkitError) else StorageError(str(outcome)) from outcome
        return outcomes.lease_states(leases, outcome, request.skipped)

    def _lane(self, executor: Executor, name: str) -> WriterLane:
        writer = Writer(executor, self._ids, self._driver)
        return self._driver.lane(writer.perform, writer.close, name)

    def _run_ids(self, count: int) -> list[str]:
        return [naming.run_id(self._ids.run_number()) for _ in range(count)]

    def _claim_request(
        self,
        claimant: Claimant,
        *,
        agents: Mapping[str, str] = NO_AGENTS,
        limit: int = 1,
        run_id: str | None = None,
        definition: str | None = None,
    ) -> ClaimRuns:
        return requests.claim_request(
            claimant,
            self._ids.nonce(),
            self._encode,
            self._release_requests,
            agents=agents,
            limit=limit,
            run_id=run_id,
            definition=definition,
        )

    def _release_requests(self, claimed: Claimed) -> Iterable[RecordChange]:
        """Yield the requests that release the runs that a claim got after its caller had left."""
        for held in self._held_runs(claimed):
            change = machine.released_change(held.run, "the claim was given up")
            yield RecordChange(self._ids.nonce(), held.lease, change, self._event_counts.of(held.lease))

    def _held_runs(self, claimed: Claimed) -> Iterator[Held]:
        """Yield the runs that a claim holds now, and remember how many events they have."""
        self._event_counts.note_claimed(claimed)
        return outcomes.held_runs(claimed)

    async def _read_held_runs(self, claimed: Claimed) -> list[Held]:
        """Return the runs that a claim holds now; other tasks go on between large ones."""
        held: list[Held] = []
        turns = Turns()
        for one in self._held_runs(claimed):
            held.append(one)
            await turns.pause_after(one.run.inputs)
        return held

    async def _claim(self, request: ClaimRuns) -> Claimed:
        outcome = await self._writer_lane.ask(request)
        if isinstance(outcome, Exception):
            raise outcomes.refusal_of(outcome)
        return outcome

    async def _submit(self, request: SubmitRuns) -> Sequence[Row]:
        outcome = await self._writer_lane.ask(request)
        if not isinstance(outcome, Exception):
            return outcome
        if isinstance(outcome, LoopkitError):
            raise outcome
        keys = [key for key in request.keys if key is not None]
        stored = await self._transactions.read(lambda connection: outcomes.stored_fingerprints(connection, keys))
        raise outcomes.submission_refusal_of(request, stored, outcome)

    async def _held_run(self, run_id: str, claimant: Claimant, claimed: Claimed) -> Held:
        """Return the run that a claim of one run got.

        Raises:
            RunNotClaimable: it got none.
        """
        if held := await self._read_held_runs(claimed):
            return held[0]
        run = await self._transactions.read(lambda connection: run_queries.get_run(connection, run_id, self._clock()))
        if claimed.rows and outcomes.fate_of(claimed.rows[0]).ended_in is RunStatus.CANCELLED:
            await self.claim(claimant, {}, limit=0)  # ends the other runs with a cancel request and no holder as well
        raise outcomes.claim_refused(run, claimed)

    async def _run_recorded_before(self, request: RecordChange, error: Exception) -> Run:
        """Return the run if the database refused a change because it is stored already; otherwise raise."""
        artifact = request.change.artifact
        if isinstance(error, LoopkitError) or artifact is None:
            raise outcomes.refusal_of(error)
        lease = request.lease
        try:
            return await self._transactions.read(
                lambda connection: outcomes.run_with_artifact(connection, lease, artifact, self._clock())
            )
        except LeaseLost:
            logger.warning("run %s: %s", lease.run_id, outcomes.refusal_of(error))
            raise


async def _built(build: Callable[[], SubmitRuns], new: Sequence[NewRun]) -> SubmitRuns:
    """Return the request for new runs; it is built in a thread if that takes milliseconds."""
    is_large = strict_json.size([new_run.inputs for new_run in new]) > strict_json.MOST_OF_A_SMALL_VALUE
    return await anyio.to_thread.run_sync(build) if is_large else build()


def _with_tags(run: Run, new_tags: Mapping[str, Sequence[str]]) -> Run:
    """Return a submitted run with the tags of its request, if it is new: not every executor reads those back."""
    tags = new_tags.get(run.id)
    return attrs.evolve(run, tags=tuple(sorted(tags))) if tags else run
