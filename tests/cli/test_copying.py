"""copy: everything to another database, or nothing is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import loopkit
from loopkit.core.run import NewRun
from loopkit.stores.sql.store import SqlStore
from loopkit_cli.copying import move
from loopkit_cli.exits import Refused
from tests.cli.conftest import Program


def test_everything_moves(cli: Program) -> None:
    """Runs, journals and artifacts are the same there; the old database names the new one and is closed."""
    passed, queued = cli.run(), cli.submit()
    events = cli.good("events", passed["id"], "--json").json
    artifacts = cli.good("artifacts", passed["id"], "--json").json
    assert cli.good("copy", "--to", "sqlite:///new.db", "--json").json == {"copied": 2}
    assert "moved to sqlite:///new.db" in cli.refused(2, "list")
    there = ("--database", "sqlite:///new.db")
    assert cli.good("show", passed["id"], "--json", *there).json == passed
    assert cli.good("events", passed["id"], "--json", *there).json == events
    assert cli.good("artifacts", passed["id"], "--json", *there).json == artifacts
    assert cli.good("verify", "--json", *there).json == {"violations": []}
    cli.good("worker", "--drain", *there)
    assert cli.good("show", queued, "--json", *there).json["status"] == "passed"


def test_a_copy_needs_an_empty_target_and_something_to_copy(cli: Program) -> None:
    """Also when the target is the source; the source stays open."""
    assert "there are no runs to copy" in cli.refused(1, "copy", "--to", "sqlite:///loopkit.db")
    cli.submit()
    assert "must be empty" in cli.refused(1, "copy", "--to", "sqlite:///loopkit.db")
    cli.good("list")


def test_a_held_run_is_not_copied(cli: Program) -> None:
    """Its runner would write to the old database."""
    run_id = cli.submit()
    cli.sql("update workflow_runs set status='running', claimed_at=datetime('now'), claimed_by='other:1'")
    assert f"run {run_id} is running" in cli.refused(1, "copy", "--to", "sqlite:///new.db")
    cli.good("list")


class Late:
    """A store into which runs are copied while somebody still works on the source."""

    def __init__(self, store: SqlStore, source: SqlStore) -> None:
        self._store, self._source = store, source

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def import_runs(self, runs: Sequence[Mapping[str, Any]]) -> None:
        await self._store.import_runs(runs)
        await self._source.request_cancel(runs[0]["run"]["id"])


async def test_what_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    """A run cancelled between copying and comparing leaves the source open."""
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("old", "new")]
    async with loopkit.open_store(urls[0]) as source, loopkit.open_store(urls[1]) as target:
        (run,) = await source.submit([NewRun(agent_name="writer", inputs={})])
        with pytest.raises(Refused, match=f"run {run.id} was changed"):
            await move(source, Late(target, source), urls[1])
    async with loopkit.open_store(urls[0]) as source:
        assert (await source.get_run(run.id)).status == "cancelled"


def test_a_password_is_not_told(cli: Program) -> None:
    """Neither on the terminal nor in the old database."""
    cli.submit()
    assert "hush" not in cli.refused(2, "copy", "--to", "postgresql://me:hush@127.0.0.1:1/db")
