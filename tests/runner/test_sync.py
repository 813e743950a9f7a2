"""run_sync, outside any event loop."""

from __future__ import annotations

import loopkit
from tests.runner.loops import agent


def test_run_sync_works_a_run_in_memory() -> None:
    """Code that is not async gets the same result."""
    result = loopkit.run_sync(agent(), {"topic": "owls"})
    assert (result.status, result.output) == (loopkit.RunStatus.PASSED, "draft 2")
