"""Verdict on a fleet: its database and its log of stage calls are compared with the promises."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs

from loopkit import ArtifactType, RunStatus
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.operations import run_queries
from tests.chaos.fleet_helpers import Fleet

Key = tuple[str, int, str]
"""A stage of a run: run, attempt, ``output`` or ``evaluation``."""
MADE_BY = re.compile(r"\b(\d+) (?:producing|evaluating|revising) \d+ x")
SLACK_SECONDS = 0.002


@attrs.frozen
class Call:
    """A line of the log: the begin or the end of a stage call."""

    moment: float
    pid: int
    ends: bool
    key: Key
    wakes: bool
    """True for the first line of a run by a worker that had been frozen: it was already entering the call."""


def judge(made: Fleet, acknowledged: list[str]) -> Counter[str]:
    """Check that nothing is lost, doubled or done again, and that every rule of the tables holds."""
    found = made.runs()
    assert {run.id for run in found} == set(acknowledged)
    assert all(run.ended for run in found)
    command = [str(Path(sys.executable).with_name("loopkit-cli")), "verify", "--database", made.url]
    verify = subprocess.run(command, capture_output=True, text=True)
    assert verify.returncode == 0, verify.stdout + verify.stderr
    calls = sorted(_calls(made), key=lambda call: call.moment)  # a frozen worker may write its line after later ones
    _judge_order(calls)
    _judge_stored(made, calls, acknowledged)
    for run in found:
        lost = run.status is RunStatus.FAILED and "runner_lost" in str(run.error_message)
        assert run.status is RunStatus.PASSED or lost, run
    ended = Counter(run.status.value for run in found)
    again = sum(run.fencing_token - 1 for run in found)
    begun = sum(not call.ends for call in calls)
    print(f"struck {dict(made.struck)}; {len(found)} runs acknowledged, {dict(ended)}, claimed again {again} times;")
    print(f"{begun} calls of stages; {verify.stderr.strip()}")
    return ended


def _calls(made: Fleet) -> Iterable[Call]:
    last: dict[tuple[int, str], float] = {}
    for line in made.log.read_text().splitlines():
        said, worker, word, run_id, stage, attempt = line.split()
        pid = int(worker)
        moment = float(said) - made.skews.get(pid, 0.0)
        before = last.get((pid, run_id), 0.0)
        wakes = any(before <= thaw <= moment for thaw, thawed in made.thaws if thawed == pid)
        last[pid, run_id] = moment
        kind = ArtifactType.EVALUATION if stage == "evaluating" else ArtifactType.OUTPUT
        yield Call(moment, pid, word == "end", (run_id, int(attempt), kind.value), wakes)


def _judge_order(calls: Iterable[Call]) -> None:
    """Check that no stage begins after a later stage of its run: the later one started from an acknowledged result."""
    furthest: dict[str, tuple[int, bool]] = {}
    for call in calls:
        run_id, attempt, kind = call.key
        place = attempt, kind == ArtifactType.EVALUATION.value
        if not call.ends and not call.wakes:
            assert place >= furthest.get(run_id, place), f"{call} goes back behind {furthest[run_id]}"
            furthest[run_id] = place


def _judge_stored(made: Fleet, calls: Iterable[Call], run_ids: Iterable[str]) -> None:
    """Check that a call that ended made each stored result, and that its stage was not called again afterwards."""
    begun: dict[Key, list[Call]] = {}
    ended: set[tuple[Key, int]] = set()
    for call in calls:
        if call.ends:
            ended.add((call.key, call.pid))
        else:
            begun.setdefault(call.key, []).append(call)
    database = open_database(made.url)
    with database.reading() as connection:
        for run_id in run_ids:
            for artifact in run_queries.list_artifacts(connection, run_id):
                key = run_id, artifact.attempt, artifact.artifact_type.value
                maker = MADE_BY.search(artifact.content)
                assert maker
                assert (key, int(maker[1])) in ended, f"{key} is stored and no such call ended"
                stored = artifact.created_at.timestamp() + SLACK_SECONDS
                late = [call for call in begun[key] if call.moment > stored and not call.wakes]
                assert not late, f"{key} was stored at {stored} and called again: {late}"
    database.close()
