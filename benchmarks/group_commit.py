"""Group commit by hand, as a script would do it: one thread writes all waiting changes together.

This is the limit that loopkit is measured against: the same rows into the same tables with the same durability, and
nothing else: no leases, no fences, no checks, no alternative branches.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from benchmarks import standard

Row = tuple[Any, ...]


class WriteSet:
    """Rows that one boundary of one loop writes."""

    __slots__ = ("artifact", "events", "future", "row")

    def __init__(self, row: Row, events: list[Row], artifact: Row | None) -> None:
        self.future: asyncio.Future[None]
        self.row = row
        self.events = events
        self.artifact = artifact


class Grouper:
    """Thread that writes all waiting changes in one transaction, and wakes the waiters after the commit."""

    def __init__(self, write: Callable[[list[WriteSet]], None]) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._waiting: list[WriteSet] = []
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._main)
        self._thread.start()

    async def put(self, one: WriteSet) -> None:
        one.future = self._loop.create_future()
        with self._lock:
            self._waiting.append(one)
        self._ready.set()
        await one.future

    def close(self) -> None:
        self._over = True
        self._ready.set()
        self._thread.join()

    def _main(self) -> None:
        while True:
            self._ready.wait()
            self._ready.clear()
            with self._lock:
                batch, self._waiting = self._waiting, []
            if batch:
                self._write(batch)
                self._loop.call_soon_threadsafe(_wake, batch)
            elif self._over:
                return


def _wake(batch: list[WriteSet]) -> None:
    for one in batch:
        one.future.set_result(None)


def stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(run_id: str, kind: str, stage: str | None, attempt: int, message: str, metadata: Any = None) -> Row:
    return (run_id, kind, stage, attempt, message, None if metadata is None else json.dumps(metadata), stamp())


async def work(run_id: str, number: int, grouper: Grouper) -> None:
    """Work one loop: four boundaries, with claim and end merged into them."""
    begun = [
        _event(run_id, "stage_change", None, 1, "Started", {"status": "running"}),
        _event(run_id, "stage_change", "producing", 1, "Producing"),
    ]
    for attempt, verb, stage in ((1, "Produced", "producing"), (2, "Revised", "revising")):
        name = f"attempt-{attempt}.md"
        events = [
            *begun,
            _event(run_id, "log", stage, attempt, f"{verb} ({name})", {"filename": name}),
            _event(run_id, "stage_change", "evaluating", attempt, "Evaluating"),
        ]
        made = (run_id, attempt, "output", name, standard.output(number), stamp())
        await grouper.put(WriteSet(("running", "evaluating", attempt, None, stamp(), None, run_id), events, made))
        judged = standard.evaluation(attempt)
        events = [
            _event(run_id, "score_update", "evaluating", attempt, f"Evaluated - Score: {judged['score']}", judged)
        ]
        kept = (run_id, attempt, "evaluation", f"attempt-{attempt}.eval.json", json.dumps(judged), stamp())
        if judged["score"] >= standard.THRESHOLD:
            events.append(_event(run_id, "stage_change", None, attempt, "Passed", {"status": "passed"}))
            row: Row = ("passed", None, attempt, judged["score"], stamp(), stamp(), run_id)
        else:
            events.append(_event(run_id, "stage_change", "revising", attempt + 1, "Revising"))
            row = ("running", "revising", attempt + 1, judged["score"], stamp(), None, run_id)
        await grouper.put(WriteSet(row, events, kept))
        begun = []


async def drain(
    write: Callable[[list[WriteSet]], None], claim: Callable[[int], list[str]], concurrency: int
) -> tuple[int, float]:
    """Work all queued loops, ``concurrency`` at a time; return their number and the seconds taken."""
    grouper = Grouper(write)
    done, began = 0, time.perf_counter()
    waiting: list[str] = []

    async def slot() -> None:
        nonlocal done
        while True:
            if not waiting:
                waiting.extend(claim(concurrency))
            if not waiting:
                return
            await work(waiting.pop(), done, grouper)
            done += 1

    await asyncio.gather(*(slot() for _ in range(concurrency)))
    grouper.close()
    return done, time.perf_counter() - began
