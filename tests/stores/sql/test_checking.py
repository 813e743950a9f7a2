"""Every rule finds what breaks it, and nothing else breaks a rule."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from loopkit.stores.sql import checking, copying, invariants
from loopkit.stores.sql.dialects import Database, Kind, open_database
from tests.stores.sql import histories
from tests.stores.sql.conftest import Foreign

PLANTS: list[tuple[set[str], str]] = [
    (
        {"status-known", "ended-stays", "completed-only-when-ended"},
        "UPDATE workflow_runs SET status = 'done' WHERE id = :passed",
    ),
    ({"stage-known", "stage-told"}, "UPDATE workflow_runs SET current_stage = 'thinking' WHERE id = :running"),
    ({"stage-only-while-running"}, "UPDATE workflow_runs SET current_stage = 'revising' WHERE id = :passed"),
    ({"lease-only-while-running"}, "UPDATE workflow_runs SET lease_id = 'x' WHERE id = :passed"),
    ({"lease-whole"}, "UPDATE workflow_runs SET heartbeat_at = NULL WHERE id = :running"),
    ({"attempt-in-range", "stage-told"}, "UPDATE workflow_runs SET current_attempt = 4 WHERE id = :running"),
    (
        {"score-in-range", "best-score-kept", "best-attempt-kept"},
        "UPDATE workflow_runs SET final_score = 1.5 WHERE id = :passed",
    ),
    ({"passed-by-score"}, "UPDATE workflow_runs SET pass_threshold = 0.95 WHERE id = :passed"),
    (
        {"passed-by-score", "best-score-kept", "best-attempt-kept"},
        "UPDATE workflow_runs SET final_score = NULL WHERE id = :passed",
    ),
    ({"cancelled-on-request"}, "UPDATE workflow_runs SET cancel_requested_at = NULL WHERE id = :cancelled"),
    ({"completed-only-when-ended"}, "UPDATE workflow_runs SET completed_at = created_at WHERE id = :queued"),
    ({"ended-has-completed-at"}, "UPDATE workflow_runs SET completed_at = NULL WHERE id = :failed"),
    ({"lost-leases-bounded"}, "UPDATE workflow_runs SET lost_leases = 3 WHERE id = :running"),
    ({"lost-leases-bounded"}, "UPDATE workflow_runs SET lost_leases = -1 WHERE id = :failed"),
    (
        {"lease-unique"},
        (
            "UPDATE workflow_runs SET lease_id = (SELECT lease_id FROM workflow_runs WHERE id = :running) "
            "WHERE id = :other_running"
        ),
    ),
    ({"seq-gapless"}, "UPDATE workflow_runs SET event_seq = event_seq + 1 WHERE id = :queued"),
    ({"seq-gapless"}, "DELETE FROM workflow_events WHERE run_id = :passed AND seq = 3"),
    ({"seq-gapless"}, "UPDATE workflow_events SET seq = 7 - seq WHERE run_id = :running AND seq IN (3, 4)"),
    ({"seq-gapless"}, "UPDATE workflow_events SET seq = 3 WHERE run_id = :running AND seq = 4"),
    ({"fencing-told"}, "UPDATE workflow_runs SET fencing_token = 2 WHERE id = :running"),
    (
        {"ended-once"},
        """UPDATE workflow_events SET metadata = '{"status": "failed"}' WHERE run_id = :spent AND seq = 1""",
    ),
    (
        {"ended-last"},
        """UPDATE workflow_events SET metadata = '{"status": "passed"}' WHERE run_id = :passed AND seq = 1;
        UPDATE workflow_events SET metadata = NULL WHERE run_id = :passed
        AND seq = (SELECT event_seq FROM workflow_runs WHERE id = :passed)""",
    ),
    ({"ended-stays"}, "UPDATE workflow_runs SET status = 'failed' WHERE id = :passed"),
    (
        {"ended-told"},
        (
            "UPDATE workflow_events SET metadata = NULL WHERE run_id = :failed "
            "AND seq = (SELECT event_seq FROM workflow_runs WHERE id = :failed)"
        ),
    ),
    (
        {"failed-for-a-reason"},
        """UPDATE workflow_events SET metadata = '{"status": "failed", "reason": "bad luck"}' WHERE run_id = :failed
        AND seq = (SELECT event_seq FROM workflow_runs WHERE id = :failed)""",
    ),
    (
        {"scores-told"},
        (
            "UPDATE workflow_events SET event_type = 'log' WHERE run_id = :spent AND stage = 'evaluating' "
            "AND event_type = 'score_update'"
        ),
    ),
    ({"attempt-told"}, "UPDATE workflow_runs SET current_attempt = 1 WHERE id = :passed"),
    ({"completed-told"}, "UPDATE workflow_runs SET completed_at = '2001-01-01 00:00:00+00:00' WHERE id = :failed"),
    ({"stage-told"}, "UPDATE workflow_runs SET current_stage = 'evaluating' WHERE id = :running"),
    ({"stage-told"}, "UPDATE workflow_runs SET current_attempt = 1 WHERE id = :running"),
    (
        {"stage-told"},
        """UPDATE workflow_events SET event_type = 'log' WHERE run_id = :running
        AND event_type = 'stage_change' AND stage = 'revising'""",
    ),
    ({"stage-has-its-work"}, "DELETE FROM workflow_artifacts WHERE run_id = :judging"),
    ({"artifacts-in-order"}, "DELETE FROM workflow_artifacts WHERE run_id = :running AND artifact_type = 'output'"),
    ({"artifacts-in-order"}, "DELETE FROM workflow_artifacts WHERE run_id = 'f_passed' AND attempt = 1"),
    (
        {"attempts-bounded", "attempt-told"},
        "UPDATE workflow_runs SET max_attempts = 1, current_attempt = 1 WHERE id = :passed",
    ),
    ({"no-attempt-after-a-pass"}, "UPDATE workflow_runs SET pass_threshold = 0.25 WHERE id = :passed"),
    (
        {"best-score-kept", "best-attempt-kept"},
        "UPDATE workflow_runs SET final_score = 0.85 WHERE id = :passed",
    ),
    ({"best-attempt-kept"}, "UPDATE workflow_runs SET best_attempt = 1 WHERE id = :passed"),
    ({"best-attempt-kept"}, "UPDATE workflow_runs SET best_attempt = 1 WHERE id = :queued"),
    (
        {"artifact-type-known", "artifacts-in-order"},
        (
            "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content) "
            "VALUES ('f_bare_passed', 1, 'output', 'a', ''), ('f_bare_passed', 2, 'note', 'b', '')"
        ),
    ),
    (
        {"judgements-in-range", "best-score-kept", "best-attempt-kept"},
        "UPDATE workflow_artifacts SET score = -0.5 WHERE run_id = :running AND artifact_type = 'evaluation'",
    ),
    (
        {"event-type-known"},
        (
            "UPDATE workflow_events SET event_type = 'note' WHERE run_id = :queued AND seq IS NULL; "
            "INSERT INTO workflow_events (run_id, event_type) VALUES (:queued, 'note')"
        ),
    ),
    (
        {"no-stage-after-cancel", "ended-told"},
        (
            "UPDATE workflow_events SET stage = 'producing' WHERE run_id = :stopped "
            "AND seq = (SELECT event_seq FROM workflow_runs WHERE id = :stopped)"
        ),
    ),
    ({"orphan-event"}, "INSERT INTO workflow_events (run_id, event_type) VALUES ('nobody', 'log')"),
    (
        {"orphan-artifact"},
        (
            "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content) "
            "VALUES ('nobody', 1, 'output', 'a', '')"
        ),
    ),
    ({"orphan-key"}, "INSERT INTO loopkit_keys (key, fingerprint, run_id) VALUES ('k', 'f', 'nobody')"),
]
ON_TEXT_TIMES = [({"time-readable"}, "UPDATE workflow_runs SET heartbeat_at = 'soon' WHERE id = 'f_queued'")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[dict[str, Any]]]:
    return histories.record(tmp_path_factory.mktemp("histories"))


@pytest.fixture
def filled(database: Database, foreign: Foreign, recorded: tuple[dict[str, str], list[dict[str, Any]]]) -> Database:
    """A database of each kind with runs of every kind, loopkit's own and another program's."""
    with database.writing() as connection:
        copying.import_runs(connection, recorded[1])
    histories.write_foreign(foreign)
    return database


def rules_broken(database: Database, change: Callable[[Connection], None]) -> set[str]:
    """The rules that a change breaks; it is undone afterwards."""
    database.guard()
    with database.writer.connect() as connection:
        change(connection)
        found = checking.check(connection)
        connection.rollback()
    assert all(violation.detail for violation in found)
    return {violation.rule for violation in found}


def test_every_rule_finds_its_breach(filled: Database, recorded: tuple[dict[str, str], Any]) -> None:
    """Each planted breach is found under its name, and no other rule cries out."""
    made = recorded[0]

    def plant(statements: str) -> Callable[[Connection], None]:
        def change(connection: Connection) -> None:
            for statement in statements.split(";"):
                named = {name: run_id for name, run_id in made.items() if f":{name}" in statement}
                connection.execute(text(statement), named)

        return change

    plants = PLANTS + (ON_TEXT_TIMES if filled.kind is not Kind.POSTGRESQL else [])
    found = [(statement, names, rules_broken(filled, plant(statement))) for names, statement in plants]
    assert [one for one in found if one[1] != one[2]] == []


def test_every_rule_has_a_plant() -> None:
    """No rule is left without a breach that it has to find."""
    rules = {rule.name.partition(":")[0] for look in invariants.LOOKS for rule in look.rules}
    assert rules == set().union(*(names for names, _ in PLANTS + ON_TEXT_TIMES))


def test_what_is_valid_breaks_nothing(filled: Database, recorded: tuple[dict[str, str], Any]) -> None:
    """Runs that loopkit made and rows of other programs are clean, also where another program took a run of ours."""

    def work_elsewhere(connection: Connection) -> None:
        for statement in histories.worked_elsewhere(recorded[0]):
            assert connection.execute(text(statement)).rowcount == 1

    assert rules_broken(filled, lambda connection: None) == set()
    assert rules_broken(filled, work_elsewhere) == set()


def test_a_flood_of_breaches_is_cut(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more breaches than anybody reads the first are given, and one says that there are more."""
    monkeypatch.setattr(checking, "MOST", 2)
    with filled.writer.connect() as connection:
        connection.execute(text("UPDATE workflow_runs SET lost_leases = -1"))
        found = checking.check(connection)
        connection.rollback()
    assert [violation.rule for violation in found] == ["lost-leases-bounded", "lost-leases-bounded", "more"]


@pytest.mark.parametrize("damaged", ["loopkit_keys_run", "loopkit_runs_cycle"])
def test_a_damaged_file_is_told(tmp_path: Path, damaged: str) -> None:
    """A page that is overwritten is found though no row is read by it, and a whole file has no such breach."""
    histories.record(tmp_path)
    file = tmp_path / "histories.db"
    with closing(open_database(f"sqlite:///{file}")) as whole:
        assert rules_broken(whole, lambda connection: None) == set()
    with closing(sqlite3.connect(file)) as connection:
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (damaged,))
        [(size,)] = connection.execute("PRAGMA page_size")
    with file.open("r+b") as pages:
        pages.seek((root - 1) * size)
        pages.write(b"\xff" * size)
    with closing(open_database(f"sqlite:///{file}")) as spoiled:
        assert rules_broken(spoiled, lambda connection: None) == {"file-whole"}
