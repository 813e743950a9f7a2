"""loopkit for code that is not async: scripts, Django views, Celery tasks, notebooks.

The functions block until they are done. They may be called from any number of threads, inside a running event loop, and
in a forked child of the process that opened the store. Async stages run in one event loop in the background, which is
kept, so that the connections of their clients live on::

    with loopkit.sync.open_store("sqlite:///loopkit.db") as store:
        result = loopkit.sync.run(namer, {"thing": "a cat"}, store=store)
"""

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import anyio
from anyio.lowlevel import current_token

from loopkit import api, journal_reader, stores
from loopkit.agents.agent import Agent
from loopkit.agents.error_text import kind_of
from loopkit.agents.stages.lifespan import Lifespan
from loopkit.api import Result
from loopkit.core.journal import Artifact, RunEvent
from loopkit.core.labels.label_change import KEEP, Keep
from loopkit.core.lease import STALLED_AFTER
from loopkit.core.ledger.budget import Budget
from loopkit.core.run import Run
from loopkit.errors import UnusableOption, UsageError
from loopkit.storage import RunPage, RunQuery, Storage
from loopkit.thread_loops import call_in_background, run_in_thread_loop

__all__ = ["SyncStore", "follow", "label", "open_store", "run", "run_sync", "submit", "wait"]


class _Opening:
    """Lock that is held while a store is opened or closed."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Make the lock anew: in a forked child, another thread of the parent may have held it."""
        self.lock = threading.Lock()


_opening: Final = _Opening()
os.register_at_fork(after_in_child=_opening.renew)


def open_store(url: str | None = None, *, stalled_after: timedelta = STALLED_AFTER) -> "SyncStore":
    """Return the store of a URL for code that is not async: opened by ``with``, or by its first use.

    Args:
        url: as for :func:`loopkit.open_store`.
        stalled_after: time without a heartbeat after which a run may be taken over.
    """
    return SyncStore(stores.database_url(url), stalled_after=stalled_after)


