"""Pass thresholds that an agent's checks do not allow, refused over HTTP and in the start form."""

import pytest

import loopkit
from loopkit import MemoryStore
from loopkit_web import allow_all, create_app
from tests.web.app_helpers import client


@pytest.mark.parametrize(("threshold", "status"), [(0.01, 422), (0.02, 201)])
async def test_a_threshold_below_held_scores_is_refused(threshold: float, status: int) -> None:
    """A failed check's score would pass it: 422 with the pointer of the field."""
    agent = loopkit.Agent(name="checked", produce=lambda ctx: "text", evaluate=loopkit.Panel(checks=[lambda ctx: True]))
    app = create_app(MemoryStore(), [agent], access=allow_all)
    async with client(app) as http:
        body = {"agentName": "checked", "inputs": {}, "passThreshold": threshold}
        response = await http.post("/api/workflows", json=body)
    assert response.status_code == status
    if status == 422:
        (fault,) = response.json()["errors"]
        assert fault["pointer"] == "/passThreshold"
        assert fault["detail"] == "must be at least 0.02 for an agent with checks or a pass_mark"
