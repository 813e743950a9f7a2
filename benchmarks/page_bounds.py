"""Bounds of the dashboard's pages, over generated rows: ``python -m benchmarks.page_bounds 10000``.

Makes runs of random shapes, with values up to the limits of what may be stored, opens every page of each and every
address of the API, and prints the worst one by the time that one callback kept the event loop (CPU time of its thread,
which other programs on the machine do not change), by the memory that it took beyond what the process had, and, for
pages, by bytes. The argument is the number of pages in all. A second argument is the first seed.
"""

import asyncio
import ctypes
import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
from starlette.types import Message

import loopkit
from benchmarks.generated_rows import make_runs, write_foreign_rows
from loopkit import Agent
from loopkit_web import App, allow_all, create_app

MAX_LOOP_SECONDS = 0.05
MAX_MEMORY_MB = 64.0
MAX_BYTES = 1_000_000


@attrs.frozen(kw_only=True)
class Measurement:
    """Cost of one page."""

    page: str
    loop_seconds: float
    memory_mb: float
    size: int
    status: int


class LoopWatch:
    """Longest CPU time of one callback of asyncio, as long as it is installed."""

    def __init__(self) -> None:
        self.longest = 0.0
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            self.longest = max(self.longest, time.thread_time() - began)

        asyncio.Handle._run = timed  # type: ignore[assignment,method-assign]


def _memory_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def _reset_peak_memory() -> float:
    """Make the memory that the process has now the peak, and return it, in MB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory_mb("VmRSS")


def pages_of(first: str, second: str) -> Iterator[str]:
    """Yield the paths of the pages of two runs."""
    yield from ("/agents", "/agents?part=rows", "/agents?status=queued", "/runners", "/runners?part=all")
    for tab in ("timeline", "artifacts", "evaluation", "inputs", "raw"):
        yield f"/agents/{first}?tab={tab}"
    yield f"/agents/{first}?tab=artifacts&attempt=1"
    yield f"/agents/{first}?tab=timeline&part=live"
    yield f"/agents/{second}?tab=inputs"
    yield f"/agents/{first}/events?after=0"
    for view in ("split", "rendered"):
        yield f"/agents/{first}/compare?view={view}"
    yield f"/compare?runs={first},{second}"
    yield f"/agents/start?from={first}"
    yield f"/agents/start?from={second}"


def api_addresses(first: str, second: str) -> Iterator[str]:
    """Yield the addresses of the API that answer with what two runs hold."""
    yield from ("/api/workflows", "/api/runners", "/api/stats", "/api/metrics")
    yield f"/api/workflows?id={second}"
    yield f"/api/workflow-artifacts?runId={first}"
    yield f"/api/workflow-events?runId={first}"
    yield f"/api/workflow-events?runId={first}&stream"


async def _request(app: App, path: str) -> tuple[int, int]:
    """Request a path, and return the status and the bytes of the response; nothing of it is kept."""
    path, _, query = path.partition("?")
    streams = query.endswith("&stream")
    accept = b"text/event-stream" if streams else b"text/html"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.removesuffix("&stream").encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", accept), (b"accept-encoding", b"identity")],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 4000),
    }
    status = size = 0
    is_requested = False
    ended = asyncio.Event()

    async def receive() -> Message:
        nonlocal is_requested
        if is_requested:
            await ended.wait()
            return {"type": "http.disconnect"}
        is_requested = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, size
        if message["type"] == "http.response.start":
            status = message["status"]
        size += len(message.get("body", b""))

    await app(scope, receive, send)
    ended.set()
    return status, size


async def measure(folder: str, pages: int, seed: int, report: Callable[[Measurement, str], None]) -> None:
    """Open pages of runs of random shapes, and report each."""
    watch = LoopWatch()
    opened = 0
    while opened < pages:
        database = Path(folder) / f"{seed}.db"
        draw = random.Random(seed)
        agent = Agent(name="namer", produce=lambda _: "x", evaluate=lambda _: 1.0, inputs={"type": "object"})
        async with loopkit.open_store(f"sqlite:///{database}") as store:
            app = create_app(store, [agent], access=allow_all)
            await _request(app, "/agents")  # compiles the template and loads modules, once in a process
            ids, shape = await make_runs(store, draw)
            gc.collect()
            gc.freeze()  # collections before each page need not look at the modules again
            shape = f"seed {seed}: {shape}; {write_foreign_rows(database, ids, draw)}"
            for path in (*pages_of(ids[0], ids[1]), *api_addresses(ids[0], ids[1])):
                cost = await _measured(app, path, watch)
                page = cost.page.replace(ids[0], "A").replace(ids[1], "B")
                report(attrs.evolve(cost, page=page), shape)
                opened += 1
        database.unlink()
        seed += 1


async def _measured(app: App, path: str, watch: LoopWatch) -> Measurement:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that the page before has freed would hide what this one takes
    before = _reset_peak_memory()
    await asyncio.sleep(0)
    watch.longest = 0.0  # what was above ran in the callback before this one
    status, size = await _request(app, path)
    memory = _memory_mb("VmHWM") - before
    return Measurement(page=path, loop_seconds=watch.longest, memory_mb=memory, size=size, status=status)


def main(arguments: list[str]) -> int:
    """Run the benchmark, and return 1 if a bound is broken."""
    worst: dict[str, tuple[float, Measurement, str]] = {}
    failed: list[str] = []
    allowed = {"loop, ms": 1000 * MAX_LOOP_SECONDS, "memory, MB": MAX_MEMORY_MB, "size, KB": MAX_BYTES / 1000}
    counted = 0

    def report(cost: Measurement, shape: str) -> None:
        nonlocal counted
        counted += 1
        is_page = not cost.page.startswith("/api/")
        values = {"loop, ms": 1000 * cost.loop_seconds, "memory, MB": cost.memory_mb}
        values |= {"size, KB": cost.size / 1000} if is_page else {}
        for name, value in values.items():
            if name not in worst or value > worst[name][0]:
                worst[name] = (value, cost, shape)
            if value > allowed[name]:
                failed.append(f"{value:.0f} {name}: {cost.page} ({shape})")
        if cost.status != 200:
            failed.append(f"{cost.status} {cost.page} ({shape})")

    pages = int(arguments[0]) if arguments else 300
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(folder, pages, seed, report))
    print(f"{counted} pages\n\n| bound | worst | allowed | page | rows |\n|---|---|---|---|---|")
    for name, (value, cost, shape) in worst.items():
        print(f"| {name} | {value:.0f} | {allowed[name]:.0f} | `{cost.page}` | {shape} |")
    print(f"{len(failed)} faults" + "".join(f"\n  {line}" for line in failed[:40]))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
