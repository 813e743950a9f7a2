"""Tests of runners and their backlog as the pages show them."""

from loopkit.fleet import Backlog, RunnerState
from loopkit_web.dashboard.views.runners_view import fleet_view, host_and_pid
from tests.web.dashboard.value_helpers import make_fleet, make_run, make_runner


def test_runners_are_ordered_and_those_that_left_are_hidden() -> None:
    """Live runners come first, then draining, late and lost ones."""
    states = [RunnerState.LOST, RunnerState.GONE, RunnerState.LATE, RunnerState.LIVE, RunnerState.DRAINING]
    fleet = make_fleet(*(make_runner(state, state, "a") for state in states))
    assert [runner.name for runner in fleet.runners] == ["live", "draining", "late", "lost"]
    assert [runner.name for runner in fleet.alive] == ["live", "draining", "late"]
    assert [runner.name for runner in fleet.serving("a")] == ["live", "late"]
    assert fleet.serving("b") == ()


def test_agent_without_a_runner_is_stuck() -> None:
    """Runs that no live or late runner serves are stuck, and come first."""
    backlog = tuple(Backlog(agent=name, queued=1, stalled=0, oldest_queued_at=None) for name in ("a", "b"))
    fleet = make_fleet(make_runner("host:1", RunnerState.LIVE, "a"), backlog=backlog)
    assert [agent.agent for agent in fleet.waiting] == ["b", "a"]
    assert [agent.agent for agent in fleet.stuck] == ["b"]
    assert fleet.queued_runs == 2


def test_free_slots_are_those_of_live_runners() -> None:
    """Slots of runners that claim nothing, or are late, are not free; a runner is never more than busy."""
    fleet = make_fleet(
        make_runner("host:1", RunnerState.LIVE, slots=4, busy=1),
        make_runner("host:2", RunnerState.LIVE, slots=1, busy=2),
        make_runner("host:3", RunnerState.DRAINING, slots=4),
    )
    assert (fleet.free, fleet.slots) == (3, 5)


def test_store_without_a_registry_has_no_view() -> None:
    """A store that does not record runners has no view of them."""
    assert fleet_view(None) is None


def test_host_and_pid_of_the_holder() -> None:
    """They are the first two parts of the claim, which other programs write too."""
    assert host_and_pid(make_run(claimed_by="atlas:42:lease")) == ("atlas", "42")
    assert host_and_pid(make_run(claimed_by="somebody")) == ("somebody", "")
    assert host_and_pid(make_run()) == ("", "")
