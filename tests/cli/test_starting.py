"""init, run, submit and worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Program

# --- init ------------------------------------------------------------------------------------------------------------


def test_init_writes_an_agent_that_works(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """What init writes passes at once, and shows a revision on the way."""
    made = cli.good("init", "greetings")
    assert made.lines == ["greetings/agents.yaml", "greetings/hello.py"]
    assert "cd greetings && loopkit-cli run hello --input name=World" in made.stderr
    monkeypatch.chdir("greetings")
    run = cli.good("run", "hello", "--input", "name=World", "--json").json
    assert (run["status"], run["currentAttempt"], run["finalScore"]) == ("passed", 2, 1.0)
    assert cli.good("agents").status == 0


def test_init_overwrites_nothing(cli: Program) -> None:
    """One file that is there, even a dead link, and nothing is written."""
    before = (cli.folder / "agents.yaml").read_text()
    assert "agents.yaml is there already" in cli.refused(1, "init")
    assert (cli.folder / "agents.yaml").read_text() == before
    assert not (cli.folder / "hello.py").exists()
    (cli.folder / "new").mkdir()
    (cli.folder / "new/hello.py").symlink_to("nowhere")
    assert "hello.py is there already" in cli.refused(1, "init", "new")
    assert not (cli.folder / "new/agents.yaml").exists()


def test_init_can_answer_in_json(cli: Program) -> None:
    """The files, for programs."""
    assert cli.good("init", "new", "--json").json == {"files": ["new/agents.yaml", "new/hello.py"]}


# --- run -------------------------------------------------------------------------------------------------------------


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
    assert run == cli.good("show", run["id"], "--json").json
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
    assert "Error: RuntimeError: the stage broke" in done.stderr
    assert cli("run", "broken", "--json").json["errorMessage"] == "RuntimeError: the stage broke"


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
    assert "SIGINT: the run goes back to the queue when this stage is finished; once more" in done.stderr
    run_id = done.json["id"]
    assert f"run interrupted --workflow-id {run_id}" in done.stderr
    assert [a["filename"] for a in cli.good("artifacts", run_id, "--json").json["artifacts"]] == ["attempt-1.md"]
    assert cli.good("run", "interrupted", "--workflow-id", run_id, "--json").json["status"] == "passed"


def test_what_stages_print_does_not_reach_stdout(cli: Program) -> None:
    """A child's output goes to stderr while the run is worked (the stage's own: see tests/contract)."""
    done = cli.good("run", "noisy", "--json")
    assert "echoed" not in done.stdout
    assert "echoed by a child" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Missing argument 'AGENT'"),
        (["writer", "--nonsense"], "No such option '--nonsense'"),
        (
            ["nobody"],
            "no agent 'nobody' in agents.yaml; it has: broken, cancelled, interrupted, loser, lost, noisy, writer",
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
    assert "no agent whose runs could be worked" in cli.refused(1, "worker", "--drain")
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
    assert "is one of agent 'writer'" in cli.refused(2, "run", "loser", "--workflow-id", cli.submit())


# --- submit ----------------------------------------------------------------------------------------------------------


def test_submit_queues_and_prints_the_id(cli: Program) -> None:
    """The run waits with its inputs, defaults filled in."""
    run_id = cli.submit()
    run = cli.good("show", run_id, "--json").json
    assert (run["status"], run["inputs"]) == ("queued", {"topic": "sheep", "length": 100})
    assert cli.good("submit", "loser", "--json").json["runs"][0]["status"] == "queued"


def test_input_wins_over_inputs(cli: Program) -> None:
    """--inputs is one object, from a file or stdin."""
    given = json.dumps({"topic": "cats", "length": 5}).encode()
    submitted = cli.good("submit", "writer", "--inputs", "-", "--input", "topic=dogs", "--json", stdin=given)
    assert submitted.json["runs"][0]["inputs"] == {"topic": "dogs", "length": 5}


def test_a_batch_is_queued_in_order(cli: Program) -> None:
    """A line a run, blank ones skipped; options and --input hold for all of them."""
    lines = b'{"topic": "a"}\n\n{"topic": "b", "length": 1}\n'
    done = cli.good("submit", "writer", "--batch", "-", "--max-attempts", "9", "--input", "length=7", stdin=lines)
    runs = [cli.good("show", run_id, "--json").json for run_id in done.lines]
    assert [run["inputs"] for run in runs] == [{"topic": "a", "length": 7}, {"topic": "b", "length": 7}]
    assert {run["maxAttempts"] for run in runs} == {9}
    assert cli.good("submit", "writer", "--batch", "-", "--json", stdin=b"\n").json == {"runs": []}


@pytest.mark.parametrize("bad", ["nonsense", "[1]", '{"topic": 1}', '{"topic": ""}', "{}", '{"topic": NaN}'])
def test_one_bad_line_queues_nothing(cli: Program, bad: str) -> None:
    """The line is named by its number, blank ones counted."""
    (cli.folder / "batch").write_text(f'{{"topic": "a"}}\n\n{bad}\n{{"topic": "b"}}\n')
    told = cli.refused(2, "submit", "writer", "--batch", "batch", "--json")
    assert "line 3: " in told
    assert "line 1" not in told
    assert cli.good("list", "--json").json["runs"] == []


def test_many_bad_lines_are_told_in_short(cli: Program) -> None:
    """The first twenty by number, the others by their count."""
    told = cli.refused(2, "submit", "writer", "--batch", "-", stdin=b"x\n" * 25)
    assert "line 20:" in told
    assert "line 21:" not in told
    assert "and 5 more" in told


def test_a_batch_and_inputs_exclude_each_other(cli: Program) -> None:
    """Two sources of inputs are one too many."""
    assert "give one of them" in cli.refused(2, "submit", "writer", "--batch", "-", "--inputs", "-")


# --- worker ----------------------------------------------------------------------------------------------------------


def test_a_worker_drains_the_queue(cli: Program) -> None:
    """Every run that can be claimed is worked; then it exits 0, whatever the runs came to."""
    runs = [cli.submit(), cli.submit(), cli.good("submit", "broken").stdout.strip()]
    done = cli.good("worker", "--drain", "--concurrency", "2", "--json")
    assert (done.json["passed"], done.json["failed"], done.json["busy"]) == (2, 1, 0)
    assert "working runs of writer, loser" in done.stderr
    assert "claimed 3 · passed 2 · failed 1" in done.stderr
    assert {cli.good("show", run, "--json").json["status"] for run in runs} == {"passed", "failed"}


def test_a_worker_of_some_agents_leaves_the_others(cli: Program) -> None:
    """--agent may be repeated; an unknown one is a usage error."""
    mine, other = cli.submit("loser"), cli.submit("writer")
    cli.good("worker", "--drain", "--agent", "loser", "--agent", "broken")
    assert cli.good("show", mine, "--json").json["status"] == "failed"
    assert cli.good("show", other, "--json").json["status"] == "queued"
    assert "no agent 'nobody'" in cli.refused(2, "worker", "--agent", "nobody")
    assert "0 is not in the range" in cli.refused(2, "worker", "--concurrency", "0")


def test_a_worker_leaves_out_an_agent_that_it_cannot_load(cli: Program) -> None:
    """With a warning; the others are worked."""
    config = Path("agents.yaml")
    config.write_text(config.read_text().replace("tests.cli.stages:breaks", "tests.cli.stages:no_such_thing"))
    stays, worked = cli.good("submit", "broken").stdout.strip(), cli.submit("loser")
    assert "Warning: agent 'broken' is left out; produce:" in cli.good("worker", "--drain").stderr
    assert cli.good("show", stays, "--json").json["status"] == "queued"
    assert cli.good("show", worked, "--json").json["status"] == "failed"


def test_rows_of_other_programs_are_worked(cli: Program) -> None:
    """The least that makes a queued run is enough; inputs that do not fit end it failed."""
    cli.submit("loser")
    for run_id, inputs in (("run_good", '{"topic": "x"}'), ("run_bad", "{}")):
        row: tuple[Any, ...] = (run_id, inputs)
        cli.sql(
            "insert into workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs)"
            " values (?, 'writer', 'c', 'queued', 3, 0.8, ?)",
            *row,
        )
    cli.good("worker", "--drain")
    assert cli.good("show", "run_good", "--json").json["status"] == "passed"
    failed = cli.good("show", "run_bad", "--json").json
    assert (failed["status"], "topic" in failed["errorMessage"]) == ("failed", True)
