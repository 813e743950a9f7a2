"""The command run."""

import pytest

from tests.cli.conftest import Program


def test_run_gives_the_best_output_and_tells_the_rest(cli: Program) -> None:
    """stdout holds the output alone; stderr tells of every event, the end, and what to do next."""
    done = cli.good("run", "writer", "--input", "topic=sheep")
    assert done.stdout == "revising: sheep, 100 words"
    for said in ("Producing", "Produced (attempt-1.md)", "Evaluated - Score: 0.50: go[2J on", "Revised (attempt-2.md)"):
        assert said in done.stderr
    run_id = cli.good("list", "--json").json["runs"][0]["id"]
    assert "Passed (1.00) at attempt 2 of 3" in done.stderr
    assert f"loopkit-cli events {run_id}" in done.stderr


def test_run_in_json_is_the_run(cli: Program) -> None:
    """One document in the shape of the API, and nothing else on stdout."""
    run = cli.good("run", "writer", "--input", "topic=sheep", "--cycle-id", "c1", "--max-attempts", "7", "--json").json
    result = {name: run.pop(name) for name in ("output", "evaluation")}
    assert run == cli.good("show", run["id"], "--json").json
    assert result["output"] == "revising: sheep, 100 words"
    assert result["evaluation"]["score"] == 1.0
    assert run["inputs"] == {"topic": "sheep", "length": 100}
    assert (run["agentName"], run["cycleId"], run["maxAttempts"]) == ("writer", "c1", 7)
    assert (run["status"], run["finalScore"], run["bestAttempt"], run["stalled"]) == ("passed", 1.0, 2, False)


def test_the_threshold_can_be_set(cli: Program) -> None:
    """A lower one passes earlier."""
    run = cli.good("run", "writer", "--input", "topic=a", "--pass-threshold", "0.5", "--json").json
    assert (run["passThreshold"], run["bestAttempt"]) == (0.5, 1)


def test_a_failed_run_exits_1_with_its_result(cli: Program) -> None:
    """Attempts used up: the best output still stands on stdout."""
    done = cli("run", "loser")
    assert (done.status, done.stdout) == (1, "producing: nothing, ? words")
    assert "Failed (0.50) at attempt 1 of 1" in done.stderr
    assert "loopkit-cli retry run_" in done.stderr


def test_a_stage_that_breaks_fails_the_run(cli: Program) -> None:
    """Its error is the run's, told without what could steer the terminal; there is no output."""
    done = cli("run", "broken")
    assert (done.status, done.stdout) == (1, "")
    assert "Failed at attempt 1 of 3" in done.stderr
    assert "Error: produce: RuntimeError: the stage broke" in done.stderr
    assert cli("run", "broken", "--json").json["errorMessage"] == "produce: RuntimeError: the stage broke"


def test_a_cancelled_run_exits_4(cli: Program) -> None:
    """Cancelled while it is worked here."""
    done = cli("run", "cancelled")
    assert done.status == 4
    assert "Cancelled at attempt 1 of 3" in done.stderr


def test_a_run_lost_to_another_exits_3(cli: Program) -> None:
    """Its late result is dropped, and what the other made of it is not this command's to show."""
    assert "is no longer held by this runner" in cli.refused(3, "run", "lost", "--json")
    run = cli.good("list", "--json").json["runs"][0]
    assert (run["status"], run["claimedBy"]) == ("running", "other:1")
    assert cli.good("artifacts", run["id"], "--json").json == {"artifacts": []}


def test_an_interrupted_run_goes_back_to_the_queue(cli: Program) -> None:
    """Status 128+2, the finished stage kept, and the next runner goes on after it."""
    done = cli("run", "interrupted", "--json")
    assert done.status == 130
    assert (done.json["status"], done.json["claimedAt"], done.json["claimedBy"]) == ("queued", None, None)
    assert "SIGINT: the run goes back to the queue when this stage is finished; send it again" in done.stderr
    run_id = done.json["id"]
    assert f"run interrupted --workflow-id {run_id}" in done.stderr
    assert [a["filename"] for a in cli.good("artifacts", run_id, "--json").json["artifacts"]] == ["attempt-1.md"]
    assert cli.good("run", "interrupted", "--workflow-id", run_id, "--json").json["status"] == "passed"


def test_what_stages_print_does_not_reach_stdout(cli: Program) -> None:
    """A child's output goes to stderr while the run is worked (the stage's own: see tests/contract)."""
    done = cli.good("run", "noisy", "--json")
    assert "echoed" not in done.stdout
    assert "echoed by a child" in done.stderr


