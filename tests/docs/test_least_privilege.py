"""The roles of docs/how-to/least-privilege.md can do what the page says, and no more."""

from collections.abc import Iterator
from datetime import timedelta

import anyio
import psycopg
import pytest
from sqlalchemy import make_url

import loopkit
from tests.docs.page_helpers import DOCS, blocks

AGENT = loopkit.Agent(name="one", produce=lambda ctx: "text", evaluate=lambda ctx: 1.0)
ROLES = ("loopkit_worker", "loopkit_reader")


def plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def page(postgres_url: str) -> Iterator[list[str]]:
    """The page's statements; its roles are dropped after the test."""
    yield [block.text for block in blocks(DOCS / "how-to/least-privilege.md") if block.language == "sql"]
    with psycopg.connect(plain(postgres_url), autocommit=True) as owner:
        for role in ROLES:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role, password="change-me").render_as_string(hide_password=False)


async def touch(url: str) -> None:
    async with loopkit.open_store(url):
        pass


async def use(url: str) -> None:
    """Do everything that workers and dashboards do."""
    async with loopkit.open_store(url) as store:
        result = await loopkit.run(AGENT, {}, store=store)
        assert result.status == "passed"
        [first, second] = await loopkit.submit(store, AGENT, [{}, {}])
        await store.request_cancel(first.id)
        await loopkit.Runner(store, [AGENT]).drain()
        assert (await loopkit.wait(store, second.id)).status == "passed"
        await store.retry(second.id)
        assert await store.check() == []
        await store.runners()
        await store.stats()


async def prune(url: str) -> list[str]:
    async with loopkit.open_store(url) as store:
        return await store.prune(timedelta(0))


def test_the_roles(postgres_url: str, page: list[str]) -> None:
    """The worker's role runs loops but deletes nothing until it is granted; the reader's reads only."""
    anyio.run(touch, postgres_url)
    make, grant_delete = page
    with psycopg.connect(plain(postgres_url), autocommit=True) as owner:
        owner.execute(make)
        worker, reader = (as_role(postgres_url, role) for role in ROLES)

        anyio.run(use, worker)
        with pytest.raises(loopkit.LoopkitError):
            anyio.run(prune, worker)
        with psycopg.connect(plain(worker)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE more (id int)")
        with psycopg.connect(plain(reader)) as connection:
            assert connection.execute("SELECT count(*) FROM workflow_runs").fetchone() == (4,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("UPDATE workflow_runs SET cancel_requested_at = now()")

        owner.execute(grant_delete)
        assert len(anyio.run(prune, worker)) == 3
