"""Runners that are killed, race with each other or are stopped, on every database."""

import signal
from collections import Counter

import pytest

from loopkit import wire
from tests.contract.conftest import Shell, wait_until

pytestmark = pytest.mark.chaos

STAGES = ["producing-1", "evaluating-1", "revising-2", "evaluating-2"]


def test_a_run_survives_kill_9_in_every_stage(shell: Shell) -> None:
    """Whoever is killed, in whatever stage, `worker --drain` goes on; no finished stage is called again."""
    killed = STAGES[:3]
    for stage in killed:
        held = shell.hold(stage)
        runner = shell.start(*(["run", "held"] if stage == "producing-1" else ["worker", "--drain"]))
        shell.wait_for_call(f"begin {stage}", by=runner)
        runner.kill()
        held.unlink()
        assert (shell.run.status, f"{shell.run.current_stage}-{shell.run.current_attempt}") == ("running", stage)
        wait_until(lambda: shell.run.stalled)
    shell("worker", "--drain")
    assert (shell.run.status, shell.run.final_score, shell.run.best_attempt) == ("passed", 1.0, 2)
    begun, ended = (
        Counter(f"{word} {stage}" for stage in stages) for word, stages in (("begin", STAGES + killed), ("end", STAGES))
    )
    assert Counter(shell.calls) == begun + ended
    assert (shell.messages.count("Started"), shell.messages.count("Taken over")) == (1, 3)
    assert shell("verify", "--json").json == {"violations": []}


def test_one_of_six_gets_the_run(shell: Shell) -> None:
    """Six `run --workflow-id` at once: one exits 0, five exit 3, and the stages are called once."""
    run_id = shell("submit", "held").stdout.strip()
    rivals = [shell.start("run", "held", "--workflow-id", run_id, "--json") for _ in range(6)]
    ends = [rival.end() for rival in rivals]
    assert sorted(end.status for end in ends) == [0, 3, 3, 3, 3, 3]
    assert [bool(end.stdout) for end in ends] == [end.status == 0 for end in ends]
    assert set(Counter(shell.calls).values()) == {1}


def test_a_signal_gives_the_run_back_after_the_stage(shell: Shell) -> None:
    """SIGTERM waits for the stage's end, keeps what it made, and leaves the run unclaimed: status 143."""
    held = shell.hold("producing-1")
    runner = shell.start("run", "held", "--json")
    shell.wait_for_call("begin producing-1", by=runner)
    runner.signal(signal.SIGTERM)
    runner.read_until("SIGTERM: the run goes back to the queue when this stage is finished")
    held.unlink()
    done = runner.end()
    assert done.status == 128 + signal.SIGTERM
    assert done.json == {**wire.run(shell.run), "output": None, "evaluation": None}
    assert (shell.run.status, shell.run.claimed_at, shell.run.current_stage) == ("queued", None, None)
    assert shell.made == ["attempt-1.md"]
    shell("worker", "--drain")
    assert shell.run.status == "passed"
    assert shell.calls.count("begin producing-1") == 1


def test_a_worker_stops_on_a_signal(local: Shell) -> None:
    """It claims nothing more, gives back what it holds after the stage, and exits 0."""
    local("submit", "held")
    held = local.hold("evaluating-1")
    worker = local.start("worker")
    local.wait_for_call("begin evaluating-1", by=worker)
    worker.signal(signal.SIGINT)
    worker.read_until("SIGINT: no new runs")
    held.unlink()
    assert worker.end().status == 0
    assert (local.run.status, local.run.claimed_at, local.run.final_score) == ("queued", None, 0.5)


@pytest.mark.parametrize(("command", "status"), [("run", 130), ("worker", 0)])
def test_a_second_signal_ends_at_once(local: Shell, command: str, status: int) -> None:
    """Even while a stage that cannot be stopped runs on; the run goes back to the queue without its result."""
    if command == "worker":
        local("submit", "held")
    local.hold("producing-1")
    runner = local.start(*(["run", "held"] if command == "run" else ["worker"]))
    local.wait_for_call("begin producing-1", by=runner)
    runner.signal(signal.SIGINT)
    runner.read_until("send it again to end at once")
    runner.signal(signal.SIGINT)
    assert runner.end().status == status
    assert (local.run.status, local.run.claimed_at) == ("queued", None)
    assert local.calls == ["begin producing-1"]


def test_a_third_signal_ends_even_a_blocked_event_loop(local: Shell) -> None:
    """An asynchronous stage that blocks cannot be told anything; the process goes, and the run will be taken over."""
    runner = local.start("run", "blocking")
    local.wait_for_call("blocking", by=runner)

    def is_gone() -> bool:
        runner.signal(signal.SIGINT)
        return runner.popen.poll() is not None

    wait_until(is_gone)
    assert runner.end().status == 130
    wait_until(lambda: local.run.stalled)


def test_another_process_cancels(local: Shell) -> None:
    """The runner sees it while the stage is under way, and ends with status 4."""
    local.hold("producing-1")
    runner = local.start("run", "held", "--json")
    local.wait_for_call("begin producing-1", by=runner)
    local("cancel", local.run.id)
    done = runner.end()
    assert (done.status, done.json["status"]) == (4, "cancelled")