def test_every_fault_of_the_inputs_is_said_at_once(cli: Program) -> None:
    """What is not JSON beside what the schema finds in the other inputs, and no input twice."""
    options = ("--input", "length=long", "--input", "a~/b=1", "--input", "other=2")
    assert cli.refused(2, "run", "writer", *options).splitlines() == [
        "Error: the inputs do not fit the agent",
        "  --input length: must be integer, written as JSON, but is not JSON: Expecting value at column 1",
        "  /a~0~1b: is not a known property",
        "  /other: is not a known property",
        "  /topic: is required",
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Missing argument 'AGENT'"),
        (["writer", "--nonsense"], "No such option '--nonsense'"),
        (
            ["nobody"],
            "no agent 'nobody' in agents.yaml; it has: broken, cancelled, interrupted, loser, lost, noisy, spender",
        ),
        (["writer"], "/topic: is required"),
        (["writer", "--input", "topic="], "/topic:"),
        (["writer", "--input", "topic=a", "--input", "other=1"], "other"),
        (["writer", "--input", "topic=a", "--input", "length=long"], "--input length: must be integer"),
        (["writer", "--input", "topic"], "write it as NAME=VALUE"),
        (["writer", "--input", "topic=@nowhere"], "cannot read 'nowhere'"),
        (["writer", "--inputs", "nowhere"], "--inputs: cannot read 'nowhere'"),
        (["writer", "--inputs", "agents.yaml"], "--inputs agents.yaml: is not JSON"),
        (["writer", "--input", "topic=\udcff"], "surrogate"),
        (["writer", "--input", "topic=a", "--max-attempts", "0"], "0 is not in the range"),
        (["writer", "--input", "topic=a", "--max-attempts", "many"], "'many' is not a valid int"),
        (["writer", "--input", "topic=a", "--pass-threshold", "1.1"], "1.1 is not in the range 0 to 1"),
        (["writer", "--input", "topic=a", "--pass-threshold", "nan"], "nan is not in the range 0 to 1"),
        (["writer", "--input", "topic=a", "--cycle-id", ""], "cycle id"),
        (["writer", "--workflow-id", "run_x", "--input", "topic=a"], "leave out --cycle-id, --input"),
        (["writer", "--workflow-id", "run_x", "--max-attempts", "3"], "leave out"),
        (["writer", "--input", "topic=a", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["writer", "--input", "topic=a", "--heartbeat", "61"], "must be at least twice --heartbeat"),
        (["writer", "--input", "topic=a", "--database", "nonsense"], "database URL cannot be read"),
        (["writer", "--input", "topic=a", "--database", "oracle://db/x"], "oracle"),
        (["writer", "--input", "topic=a", "--database", "sqlite:////nowhere/at/all.db"], "/nowhere/at/all.db"),
        (["writer", "--input", "topic=a", "--database", "postgresql://u:hush@127.0.0.1:1/x"], "127.0.0.1"),
        (["writer", "--input", "topic=a", "--database", "libsql://127.0.0.1:1"], "127.0.0.1"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(cli: Program, args: list[str], said: str) -> None:
    """Status 2, a sentence that says what is wrong, nothing on stdout and no run made."""
    told = cli.refused(2, "run", *args)
    assert said in told
    assert "hush" not in told
    assert not (cli.folder / "loopkit.db").exists() or cli.sql("select count(*) from workflow_runs") == [(0,)]


def test_a_stage_that_cannot_be_loaded_is_refused_before_a_run_is_made(cli: Program) -> None:
    """Status 1, and the runs of such an agent stay for a runner that can work them."""
    (cli.folder / "agents.yaml").write_text(
        'agents: {lost: {produce: {python: "no.such.module:f"}, evaluate: {python: "json:nothing"}}}'
    )
    told = cli.refused(1, "run", "lost", "--json")
    assert "produce" in told
    assert "no.such" in told
    assert "evaluate" in told
    queued = cli.submit("lost")
    assert "cannot be run here" in cli.refused(1, "run", "lost", "--workflow-id", queued)
    assert "no agent can be used here" in cli.refused(1, "worker", "--drain")
    assert cli.good("show", queued, "--json").json["status"] == "queued"


def test_a_queued_run_is_claimed_by_its_id(cli: Program) -> None:
    """Only that run, and only once: then it has ended and exits 3."""
    first, second = cli.submit(), cli.submit()
    assert cli.good("run", "writer", "--workflow-id", second, "--json").json["id"] == second
    assert cli.good("show", first, "--json").json["status"] == "queued"
    assert "it has ended (passed)" in cli.refused(3, "run", "writer", "--workflow-id", second, "--json")


def test_a_run_that_is_held_exits_3(cli: Program) -> None:
    """Another program's claim counts as one."""
    run_id = cli.submit()
    cli.sql("update workflow_runs set status='running', claimed_at=datetime('now'), claimed_by='other:1'")
    assert "it is held by other:1" in cli.refused(3, "run", "writer", "--workflow-id", run_id)


def test_a_stalled_run_is_taken_over(cli: Program) -> None:
    """Silent for longer than the stall time, by whatever setting."""
    run_id = cli.submit()
    cli.sql("update workflow_runs set status='running', claimed_at=datetime('now', '-1 hour'), claimed_by='other:1'")
    assert cli.good("list").stdout.count("Stalled (1/3)") == 1
    done = cli.good("run", "writer", "--workflow-id", run_id)
    assert "Taken over" in done.stderr
    assert "Queued" not in done.stderr.replace("queued", "")


def test_a_queued_run_with_a_cancel_request_is_ended_by_who_meets_it(cli: Program) -> None:
    """It is cancelled and not worked: status 4; the next who asks is told that it has ended."""
    run_id = cli.submit()
    cli.sql("update workflow_runs set cancel_requested_at=datetime('now')")
    done = cli("run", "writer", "--workflow-id", run_id, "--json")
    assert (done.status, done.json["status"]) == (4, "cancelled")
    cli.refused(3, "run", "writer", "--workflow-id", run_id)


def test_claiming_what_is_not_there(cli: Program) -> None:
    """An unknown run is not found; a run of another agent is a usage error."""
    assert "there is no run 'run_x'" in cli.refused(1, "run", "writer", "--workflow-id", "run_x")
    assert "is of agent 'writer'" in cli.refused(2, "run", "loser", "--workflow-id", cli.submit())
