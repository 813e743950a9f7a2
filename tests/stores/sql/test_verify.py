"""Every rule finds the rows that break it, and no others."""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import Connection, text

import loopkit
from loopkit.core import machine
from loopkit.core.audit import policy_audit
from loopkit.core.outcome import Produced
from loopkit.core.policy import Definition
from loopkit.core.run import EndReason
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.operations import export, verify
from loopkit.stores.sql.operations.checks import invariants
from loopkit.testing import steps
from loopkit.testing.steps import ANNA, scored, start_one
from tests.stores.sql import history_helpers
from tests.stores.sql.conftest import Foreign


def _ended_as(reason: str, kind: str) -> str:
    return f"UPDATE workflow_runs SET end_reason = '{reason}' WHERE id = :{kind}"


def _with_policy(policy: str, kind: str) -> str:
    return f"UPDATE workflow_runs SET policy = '{policy}' WHERE id = :{kind}"


PLANTS: list[tuple[set[str], str]] = [
    (
        {"status-known", "status-matches-end", "completed-only-when-ended"},
        "UPDATE workflow_runs SET status = 'done' WHERE id = :passed",
    ),
    ({"stage-known", "stage-in-journal"}, "UPDATE workflow_runs SET current_stage = 'thinking' WHERE id = :running"),
    ({"stage-only-while-running"}, "UPDATE workflow_runs SET current_stage = 'revising' WHERE id = :passed"),
    ({"lease-only-while-running"}, "UPDATE workflow_runs SET lease_id = 'x' WHERE id = :passed"),
    ({"lease-complete"}, "UPDATE workflow_runs SET heartbeat_at = NULL WHERE id = :running"),
    ({"attempt-in-range", "stage-in-journal"}, "UPDATE workflow_runs SET current_attempt = 4 WHERE id = :running"),
    (
        {"score-in-range", "final-score-is-best", "best-attempt-has-score"},
        "UPDATE workflow_runs SET final_score = 1.5 WHERE id = :passed",
    ),
    ({"passed-by-score", "end-follows-policy"}, "UPDATE workflow_runs SET pass_threshold = 0.95 WHERE id = :passed"),
    (
        {"passed-by-score", "final-score-is-best", "best-attempt-has-score"},
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
    ({"fencing-token-matches-claims"}, "UPDATE workflow_runs SET fencing_token = 2 WHERE id = :running"),
    (
        {"ended-once"},
        """UPDATE workflow_events SET metadata = '{"status": "failed"}' WHERE run_id = :spent AND seq = 1""",
    ),
    (
        {"end-is-last"},
        """UPDATE workflow_events SET metadata = '{"status": "passed"}' WHERE run_id = :passed AND seq = 1;
        UPDATE workflow_events SET metadata = NULL WHERE run_id = :passed
        AND seq = (SELECT event_seq FROM workflow_runs WHERE id = :passed)""",
    ),
    ({"status-matches-end", "end-follows-policy"}, "UPDATE workflow_runs SET status = 'failed' WHERE id = :passed"),
    (
        {"end-in-journal"},
        (
            "UPDATE workflow_events SET metadata = NULL WHERE run_id = :failed "
            "AND seq = (SELECT event_seq FROM workflow_runs WHERE id = :failed)"
        ),
    ),
    (
        {"failure-reason-known", "reason-matches-end"},
        """UPDATE workflow_events SET metadata = '{"status": "failed", "reason": "bad luck"}' WHERE run_id = :failed
        AND seq = (SELECT event_seq FROM workflow_runs WHERE id = :failed)""",
    ),
    ({"reason-matches-end"}, "UPDATE workflow_runs SET end_reason = NULL WHERE id = :failed"),
    ({"reason-only-when-ended"}, "UPDATE workflow_runs SET end_reason = 'plateau' WHERE id = :queued"),
    (
        {"stage-error-in-journal"},
        "UPDATE workflow_events SET event_type = 'log' WHERE run_id = :failed AND event_type = 'error'",
    ),
    (
        {"scores-in-journal"},
        (
            "UPDATE workflow_events SET event_type = 'log' WHERE run_id = :spent AND stage = 'evaluating' "
            "AND event_type = 'score_update'"
        ),
    ),
    ({"attempt-matches-end"}, "UPDATE workflow_runs SET current_attempt = 1 WHERE id = :passed"),
    (
        {"completed-at-matches-end"},
        "UPDATE workflow_runs SET completed_at = '2001-01-01 00:00:00+00:00' WHERE id = :failed",
    ),
    ({"stage-in-journal"}, "UPDATE workflow_runs SET current_stage = 'evaluating' WHERE id = :running"),
    ({"stage-in-journal"}, "UPDATE workflow_runs SET current_attempt = 1 WHERE id = :running"),
    (
        {"stage-in-journal"},
        """UPDATE workflow_events SET event_type = 'log' WHERE run_id = :running
        AND event_type = 'stage_change' AND stage = 'revising'""",
    ),
    ({"stage-has-its-input"}, "DELETE FROM workflow_artifacts WHERE run_id = :judging"),
    (
        {"artifacts-in-order", "verdict-has-its-output"},
        "DELETE FROM workflow_artifacts WHERE run_id = :running AND artifact_type = 'output'",
    ),
    ({"artifacts-in-order"}, "DELETE FROM workflow_artifacts WHERE run_id = 'f_passed' AND attempt = 1"),
    (
        {"attempts-bounded", "attempt-matches-end", "continues-by-policy"},
        "UPDATE workflow_runs SET max_attempts = 1, current_attempt = 1 WHERE id = :passed",
    ),
    ({"continues-by-policy"}, "UPDATE workflow_runs SET pass_threshold = 0.25 WHERE id = :passed"),
    (
        {"final-score-is-best", "best-attempt-has-score"},
        "UPDATE workflow_runs SET final_score = 0.85 WHERE id = :passed",
    ),
    ({"best-attempt-has-score"}, "UPDATE workflow_runs SET best_attempt = 1 WHERE id = :passed"),
    ({"best-attempt-has-score"}, "UPDATE workflow_runs SET best_attempt = 1 WHERE id = :queued"),
    (
        {"artifact-type-known", "artifacts-in-order"},
        (
            "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content) "
            "VALUES ('f_bare_passed', 1, 'output', 'a', ''), ('f_bare_passed', 2, 'note', 'b', '')"
        ),
    ),
    (
        {"evaluations-in-range", "final-score-is-best", "best-attempt-has-score"},
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
        {"no-stage-after-cancel", "end-in-journal"},
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
    (
        {"orphan-call"},
        (
            "INSERT INTO loopkit_usage (run_id, call_id, stage, attempt, try_number, state) "
            "VALUES ('nobody', 'c', 'producing', 1, 1, 'answered')"
        ),
    ),
    (
        {"orphan-verdict", "verdict-has-its-output"},
        (
            "INSERT INTO loopkit_verdicts (run_id, attempt, kind, name, sample, made_by, score, feedback, detail) "
            "VALUES ('nobody', 1, 'judge', 'n', 1, 'm', 0.5, '', '{}')"
        ),
    ),
    ({"verdict-has-its-output"}, "UPDATE loopkit_verdicts SET attempt = 2 WHERE run_id = :running"),
    ({"sums-match-calls"}, "UPDATE workflow_runs SET input_tokens = 4 WHERE id = :passed"),
    ({"sums-match-calls"}, "UPDATE workflow_runs SET output_tokens = 1 WHERE id = :queued"),
    ({"sums-match-calls"}, "UPDATE workflow_runs SET cost_nanos = 0 WHERE id = :queued"),
    ({"sums-match-calls"}, "UPDATE workflow_runs SET unpriced_calls = 0 WHERE id = :running"),
    ({"sums-match-calls"}, "UPDATE loopkit_usage SET cost_nanos = NULL WHERE run_id = :passed AND call_id = 'priced'"),
    ({"sums-match-calls"}, "DELETE FROM loopkit_usage WHERE run_id = :running"),
    ({"orphan-tag"}, "INSERT INTO loopkit_tags (run_id, tag) VALUES ('nobody', 'urgent')"),
    ({"title-valid"}, "UPDATE workflow_runs SET title = ' of spring' WHERE id = :queued"),
    ({"title-valid"}, "UPDATE workflow_runs SET title = '' WHERE id = 'f_queued'"),
    ({"tag-valid"}, "INSERT INTO loopkit_tags (run_id, tag) VALUES (:passed, 'a'), (:passed, 'two\nlines')"),
    (
        {"tag-valid"},
        f"INSERT INTO loopkit_tags (run_id, tag) VALUES (:passed, '{'x' * 51}')",
    ),
    (
        {"tags-bounded"},
        "INSERT INTO loopkit_tags (run_id, tag) VALUES " + ", ".join(f"(:passed, 't{number}')" for number in range(21)),
    ),
    ({"end-follows-policy"}, _with_policy("""{"budget": {"tokens": 13}}""", "broke")),
    ({"continues-by-policy"}, _with_policy("""{"stop": {"patience": 1}}""", "steady")),
    ({"stage-follows-policy"}, _with_policy("""{"drafts": 2}""", "passed")),
    ({"repeat-follows-policy"}, _with_policy("""{"stop": {"repeat": true}}""", "twice")),
]
POLICY_PLANTS: list[tuple[set[str], str]] = [
    ({"end-follows-policy"}, "UPDATE workflow_runs SET max_attempts = 2 WHERE id = :spent"),
    ({"end-follows-policy", "reason-matches-end"}, _ended_as("attempts_spent", "passed")),
    ({"end-follows-policy", "reason-matches-end"}, _ended_as("attempts_spent", "flat")),
    ({"end-follows-policy", "reason-matches-end"}, _ended_as("attempts_spent", "failed")),
    ({"end-follows-policy", "continues-by-policy", "reason-matches-end"}, _ended_as("repeated_output", "spent")),
    ({"end-follows-policy", "reason-matches-end"}, _ended_as("runner_lost", "failed")),
    ({"continues-by-policy", "reason-matches-end"}, _ended_as("stage_error", "flat")),
    ({"end-follows-policy"}, _with_policy("""{"stop": {"patience": 2, "minDelta": 0.1}}""", "flat")),
    ({"end-follows-policy"}, _with_policy("""{"stop": {"patience": 1, "minDelta": 0.01}}""", "flat")),
    ({"end-follows-policy"}, _with_policy("""{"drafts": 2}""", "repeated")),
    ({"end-follows-policy"}, _with_policy("""{"drafts": "two"}""", "passed")),
    ({"end-follows-policy"}, "UPDATE workflow_runs SET error_message = NULL WHERE id = :flat"),
    ({"end-follows-policy"}, "UPDATE workflow_runs SET error_message = 'it broke' WHERE id = :spent"),
    ({"continues-by-policy"}, _with_policy("""{"budget": {"tokens": 6}}""", "broke")),
    ({"continues-by-policy"}, _with_policy("""{"budget": {"usd": 1}}""", "twice")),
    ({"stage-follows-policy"}, _with_policy("""{"stop": {"repeat": true}}""", "repeated")),
    (
        {"repeat-follows-policy"},
        """UPDATE workflow_artifacts SET content = '{"score": 0.4}' WHERE run_id = :repeated
        AND artifact_type = 'evaluation' AND attempt = 2""",
    ),
]
"""Decided in Python alike for every database, so they are planted on SQLite alone."""
ON_TEXT_TIMES = [({"time-readable"}, "UPDATE workflow_runs SET heartbeat_at = 'soon' WHERE id = 'f_queued'")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[dict[str, Any]]]:
    return history_helpers.record(tmp_path_factory.mktemp("histories"))


@pytest.fixture
def filled(database: Database, foreign: Foreign, recorded: tuple[dict[str, str], list[dict[str, Any]]]) -> Database:
    """A database of each kind with runs of every kind, by loopkit and by another program."""
    with database.writing() as connection:
        export.import_runs(connection, database, recorded[1])
    history_helpers.write_foreign(foreign)
    return database


def rules_broken(database: Database, change: Callable[[Connection], None]) -> set[str]:
    """Return the rules that a change breaks; the change is undone afterwards."""
    database.guard()
    with database.writer.connect() as connection:
        change(connection)
        found = verify.check(connection, database)
        connection.rollback()
    assert all(violation.detail for violation in found)
    return {violation.rule for violation in found}


def assert_found(database: Database, made: dict[str, str], plants: Iterable[tuple[set[str], str]]) -> None:
    """Check that each planted violation is reported by its rules and by no others."""

    def plant(statements: str) -> Callable[[Connection], None]:
        def change(connection: Connection) -> None:
            for statement in statements.split(";"):
                named = {name: run_id for name, run_id in made.items() if f":{name}" in statement}
                connection.execute(text(statement), named)

        return change

    found = [(statement, names, rules_broken(database, plant(statement))) for names, statement in plants]
    assert [one for one in found if one[1] != one[2]] == []


def test_every_rule_finds_its_violation(filled: Database, recorded: tuple[dict[str, str], Any]) -> None:
    """Each planted violation is reported by its rule and by no other."""
    assert_found(filled, recorded[0], PLANTS + (ON_TEXT_TIMES if not isinstance(filled, PostgresqlDatabase) else []))


def test_every_decision_of_a_policy_is_made_again(
    sqlite_database: Database, recorded: tuple[dict[str, str], list[dict[str, Any]]]
) -> None:
    """An end, an attempt, a stage or a judgement that another policy leads to is reported, and nothing else."""
    with sqlite_database.writing() as connection:
        export.import_runs(connection, sqlite_database, recorded[1])
    assert_found(sqlite_database, recorded[0], POLICY_PLANTS)


def test_every_rule_has_a_planted_violation() -> None:
    """Every rule has a planted violation that it has to find."""
    rules = {rule.name.partition(":")[0] for group in invariants.RULE_GROUPS for rule in group.rules}
    assert rules.union(policy_audit.RULES) == set().union(*(names for names, _ in PLANTS + ON_TEXT_TIMES))


def test_valid_rows_break_no_rule(filled: Database, recorded: tuple[dict[str, str], Any]) -> None:
    """Rows of loopkit and of other programs break no rule, nor does a run of loopkit that another program claimed."""

    def work_elsewhere(connection: Connection) -> None:
        for statement in history_helpers.worked_elsewhere(recorded[0]):
            assert connection.execute(text(statement)).rowcount == 1

    assert rules_broken(filled, lambda connection: None) == set()
    assert rules_broken(filled, work_elsewhere) == set()


def test_the_number_of_violations_is_bounded(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many violations the first are returned, and one more that says that there are others."""
    monkeypatch.setattr(verify, "MOST", 2)
    with filled.writer.connect() as connection:
        connection.execute(text("UPDATE workflow_runs SET lost_leases = -1"))
        found = verify.check(connection, filled)
        connection.rollback()
    assert [violation.rule for violation in found] == ["lost-leases-bounded", "lost-leases-bounded", "more"]


@pytest.mark.parametrize("damaged", ["loopkit_keys_run", "loopkit_runs_cycle"])
def test_a_damaged_file_is_reported(tmp_path: Path, damaged: str) -> None:
    """An overwritten page is found even if no row is read from it; an intact file has no such violation."""
    history_helpers.record(tmp_path)
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
        assert rules_broken(spoiled, lambda connection: None) == {"file-intact"}


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        (EndReason.BUDGET_EXHAUSTED, {"budget": loopkit.Budget(tokens=1)}),
        (EndReason.PLATEAU, {"stop": loopkit.Stop(patience=1), "drafts": 2}),
        (EndReason.REPEATED_OUTPUT, {"stop": loopkit.Stop(repeat=True), "drafts": 2, "revise_from": "best"}),
    ],
    ids=str,
)
def test_runs_that_a_policy_ends_break_no_rule(tmp_path: Path, reason: EndReason, settings: dict[str, Any]) -> None:
    """For whatever reason of loopkit's own a run ends, and whatever its policy, its rows are valid."""

    def write(context: loopkit.StageContext) -> str:
        context.report_usage(input_tokens=1, output_tokens=1)
        return "again"

    agent = loopkit.Agent(name="a", produce=write, evaluate=lambda _: 0.5, max_attempts=5, **settings)
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    result = loopkit.run_sync(agent, {}, store=url)
    assert result.run.end_reason == reason

    with closing(open_database(url)) as database:
        assert rules_broken(database, lambda connection: None) == set()


@pytest.mark.parametrize("seed", range(3))
def test_runs_of_any_policy_break_no_rule(tmp_path: Path, seed: int) -> None:
    """Whatever the policy, the scores, the outputs and the usage are, a run that a runner ends is as it should be."""
    chance = random.Random(seed)
    url = f"sqlite:///{tmp_path / 'runs.db'}"

    async def work() -> Counter[str | None]:
        async with loopkit.open_store(url) as store:
            results = [await loopkit.run(drawn_agent(chance), {}, store=store) for _ in range(40)]
            return Counter(result.run.end_reason for result in results)

    reasons = anyio.run(work)
    assert len(reasons) >= 5, reasons
    with closing(open_database(url)) as database:
        assert rules_broken(database, lambda connection: None) == set()


def drawn_agent(chance: random.Random) -> loopkit.Agent:
    """Return an agent with a policy, scores, outputs and usage that ``chance`` draws; every value is seldom unique."""
    max_attempts = chance.randint(1, 6)

    def make(context: loopkit.StageContext) -> Any:
        if chance.random() < 0.03:
            raise ValueError("no output")
        priced = {"usd": 0.1} if chance.random() < 0.95 else {}
        context.report_usage(model="m", input_tokens=chance.randint(1, 3), output_tokens=1, **priced)
        return {"n": chance.randint(1, 6)} if chance.random() < 0.3 else f"{chance.randint(1, 12)}"

    def judge(_: loopkit.StageContext) -> dict[str, Any]:
        raw = {"raw": chance.randint(0, 10) / 10} if chance.random() < 0.3 else {}
        return {"score": chance.randint(0, 9) / 10, "feedback": "", **raw}

    patience = chance.choice([None, None, 1, 2])
    min_delta = chance.choice([0.0, 0.1, 0.3]) if patience else 0.0
    tokens, usd = chance.choice([None, None, 6, 12]), chance.choice([None, None, 0.2, 0.3])
    return loopkit.Agent(
        name="a",
        produce=make,
        evaluate=judge,
        max_attempts=max_attempts,
        drafts=chance.randint(1, max_attempts),
        revise_from=chance.choice(["last", "best"]),
        stop=loopkit.Stop(patience=patience, min_delta=min_delta, repeat=chance.random() < 0.5),
        budget=loopkit.Budget(tokens=tokens, usd=usd),
    )


def test_a_run_that_got_its_policy_late_breaks_no_rule(tmp_path: Path) -> None:
    """What an older loopkit did to a run is not judged by the policy that a later claim gave the run."""
    url, agent = f"sqlite:///{tmp_path / 'runs.db'}", Definition("d", {"drafts": 4, "stop": {"patience": 1}})

    async def work() -> loopkit.Run:
        async with loopkit.open_store(url) as store:
            held = await start_one(store, max_attempts=9)
            run = await steps.work(store, held, Produced("a"), scored(0.5), Produced("b"), scored(0.5), Produced("c"))
            await store.record(held.lease, machine.released_change(run, "upgrade"))
            with closing(open_database(url)) as database, database.writing() as connection:
                connection.execute(text("UPDATE workflow_runs SET policy = NULL"))
            held = await store.claim_run(ANNA, run.id, definition=agent)
            assert held.run.policy == agent.policy
            return await steps.work(store, held, scored(0.6), Produced("d"), scored(0.9))

    assert anyio.run(work).end_reason == EndReason.SCORE_PASSED
    with closing(open_database(url)) as database:
        assert rules_broken(database, lambda connection: None) == set()
