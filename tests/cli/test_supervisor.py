"""``worker --processes``: real runner processes, some of them killed, under one supervisor."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loopkit.runner import Metrics
from loopkit_cli.logs import LogFormat
from loopkit_cli.main import main
from loopkit_cli.runner_process import Order
from loopkit_cli.settings import Settings
from loopkit_cli.supervisor import Supervisor
from loopkit_cli.value_types import usable_cores
from tests.cli.conftest import Program

PATIENCE_SECONDS = 120.0

AGENTS = """
agents:
  waiter: # produces as soon as there is a file `go`
    produce: {python: "waiter:produce"}
    evaluate: {python: "waiter:evaluate"}
"""

STAGES = """
import pathlib, time

def produce(ctx):
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
    with open("calls", "a") as calls:
        calls.write(ctx.run_id + "\\n")
    return "x"

def evaluate(ctx):
    return 1.0
"""

TAKEN_OVER_SOON = ("--heartbeat", "0.2", "--stalled-after", "3")
"""For a test that waits for it; a process that stands still for three seconds loses its runs."""


@pytest.fixture
def folder(cli: Program) -> Path:
    """A folder with an agent whose stage waits, and six queued runs of it."""
    (cli.folder / "agents.yaml").write_text(AGENTS)
    (cli.folder / "waiter.py").write_text(STAGES)
    (cli.folder / "batch").write_text("{}\n" * 6)
    cli.good("submit", "waiter", "--batch", "batch")
    return cli.folder


@contextmanager
def working(folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Work the runs of a folder by two processes, which are gone when the block ends."""
    program = str(Path(sys.executable).with_name("loopkit-cli"))
    command = [program, "worker", "--processes", "2", "--concurrency", "2", *options]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def query(folder: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "loopkit.db", timeout=60)) as database:
        return database.execute(statement).fetchall()


def holders(folder: Path) -> Counter[int]:
    """The processes that hold runs, each with the number of its runs."""
    rows = query(folder, "select claimed_by from workflow_runs where status = 'running'")
    return Counter(int(name.split(":")[1]) for (name,) in rows)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def both_hold(folder: Path) -> Counter[int]:
    """Wait until two processes hold two runs each; return them."""
    wait_until(lambda: sorted(holders(folder).values()) == [2, 2])
    return holders(folder)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def statuses(folder: Path) -> dict[str, int]:
    return dict(query(folder, "select status, count(*) from workflow_runs group by 1"))


def test_processes_drain_the_queue_together(folder: Path) -> None:
    """Each run is worked once; the counts, the log and the exit status are those of one worker."""
    with working(folder, "--drain", "--json") as process:
        both_hold(folder)
        (folder / "go").touch()
        document = json.loads(process.communicate(timeout=PATIENCE_SECONDS)[0])
    assert process.returncode == 0
    assert (document["claimed"], document["passed"], document["busy"], document["slots"]) == (6, 6, 0, 4)
    assert document["left"] == []
    assert sorted(Counter((folder / "calls").read_text().split()).values()) == [1] * 6
    log = (folder / "log").read_text()
    assert log.count("working runs of waiter, 2 at once in each of 2 processes") == 1
    assert log.count("claimed 6 · passed 6") == 1
    assert log.count(" of agent waiter: Passed ") == 6


