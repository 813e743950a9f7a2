"""The comparison of two runs: inputs that differ, and scores that are not on one scale."""

import attrs

import loopkit
from loopkit import Agent, MemoryStore
from loopkit_web.dashboard.views.comparison_view import input_changes, scale_fault


def test_inputs_that_differ_are_shown_around_the_first_difference() -> None:
    """Equal inputs are left out whatever the order of their keys; of long texts the part that differs is shown."""
    before = {"same": {"a": 1, "b": 2}, "topic": "cats", "old": 1, "long": "x" * 5_000 + "cat", "flag": True}
    after = {"same": {"b": 2, "a": 1}, "topic": "dogs", "new": None, "long": "x" * 5_000 + "dog", "flag": 1}
    changes = {change.name: (change.before, change.after) for change in input_changes(before, after)}
    assert changes == {
        "topic": ("cats", "dogs"),
        "old": ("1", None),
        "new": (None, "null"),
        "long": ("… " + "x" * 60 + "cat", "… " + "x" * 60 + "dog"),
        "flag": ("true", "1"),
    }


async def test_runs_of_a_changed_agent_are_not_ranked() -> None:
    """An agent whose definition was changed between two runs may judge otherwise: the scores are not compared."""
    store = MemoryStore()
    runs = []
    for threshold in (0.5, 0.6):
        agent = Agent(name="brief", produce=lambda _: "x", evaluate=lambda _: 0.7, pass_threshold=threshold)
        runs.append((await loopkit.run(agent, {}, store=store)).run)
    stored = [attrs.evolve(run, definition=digest) for run, digest in zip(runs, ("one", "two"), strict=True)]
    assert scale_fault(*stored).startswith("The agent was changed between the two runs")
    assert scale_fault(stored[0], attrs.evolve(stored[1], definition=None)) == ""
