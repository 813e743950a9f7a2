"""SQLite files that change their place while they are open: no write is reported that nobody can find any more."""

import os
import shutil
from pathlib import Path

import pytest

import loopkit
from loopkit.errors import DatabaseDamaged
from loopkit.stores.sql.writes import sqlite_executor
from loopkit.testing.steps import ANNA, new_run, start_one, submit_one, work_to_end

pytestmark = pytest.mark.anyio


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, copied := path.with_suffix(".copy"))
    copied.rename(path)


@pytest.mark.parametrize("change", [delete, replace])
async def test_nothing_is_written_to_a_file_that_has_lost_its_name(tmp_path: Path, change: object) -> None:
    """Every verb says what has happened and what to do."""
    assert callable(change)
    path = tmp_path / "runs.db"
    async with loopkit.open_store(f"sqlite:///{path}") as store:
        held = await start_one(store)
        change(path)
        for call in (
            store.submit([new_run()]),
            store.claim(ANNA, {"writer": "d"}),
            work_to_end(store, held),
            store.request_cancel(held.run.id),
            store.get_run(held.run.id),
            store.heartbeat([held.lease]),
        ):
            with pytest.raises(DatabaseDamaged, match=r"runs\.db was deleted or replaced .* start them again"):
                await call


async def test_a_write_is_not_reported_when_the_file_is_deleted_during_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is done, in a file that nobody can open any more."""
    path = tmp_path / "runs.db"
    submit = sqlite_executor._submit

    def submit_and_delete(*arguments: object) -> None:
        submit(*arguments)  # type: ignore[arg-type]
        path.unlink()

    async with loopkit.open_store(f"sqlite:///{path}") as store:
        await submit_one(store)
        monkeypatch.setattr(sqlite_executor, "_submit", submit_and_delete)
        with pytest.raises(DatabaseDamaged, match="may be lost"):
            await submit_one(store)


async def test_a_link_may_be_in_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is written beside the file that it leads to."""
    links, files = tmp_path / "links", tmp_path / "files"
    links.mkdir()
    files.mkdir()
    (links / "runs.db").symlink_to(files / "runs.db")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != links and access(path, mode))
    async with loopkit.open_store(f"sqlite:///{links / 'runs.db'}") as store:
        await submit_one(store)
    assert (files / "runs.db").exists()
    assert [path.name for path in links.iterdir()] == ["runs.db"]
