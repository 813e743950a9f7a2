"""However large the outputs of one batch are, they get to PostgreSQL: more than a socket takes at once included."""

import socket
from collections.abc import Iterator

import anyio
import psycopg
import pytest

from loopkit.core import machine, strict_json
from loopkit.core.outcome import Produced
from loopkit.stores import open_store
from loopkit.testing.steps import start_one
from tests.servers.postgres import Databases
from tests.servers.proxy import Proxy

OUTPUTS = ["a" * (strict_json.MAX_OUTPUT_BYTES - 64), "b" * (strict_json.MAX_OUTPUT_BYTES - 64), "\u00e9" * 1_000_000]
HANGING_SECONDS = 30.0


@pytest.fixture
def anyio_backend() -> str:
    """What differs between event loops is not what talks to the database."""
    return "asyncio"


@pytest.fixture
def tcp_url(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database, by a port."""
    with psycopg.connect(postgres_url) as known:
        host, port, user, name = known.info.host, known.info.port, known.info.user, known.info.dbname

    def connect() -> socket.socket:
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    with Proxy(connect) as proxy:
        yield f"postgresql://{user}@127.0.0.1:{proxy.port}/{name}"


@pytest.mark.parametrize("kind", ["postgres_url", "tcp_url"])
async def test_large_outputs_come_back_whole(
    request: pytest.FixtureRequest, postgres_server: Databases, postgres_url: str, kind: str
) -> None:
    """Outputs of nearly the size that is allowed, several in one batch, are written and read back as they were."""
    url = request.getfixturevalue(kind)
    async with open_store(url) as store:
        with anyio.move_on_after(HANGING_SECONDS) as patience:
            held = [await start_one(store) for _ in OUTPUTS]
            async with anyio.create_task_group() as tasks:
                for one, output in zip(held, OUTPUTS, strict=True):
                    tasks.start_soon(store.record, one.lease, machine.advance(one.run, Produced(output)))
            kept = [await store.list_artifacts(one.run.id) for one in held]
            assert [artifact.content for [artifact] in kept] == OUTPUTS
        if patience.cancelled_caught:
            postgres_server.drop(postgres_url)  # else the writer would hang on, and the store wait for it
    assert not patience.cancelled_caught, "the writer hangs"
