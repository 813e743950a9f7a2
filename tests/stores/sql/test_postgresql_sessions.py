"""What a PostgreSQL server, a role or the environment is set to does not change what is stored."""

import secrets
from contextlib import suppress

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from loopkit.core.outcome import Produced
from loopkit.errors import InvalidDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.opener import open_database_migrated
from loopkit.stores.sql.store import SqlStore
from loopkit.testing.steps import look, scored, start_one, work
from tests.servers.postgres import Databases, Postgres


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: Databases, encoding: str) -> None:
    name = f"loopkit_test_{secrets.token_hex(6)}"
    create = "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgres_server.execute(sql.SQL(create).format(sql.Identifier(name), sql.Literal(encoding)))
    url = postgres_server.url(name)
    try:
        with pytest.raises(InvalidDatabase, match=f"has the encoding {encoding}.*create one with ENCODING 'UTF8'"):
            open_database_migrated(url)
    finally:
        postgres_server.drop(url)


async def test_settings_of_the_environment_and_the_database_change_nothing(
    postgres_server: Databases, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts and times come back as they are, whatever client encoding and form of dates are set."""
    name = sql.Identifier(str(make_url(postgres_url).database))
    for setting in (
        *("datestyle TO 'German, DMY'", "timezone TO 'Asia/Kathmandu'", "client_encoding TO 'LATIN1'"),
        *("extra_float_digits TO -10", "intervalstyle TO 'iso_8601'", "standard_conforming_strings TO off"),
        *("default_transaction_isolation TO 'serializable'", "default_transaction_deferrable TO on"),
    ):
        postgres_server.execute(sql.SQL(f"ALTER DATABASE {{}} SET {setting}").format(name))
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    monkeypatch.setenv("PGDATESTYLE", "German")
    async with SqlStore(open_database_migrated(postgres_url)) as store:
        held = await start_one(store)
        run = await work(store, held, Produced("Zoë 🎉"), scored(0.1234567890123456))
        assert (await look(store, run.id)).artifacts[0].content == "Zoë 🎉"
        assert (await store.get_run(run.id)).final_score == 0.1234567890123456
        assert run.created_at == (await store.get_run(run.id)).created_at
        assert await store.check() == []


async def test_a_search_path_is_followed_or_refused(postgres_server: Databases, postgres_url: str) -> None:
    """A schema of one's own holds the tables; one that does not exist is refused in a sentence."""
    name = sql.Identifier(str(make_url(postgres_url).database))
    postgres_server.execute(sql.SQL("ALTER DATABASE {} SET search_path TO loops").format(name))
    with pytest.raises(InvalidDatabase, match=r"no schema has been selected .*; create the schema that search_path"):
        open_database_migrated(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA loops")
    async with SqlStore(open_database_migrated(postgres_url)) as store:
        held = await start_one(store)
        assert await store.check() == []
    with psycopg.connect(postgres_url) as admin:
        assert admin.execute("SELECT id FROM loops.workflow_runs").fetchall() == [(held.run.id,)]


def test_the_server_notices_a_client_that_is_gone() -> None:
    """It drops the locks of a machine that vanished within half a minute, not after two hours."""
    with Postgres(tcp=True) as server:
        database = open_database(server.databases.create())
        for engine in database.writer, database.reader:
            with engine.connect() as connection:
                limits = {
                    name: connection.exec_driver_sql(f"SHOW {name}").scalar()
                    for name in (
                        "tcp_keepalives_idle",
                        "tcp_keepalives_interval",
                        "tcp_keepalives_count",
                        "tcp_user_timeout",
                    )
                }
            assert list(limits.values()) == ["10", "5", "3", "25000"]
        database.close()


@pytest.mark.postgres
def test_the_second_error_of_a_lost_connection_is_not_logged(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """psycopg's warning would reach the user's terminal, with driver text and without a sentence of ours."""
    open_database(postgres_url).close()
    connection = psycopg.connect(postgres_url)
    with suppress(ValueError), connection.pipeline():
        connection.execute("SELECT 1")
        connection.pgconn.finish()
        raise ValueError("first")
    assert caplog.records == []
