"""Panels whose runner is killed after each verdict: nobody is asked again, counted at the server of the models."""

import signal
import subprocess
import sys
from collections import Counter

import anyio
import pytest

import loopkit
from loopkit.core.panel.verdict import VerdictKind
from loopkit.stores import open_store
from loopkit.stores.sql.store import SqlStore
from tests.agents.model_server_helpers import Answer, ModelServer, Request, says
from tests.chaos.panel_program import STALLED_AFTER, judged_agent

pytestmark = pytest.mark.chaos

SCORES = {("facts", 1): 1.0, ("facts", 2): 0.8, ("facts", 3): 0.6, ("other", 1): 0.0}
"""Scores of each judge and sample, which the server knows from the request."""


def sample_of(request: Request) -> tuple[str, int]:
    """Return the judge and sample of a request."""
    return request.body["model"], request.body["seed"]


def judge(request: Request) -> Answer:
    """Answer as the judge and sample do."""
    return says(str(SCORES[sample_of(request)]))


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    database: str = request.getfixturevalue(request.param)
    return database


async def stored_samples(store: SqlStore, run_id: str) -> set[tuple[str, int]]:
    """Return the judges and samples whose verdict is stored."""
    verdicts = await store.list_verdicts(run_id, 1)
    return {(verdict.name, verdict.sample) for verdict in verdicts if verdict.kind is VerdictKind.JUDGE}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_judge_is_asked_again_after_a_kill(url: str) -> None:
    """Killed after each of its five verdicts, the run passes with each verdict once."""
    with ModelServer([judge]) as server:
        async with open_store(url, stalled_after=STALLED_AFTER) as store:
            (run,) = await loopkit.submit(store, judged_agent(server.url), [{}])
            for killed in range(6):
                before, stored = Counter(map(sample_of, server.requests)), await stored_samples(store, run.id)
                assert len(await store.list_verdicts(run.id, 1)) == killed
                done = await anyio.run_process(
                    [sys.executable, "-m", "tests.chaos.panel_program", url, server.url, "1"],
                    check=False,
                    stderr=subprocess.DEVNULL,
                )
                asked = Counter(map(sample_of, server.requests)) - before
                assert not stored & set(asked), "a judge was asked although its verdict was stored"
                if killed == 5:
                    break
                assert done.returncode == -signal.SIGKILL
                with anyio.fail_after(60):
                    while not (await store.get_run(run.id)).stalled:  # noqa: ASYNC110  (no process is left to tell)
                        await anyio.sleep(0.1)
            assert done.returncode == 0
            result = await loopkit.wait(store, run.id)
            assert (result.run.status, result.run.final_score) == ("passed", 0.8)
            assert result.evaluation is not None
            assert result.evaluation["judges"]["facts"]["samples"] == [1.0, 0.8, 0.6]
            events = Counter(event.message for event in await store.list_events(run.id))
            said = ["has_text: holds", "facts: 1.00", "facts: 0.80", "facts: 0.60", "other: 0.00"]
            assert [events[message] for message in said] == [1] * 5