def test_a_killed_process_is_replaced(folder: Path) -> None:
    """By another one, which is said; its runs go on when they are stalled, and the metrics of all go on growing."""
    with working(folder, "--metrics", "127.0.0.1:0", *TAKEN_OVER_SOON) as process:
        killed, other = both_hold(folder)
        os.kill(killed, signal.SIGKILL)
        wait_until(
            lambda: f"runner process {killed} ended (killed by SIGKILL); starting" in (folder / "log").read_text()
        )
        wait_until(lambda: len(set(holders(folder)) - {killed}) == 2)
        (folder / "go").touch()
        wait_until(lambda: statuses(folder) == {"passed": 6})
        port = (folder / "log").read_text().partition("metrics at http://127.0.0.1:")[2].partition("/")[0]

        def ended() -> float:
            page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
            assert "loopkit_slots 4\n" in page
            lines = [line for line in page.splitlines() if line.startswith("loopkit_runs_ended_total")]
            return sum(float(line.rpartition(" ")[2]) for line in lines)

        wait_until(lambda: ended() == 6)
        assert is_alive(other)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_the_first_signal_lets_stages_finish(folder: Path) -> None:
    """It is answered by one line, nothing stays claimed, and the status is 0."""
    with working(folder) as process:
        pids = both_hold(folder)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM: no new runs" in (folder / "log").read_text())
        assert all(map(is_alive, pids))
        (folder / "go").touch()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert not any(map(is_alive, pids))
    assert (folder / "log").read_text().count("send it again to end at once") == 1
    assert query(folder, "select count(*) from workflow_runs where status = 'queued' and claimed_at is null") == [(6,)]
    assert query(folder, "select count(*) from workflow_artifacts") == [(4,)]


def test_the_second_signal_ends_the_stages(folder: Path) -> None:
    """Also when the terminal sends both to every process of the group."""
    with working(folder) as process:
        pids = both_hold(folder)
        for each in (process.pid, *pids):
            os.kill(each, signal.SIGINT)
        wait_until(lambda: "SIGINT: no new runs" in (folder / "log").read_text())
        for each in (process.pid, *pids):
            os.kill(each, signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) in (0, 130)
    wait_until(lambda: not any(map(is_alive, pids)))


def test_processes_stop_without_their_supervisor(folder: Path) -> None:
    """As at a first signal: their stages finish, and nothing stays claimed.

    A run may pass until they notice that they are alone.
    """
    with working(folder) as process:
        pids = both_hold(folder)
        process.kill()
        process.wait()
        (folder / "go").touch()
        wait_until(lambda: not any(map(is_alive, pids)))
    assert set(statuses(folder)) <= {"queued", "passed"}
    assert query(folder, "select count(*) from workflow_runs where status = 'running'") == [(0,)]


def test_an_error_that_no_other_process_would_survive_ends_all(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With the sentence and the status that a worker of one process would end with."""
    settings = Settings(
        database="sqlite:///loopkit.db",
        config="nowhere.yaml",
        heartbeat=timedelta(seconds=30),
        stalled_after=timedelta(seconds=120),
        as_json=False,
    )
    order = Order(settings=settings, names=(), concurrency=1, drain=False, log_level="info", log_format=LogFormat.TEXT)
    supervisor = Supervisor(order, 2, write=print)
    assert supervisor.run() == 2
    assert supervisor.failure is not None
    assert "nowhere.yaml" in supervisor.failure.sentence
    assert "Traceback" not in capfd.readouterr().err


def test_the_number_of_processes_is_checked(cli: Program) -> None:
    """``auto`` is the number of usable cores; what a worker of one process refuses is refused before any starts."""
    for wrong in ("0", "1025", "two"):
        assert "--processes" in cli.refused(2, "worker", "--processes", wrong)
    assert cli.refused(2, "worker", "--processes", "2", "--database", "sqlite:////nowhere/x.db").startswith("Error")
    assert "no agent 'nobody'" in cli.refused(2, "worker", "--processes", "2", "--agent", "nobody")
    assert usable_cores() == len(os.sched_getaffinity(0))
    assert main(["worker", "--processes", "auto", "--drain", "--agent", "loser"]) == 0


def test_counts_of_processes_are_added_up() -> None:
    """Counters and every bucket of the histograms."""
    total, one = Metrics(), Metrics()
    one.count_claim("a")
    one.count_release("b")
    for _ in range(2):
        total.add(one)
    assert [line for line in total.lines() if not line.startswith("#")] == [
        'loopkit_runs_claimed_total{agent="a"} 2',
        'loopkit_runs_released_total{agent="b"} 2',
    ]
