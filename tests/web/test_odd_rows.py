"""Rows that only another program can have written: they are shown, and do not disturb other runs."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

import loopkit
from loopkit.storage import Storage
from tests.web.app_helpers import client, listening, make_app, namer

HALF = "half \\ud83d of a pair"
DEEP = "[" * 400 + "]" * 400
INPUTS = ['[1, "x"]', "null", '"text"', "5", "{oops", '{"thing": NaN}', '{"thing": 1e999}', DEEP]
INPUTS += [f'{{"thing": {DEEP}}}', f'{{"{HALF}": 1}}', f'{{"thing": "{HALF}"}}']


class Database:
    """Database file to which another program writes."""

    def __init__(self, path: Path) -> None:
        self.engine = create_engine(f"sqlite:///{path}")

    def put(self, table: str, **row: Any) -> None:
        names = ", ".join(row)
        with self.engine.begin() as connection:
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES (:{names.replace(', ', ', :')})"), row)

    def queue(self, run_id: str, **row: Any) -> None:
        given = {"agent_name": "namer", "cycle_id": "c", "status": "queued", "max_attempts": 3, "pass_threshold": 0.8}
        self.put("workflow_runs", id=run_id, **given | {"inputs": '{"thing": "a cat"}'} | row)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Storage]:
    async with loopkit.open_store(f"sqlite:///{tmp_path}/loopkit.db") as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path, store: Storage) -> Iterator[Database]:
    database = Database(tmp_path / "loopkit.db")
    yield database
    database.engine.dispose()


async def shown(http: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    """Request every page and endpoint of a run, and return the run as the API does."""
    for page in ("", f"/{run_id}", f"/{run_id}?tab=inputs", f"/{run_id}?tab=events", f"/start?from={run_id}"):
        response = await http.get(f"/agents{page}")
        assert response.status_code == 200, page
        response.content.decode()
    runs: list[dict[str, Any]] = strict_json(await http.get("/api/workflows"))["runs"]
    [listed] = [run for run in runs if run["id"] == run_id]
    assert strict_json(await http.get(f"/api/workflows?id={run_id}")) == listed
    for more in ("workflow-events", "workflow-artifacts"):
        strict_json(await http.get(f"/api/{more}?runId={run_id}"))
    return listed


def strict_json(response: httpx.Response) -> Any:
    """Return the body of a successful response, parsed as strictly as JSON allows."""
    assert response.status_code < 300, response.text
    return json.loads(response.content.decode(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("inputs", INPUTS, ids=range(len(INPUTS)))
async def test_inputs_of_any_form_are_shown_and_judged(inputs: str, store: Storage, database: Database) -> None:
    """Every client sees an object, and the agent's schema decides whether the run can pass."""
    database.queue("odd", inputs=inputs)
    async with client(make_app(store)) as http:
        assert isinstance((await shown(http, "odd"))["inputs"], dict)
        await loopkit.Runner(store, [namer()]).drain()
        ended = await shown(http, "odd")
        assert ended["status"] == ("passed" if inputs == INPUTS[-1] else "failed")
        again = strict_json(await http.post("/api/workflow-retry?id=odd"))
        assert isinstance(again["inputs"], dict)
        assert strict_json(await http.post(f"/api/workflow-cancel?id={again['id']}"))["status"] == "cancelled"


@pytest.mark.parametrize("metadata", ['{"x": NaN}', '{"x": 1e999}', f'{{"x": "{HALF}"}}', f'{{"x": {DEEP}}}', "[1]"])
async def test_metadata_of_any_form_are_shown(metadata: str, store: Storage, database: Database) -> None:
    """In the list of events, on the page and in the stream, metadata is an object."""
    database.queue("odd")
    database.put("workflow_events", run_id="odd", event_type="log", message="mine", metadata=metadata)
    app = make_app(store)
    async with client(app) as http:
        await shown(http, "odd")
        [event] = strict_json(await http.get("/api/workflow-events?runId=odd"))["events"]
        assert isinstance(event["metadata"], dict)
        async with listening(app, "/api/workflow-events", "runId=odd") as stream:
            assert await stream.event() == event | {"#": str(event["id"])}


LONG = "9" * 400
"""Digits of a whole number that no float can hold."""
LONG_NUMBERS = (
    f'{{"score": {LONG}, "criteria": {{"a": {LONG}}}, "judges": {{"j": {{"score": {LONG}, "weight": {LONG}}}}}}}'
)


@pytest.mark.parametrize("judged", [f'{{"score": 0.5, "feedback": "{HALF}"}}', '{"score": NaN}', DEEP, LONG_NUMBERS])
async def test_evaluations_of_any_form_are_shown(judged: str, store: Storage, database: Database) -> None:
    """Every tab of the run's page shows them."""
    database.queue("odd", status="failed", completed_at="2026-11-22T10:00:00.000Z", current_attempt=1)
    row = {"attempt": 1, "artifact_type": "evaluation", "filename": "attempt-1.eval.json", "content": judged}
    database.put("workflow_artifacts", run_id="odd", **row)
    async with client(make_app(store)) as http:
        await shown(http, "odd")
        assert (await http.get("/agents/odd?tab=evaluation")).status_code == 200


@pytest.mark.parametrize("most", [0, -1, 2**31])
async def test_limits_of_any_size_are_shown(most: int, store: Storage, database: Database) -> None:
    """A run with any limit of attempts is listed and shown."""
    database.queue("odd", max_attempts=most)
    async with client(make_app(store)) as http:
        assert (await shown(http, "odd"))["maxAttempts"] == most
