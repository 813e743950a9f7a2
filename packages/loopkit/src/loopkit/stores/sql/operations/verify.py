"""Search for rows that break an invariant, in bounded memory: the database evaluates the conditions, and only
violations are transferred.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from loopkit.core.audit import policy_audit
from loopkit.storage import Violation
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations.checks import policy_rules
from loopkit.stores.sql.operations.checks.invariants import RULE_GROUPS
from loopkit.stores.sql.operations.checks.rules import RuleGroup

__all__ = ["MOST", "MOST_DAMAGE", "check"]

MOST: Final = 10_000
"""Most rows of one group of rules that are reported one by one."""
MOST_DAMAGE: Final = 100
"""Most faults of a damaged file that are reported."""


def check(connection: Connection, database: Database) -> list[Violation]:
    """Return all violations; of a very large number the first ones, and one without a run that says so.

    When the database reports that its file is damaged, only the damage is returned: its rows cannot be relied on.

    All statements of the connection have to see the same state, or runs that change meanwhile look broken.
    """
    database.prepare_checks(connection)
    if damage := database.find_damage(connection, MOST_DAMAGE):
        return [Violation(rule="file-intact", run_id=None, detail=line) for line in damage]
    violations = [violation for group in RULE_GROUPS for violation in _violations(connection, group)]
    return violations + _policy_violations(connection)


def _policy_violations(connection: Connection) -> list[Violation]:
    found = list(islice(policy_rules.find_violations(connection), MOST + 1))
    if len(found) > MOST:
        return [*found[:MOST], _more(policy_audit.RULES)]
    return found


def _violations(connection: Connection, group: RuleGroup) -> Iterator[Violation]:
    broken = connection.execute(group.statement.limit(MOST + 1)).all()
    for row in broken[:MOST]:
        details: Sequence[str | None] = row[1:]
        for rule, detail in zip(group.rules, details, strict=True):
            if detail is not None:
                yield Violation(rule=rule.name.partition(":")[0], run_id=row[0], detail=detail)
    if len(broken) > MOST:
        yield _more(rule.name.partition(":")[0] for rule in group.rules)


def _more(names: Iterable[str]) -> Violation:
    detail = f"more than {MOST} rows break one of: {', '.join(dict.fromkeys(names))}"
    return Violation(rule="more", run_id=None, detail=detail)
