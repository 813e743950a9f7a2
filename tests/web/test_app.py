"""Options of create_app() that no other file tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

import loopkit
from loopkit import MemoryStore, wire
from loopkit_web import create_app
from tests.web.app_helpers import client, make_app


@pytest.mark.parametrize(("options", "stalled"), [({"stalled_after": timedelta(seconds=60)}, True), ({}, False)])
async def test_the_stall_time_of_a_store_opened_by_its_url(
    tmp_path: Path, options: dict[str, Any], stalled: bool
) -> None:
    """A run 90 seconds after its last heartbeat is stalled if the time is 60 seconds, and not by default."""
    url = f"sqlite:///{tmp_path}/loopkit.db"
    async with loopkit.open_store(url):
        pass  # creates the tables
    heartbeat = wire.instant(datetime.now(UTC) - timedelta(seconds=90))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs,"
                " claimed_at, heartbeat_at) VALUES ('r', 'namer', 'c', 'running', 3, 0.8, '{}', :at, :at)"
            ),
            {"at": heartbeat},
        )
    engine.dispose()
    app = make_app(url, **options)
    async with app.lifespan(), client(app) as http:
        assert (await http.get("/api/workflows?id=r")).json()["stalled"] is stalled


def test_an_open_store_has_its_own_stall_time() -> None:
    """A stall time given with an open store would have no effect, so it is refused."""
    with pytest.raises(ValueError, match="stalled_after"):
        make_app(MemoryStore(), stalled_after=timedelta(seconds=60))


@pytest.mark.parametrize(
    "store",
    [
        None,
        Path("loopkit.db"),
        loopkit.open_store("sqlite:///loopkit.db"),
        loopkit.sync.open_store("sqlite:///loopkit.db"),
        MemoryStore,
    ],
    ids=lambda store: type(store).__name__,
)
def test_a_store_is_open_and_async(store: Any) -> None:
    """Anything else is refused when the app is created, with what to pass instead."""
    with pytest.raises(loopkit.UnusableOption, match=r"async with loopkit\.open_store\(url\) as store"):
        create_app(store, [])


@pytest.mark.parametrize("url", ["foo.db", "", "mysql://host/name"])
def test_a_url_is_that_of_a_database(url: str) -> None:
    """One that no request could open is refused when the app is created."""
    with pytest.raises(loopkit.InvalidDatabase, match="sqlite:///"):
        create_app(url, [])
