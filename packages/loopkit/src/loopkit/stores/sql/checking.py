"""Looking for rows that break an invariant, in bounded memory: the database judges, and only breaches come over."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection

from loopkit.storage import Violation
from loopkit.stores.sql.invariants import LOOKS, Look

MOST: Final = 10_000
"""How many breaches of the same rows are told one by one."""
MOST_DAMAGE: Final = 100
"""How many faults of a damaged file are told."""


def check(connection: Connection) -> list[Violation]:
    """Give every breach found; of very many the first, and one without a run that says so.

    Where SQLite says that the file is damaged, give that alone: what its rows say is not to be relied on.

    The connection has to show one state to all statements, or runs that move meanwhile look broken.
    """
    if connection.dialect.name == "postgresql":
        # Compiling these conditions takes PostgreSQL longer than judging a hundred thousand runs by them.
        connection.exec_driver_sql("SELECT set_config('jit', 'off', true)")
    if connection.dialect.driver == "pysqlite" and (damage := list(_damage(connection))):
        return damage
    return [violation for look in LOOKS for violation in _breaches(connection, look)]


def _damage(connection: Connection) -> Iterator[Violation]:
    for (found,) in connection.exec_driver_sql(f"PRAGMA quick_check({MOST_DAMAGE})"):
        for line in found.splitlines():
            if line != "ok" and not line.startswith("***"):  # a heading, which names the database
                yield Violation(rule="file-whole", run_id=None, detail=line)


def _breaches(connection: Connection, look: Look) -> Iterator[Violation]:
    found = connection.execute(look.statement.limit(MOST + 1)).all()
    for run_id, *details in found[:MOST]:
        for rule, detail in zip(look.rules, details, strict=True):
            if detail is not None:
                yield Violation(rule=rule.name.partition(":")[0], run_id=run_id, detail=detail)
    if len(found) > MOST:
        names = ", ".join(dict.fromkeys(rule.name.partition(":")[0] for rule in look.rules))
        yield Violation(rule="more", run_id=None, detail=f"more than {MOST} rows break one of: {names}")
