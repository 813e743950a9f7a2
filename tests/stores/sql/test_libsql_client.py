"""Whole transactions go to a real libSQL server as one request, over kept connections."""

import socket
import threading
from collections.abc import Iterator

import pytest

from loopkit.stores.sql.databases.libsql_client import Client, ConnectionLost, ErrorResponse


@pytest.fixture
def client(libsql_url: str) -> Iterator[Client]:
    made = Client(libsql_url)
    made.transaction([("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c REAL)", ())])
    yield made
    made.close()


def content(client: Client) -> list[tuple[object, ...]]:
    return client.read([("SELECT a, b, c FROM t ORDER BY a", ())])[0].rows


def test_rows_are_read_as_they_were_written(client: Client) -> None:
    """Values of every type survive, by position and by name, and RETURNING yields rows in the result of its step."""
    big, odd = 2**62 + 1, "ü'\N{SNOWMAN}\n\""
    results = client.transaction(
        [
            ("INSERT INTO t VALUES (?, ?, ?) RETURNING a, b, c", (big, odd, 0.1)),
            ("INSERT INTO t VALUES (:a, :b, NULL)", {"a": 1, "b": None}),
            ("UPDATE t SET b = 'x' WHERE a = :a RETURNING a AS again", {"a": 1}),
        ]
    )
    assert [result.rows for result in results] == [[(big, odd, 0.1)], [], [(1,)]]
    assert results[1].affected == 1
    assert results[2].columns == ("again",)
    assert content(client) == [(1, "x", None), (big, odd, 0.1)]


def test_a_failing_step_undoes_the_transaction(client: Client) -> None:
    """After an error nothing of the transaction is stored, later steps have not run, and the lock is free."""
    steps = [
        ("INSERT INTO t (a) VALUES (1)", ()),
        ("INSERT INTO t (a) VALUES (1)", ()),
        ("INSERT INTO t (a) VALUES (2)", ()),
    ]
    with pytest.raises(ErrorResponse, match="UNIQUE") as caught:
        client.transaction(steps)
    assert caught.value.code == "SQLITE_CONSTRAINT"
    assert content(client) == []
    client.transaction([("INSERT INTO t (a) VALUES (3)", ())])
    assert content(client) == [(3, None, None)]


def test_threads_share_a_client(client: Client) -> None:
    """Transactions of many threads take turns; none is lost."""

    def add() -> None:
        for _ in range(20):
            client.transaction([("INSERT INTO t (b) VALUES ('x')", ())])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(content(client)) == 80


def test_a_connection_is_kept_and_a_closed_one_replaced(client: Client) -> None:
    """Requests use the same connection until the server closes it."""
    content(client)
    (kept,) = next(iter(client._idle.values()))
    content(client)
    assert next(iter(client._idle.values())) == [kept]
    kept.sock.shutdown(socket.SHUT_RDWR)
    assert content(client) == []
    assert next(iter(client._idle.values())) != [kept]


def test_no_response_in_time_is_an_unknown_outcome() -> None:
    """The wait for a silent server ends at the time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.05)
        with pytest.raises(ConnectionLost, match="no response"):
            client.transaction([("SELECT 1", ())])


def test_another_status_is_an_error_response(libsql_url: str) -> None:
    """The error contains what the server sent in place of a result."""
    client = Client(f"{libsql_url}/nowhere")
    with pytest.raises(ErrorResponse, match="HTTP status 404") as caught:
        client.read([("SELECT 1", ())])
    assert caught.value.code == "HTTP_404"
    client.close()