class SyncStore:
    """Store whose methods block. Opened before a fork, it is opened anew by its first use in the child.

    Raises:
        InvalidDatabase: the URL is not that of a usable database; raised when the store is opened.
        StorageUnavailable: the server does not respond.
    """

    def __init__(self, url: str, *, stalled_after: timedelta = STALLED_AFTER) -> None:
        self._url = url
        self._stalled_after = stalled_after
        self._storage: Storage | None = None
        self._process = os.getpid()
        self._of_parents: list[Storage | None] = []
        """Stores of the processes from which this one was forked: kept, so that their connections are not closed."""
        self._is_closed = False

    def __enter__(self) -> Self:
        self.opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def opened(self) -> Storage:
        """Return the open store beneath, for code that is async; it can be used from any event loop.

        Raises:
            UsageError: the store is closed.
        """
        with _opening.lock:
            if self._is_closed:
                raise UsageError("the store is closed; open one with: with loopkit.sync.open_store(url) as store")
            if self._process != os.getpid():
                self._of_parents.append(self._storage)
                self._storage, self._process = None, os.getpid()
            if self._storage is None:
                self._storage = stores.connect(self._url, stalled_after=self._stalled_after)
            return self._storage

    def close(self) -> None:
        """Close the store; it cannot be used any more."""
        with _opening.lock:
            self._is_closed = True
            storage, self._storage = self._storage, None
        if storage is not None and self._process == os.getpid():
            call_in_background(storage.aclose())

    def get_run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            RunNotFound: there is no such run.
        """
        return call_in_background(self.opened().get_run(run_id))

    def list_runs(self, query: RunQuery | None = None) -> RunPage:
        """Return a page of runs, newest first."""
        return call_in_background(self.opened().list_runs(RunQuery() if query is None else query))

    def list_events(self, run_id: str, *, after: int = 0, limit: int = 500) -> list[RunEvent]:
        """Return the events of a run with an id > ``after``, in order of id."""
        return call_in_background(self.opened().list_events(run_id, after=after, limit=limit))

    def list_artifacts(self, run_id: str) -> list[Artifact]:
        """Return the artifacts of a run, in order of id."""
        return call_in_background(self.opened().list_artifacts(run_id))

    def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        """Request that a run is cancelled, and return it as it is then."""
        return call_in_background(self.opened().request_cancel(run_id, actor=actor))

    def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        """Queue a run like an ended one and return it."""
        return call_in_background(self.opened().retry(run_id, actor=actor, idempotency_key=idempotency_key))


AnyStore = SyncStore | Storage | str
"""Store of a blocking call: one of :func:`open_store`, an open async store, or a URL that is opened for the call."""


def run(
    agent: Agent,
    inputs: Mapping[str, Any] | None = None,
    *,
    store: AnyStore | None = None,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    title: str | None = None,
    tags: Sequence[str] | None = None,
    budget: Budget | None = None,
    lifespan: Lifespan | None = None,
) -> Result:
    """Make a run and work it here to its end; without a store it is kept in memory only.

    When the call is interrupted, the run goes back to the queue of the store, with its finished stages.

    Raises:
        InvalidInputs: the inputs do not fit the agent's schema.
        UnusableOption: an argument is of the wrong type, or a limit is out of its range.
        LeaseLost: another runner took the run over.
        StorageUnavailable: the store gave no answer.
    """
    start = partial(
        api.run,
        agent,
        inputs,
        cycle_id=cycle_id,
        max_attempts=max_attempts,
        pass_threshold=pass_threshold,
        title=title,
        tags=tags,
        budget=budget,
        lifespan=lifespan,
    )
    return call_in_background(_run(start, store))


def run_sync(
    agent: Agent,
    inputs: Mapping[str, Any] | None = None,
    *,
    store: AnyStore | None = None,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    title: str | None = None,
    tags: Sequence[str] | None = None,
    budget: Budget | None = None,
    lifespan: Lifespan | None = None,
) -> Result:
    """Make a run and work it in this thread to its end; all calls of one thread share an event loop.

    Args:
        store: a store of ``loopkit.sync.open_store`` or ``loopkit.open_store``, or a URL, which is opened and
            closed by the call; None: the run is kept in memory only.

    Raises:
        UsageError: an event loop runs in this thread; use ``await loopkit.run(...)`` or ``loopkit.sync.run(...)``.
    """
    try:
        current_token()
    except anyio.NoEventLoopError:
        pass
    else:
        raise UsageError(
            "run_sync cannot be called while an event loop runs; use: await loopkit.run(...), or, where nothing can be "
            "awaited: loopkit.sync.run(...)"
        )
    start = partial(
        api.run,
        agent,
        inputs,
        cycle_id=cycle_id,
        max_attempts=max_attempts,
        pass_threshold=pass_threshold,
        title=title,
        tags=tags,
        budget=budget,
        lifespan=lifespan,
    )
    return run_in_thread_loop(_run(start, store))


def submit(
    store: AnyStore,
    agent: Agent,
    inputs: Sequence[Mapping[str, Any]],
    *,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    title: str | None = None,
    tags: Sequence[str] | None = None,
    budget: Budget | None = None,
) -> list[Run]:
    """Queue a run for each of ``inputs``, all or none, and return them in the order of the inputs.

    Raises:
        InvalidInputs: some inputs do not fit the agent's schema; nothing was queued.
        UnusableOption: an argument is of the wrong type, or a limit is out of its range.
    """

    async def work() -> list[Run]:
        async with _opened(store) as storage:
            return await api.submit(
                storage,
                agent,
                inputs,
                cycle_id=cycle_id,
                max_attempts=max_attempts,
                pass_threshold=pass_threshold,
                title=title,
                tags=tags,
                budget=budget,
            )

    return call_in_background(work())


def label(store: AnyStore, run_id: str, *, title: str | Keep | None = KEEP, tags: Sequence[str] | Keep = KEEP) -> Run:
    """Update the title and the tags of a run, whatever its state, and return the run as it is then.

    Args:
        store: the store of the run.
        run_id: id of the run.
        title: the new title; None: no title; left out: the title stays.
        tags: tags in place of those that the run has; left out: they stay.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: a value is not a title or not tags, or the store cannot change them.
    """

    async def work() -> Run:
        async with _opened(store) as storage:
            return await api.label(storage, run_id, title=title, tags=tags)

    return call_in_background(work())


def wait(store: AnyStore, run_id: str) -> Result:
    """Wait until a run has ended, wherever it is worked, and return its result.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: an argument is of the wrong type.
    """

    async def work() -> Result:
        async with _opened(store) as storage:
            return await api.wait(storage, run_id)

    return call_in_background(work())


def follow(store: AnyStore, run_id: str, after: int = 0) -> Iterator[RunEvent]:
    """Yield the events of a run in order of id, waiting for further ones; end after the last event of an ended run.

    Args:
        after: only events with a larger id are yielded; to resume, the id of the last event that was seen.

    Raises:
        RunNotFound: there is no such run.
    """
    if isinstance(store, str):
        with open_store(store) as opened:
            yield from follow(opened, run_id, after)
        return
    storage = _storage_of(store)
    while True:
        # One page a call: nothing is left open in the background when the caller stops early.
        events, is_over = call_in_background(journal_reader.wait_for_events(storage, run_id, after=after))
        for event in events:
            after = event.id
            yield event
        if is_over:
            return


async def _run(start: Callable[..., Awaitable[Result]], store: AnyStore | None) -> Result:
    """Make a run by ``api.run``, bound to its arguments, in the store."""
    if store is None:
        return await start()
    async with _opened(store) as storage:
        return await start(store=storage)


@asynccontextmanager
async def _opened(store: AnyStore) -> AsyncIterator[Storage]:
    """Open a URL for the block; an open store stays open."""
    if isinstance(store, str):
        async with stores.open_store(store) as storage:
            yield storage
    else:
        yield _storage_of(store)


def _storage_of(store: SyncStore | Storage) -> Storage:
    if isinstance(store, SyncStore):
        return store.opened()
    if not hasattr(store, "get_run"):
        raise UnusableOption(
            f"the store must be an open store or a URL, not {kind_of(store)}; "
            "open one with: with loopkit.sync.open_store(url) as store"
        )
    return store
