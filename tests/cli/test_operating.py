"""What operators use: logs, metrics, runners and figures, short names of runs, local times, tokens."""

import json
import logging
import time
import urllib.request
from contextlib import closing
from datetime import UTC, datetime

import httpx
import pytest

from loopkit.runner import Metrics
from loopkit_cli import display_text, logs, run_ids
from loopkit_cli.servers.metrics_server import serving_metrics
from loopkit_cli.servers.sockets import listen
from tests.cli.conftest import Program
from tests.cli.test_server import serving

TOKEN = "0123456789abcdef"


# --- Names of runs ---------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_the_beginning_of_its_id_or_last(cli: Program) -> None:
    """In every command that looks, with or without ``run_``."""
    cli.run()
    run_id = cli.run()["id"]
    for name in (run_id, run_id[:-1], run_id[4:-1], "last"):
        assert cli.good("show", name, "--json").json["id"] == run_id
        assert cli.good("events", name, "--json").json["events"][0]["runId"] == run_id
        assert cli.good("artifacts", name, "--json").json["artifacts"][0]["runId"] == run_id
    assert "there is no run 'run_zzz'" in cli.refused(1, "show", "run_zzz")
    assert "there is no run ''" in cli.refused(1, "show", "")


def test_an_ambiguous_beginning_names_the_candidates(cli: Program) -> None:
    """And changes nothing; ``last`` without any run is no run."""
    assert "there is no run 'last'" in cli.refused(1, "show", "last")
    ids = {cli.submit(), cli.submit()}
    said = cli.refused(1, "cancel", "run_0")
    assert "several runs" in said
    assert all(run_id in said for run_id in ids)
    assert {run["status"] for run in cli.good("list", "--json").json["runs"]} == {"queued"}


def test_a_command_that_changes_a_run_does_not_guess(cli: Program) -> None:
    """Fewer than 8 characters after ``run_`` are refused though they are unique; 8 and ``last`` are not."""
    run_id = cli.submit()
    short = run_id[: 4 + run_ids.MIN_CHARS_TO_CHANGE - 1]
    for command in (["cancel", short], ["retry", short], ["run", "writer", "--workflow-id", short]):
        assert "too short" in cli.refused(1, *command)
    assert cli.good("cancel", run_id[:12]).stdout.strip() == run_id
    assert cli.good("retry", "last").stdout.startswith("run_")


def test_an_id_that_exists_wins(cli: Program) -> None:
    """Another program may have called its run ``last``, or by the beginning of another."""
    cli.submit()
    for run_id in ("last", "run_0"):
        cli.sql(
            "INSERT INTO workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs)"
            " VALUES (?, 'writer', 'c', 'queued', 1, 1, '{}')",
            run_id,
        )
        assert cli.good("cancel", run_id).stdout.strip() == run_id


# --- Results and times -----------------------------------------------------------------------------------------------


def test_a_worked_run_in_json_has_its_result(cli: Program) -> None:
    """The best attempt's output and evaluation stand beside the run's fields; null where there is none."""
    document = cli.good("run", "writer", "--input", "topic=sheep", "--json").json
    assert document["output"].startswith("revising: sheep")
    assert document["evaluation"]["score"] == document["finalScore"] == 1.0
    assert document["evaluation"]["feedback"]
    broken = cli("run", "broken", "--json").json
    assert (broken["output"], broken["evaluation"]) == (None, None)


def test_times_are_local_for_people_and_utc_in_json(monkeypatch: pytest.MonkeyPatch, cli: Program) -> None:
    """``TZ`` decides, and the offset is told."""
    run = cli.run()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert display_text.moment(datetime(2026, 1, 2, 20, 0, tzinfo=UTC)) == "2026-01-03 05:00:00+09:00"
        assert "+09:00" in cli.good("show", run["id"]).stdout
        assert cli.good("show", run["id"], "--json").json == run
    finally:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
    assert display_text.moment(datetime(2026, 1, 2, 20, 0, tzinfo=UTC)) == "2026-01-02 20:00:00Z"


def test_the_place_of_a_failure_is_shown(cli: Program) -> None:
    """By run as it happens, by show afterwards, and in the log of a worker."""
    done = cli("run", "broken")
    assert 'stage_helpers.py", line ' in done.stderr
    assert done.stderr.count("in breaks") == 1
    assert "in breaks" in cli.good("show", "last").stdout
    cli.submit("broken")
    assert "in breaks" in cli.good("worker", "--drain").stderr


# --- Logs ------------------------------------------------------------------------------------------------------------


def test_a_worker_logs_each_ended_run(cli: Program) -> None:
    """As text with a time, or as JSON lines and nothing else."""
    run_id = cli.submit()
    said = cli.good("worker", "--drain").stderr
    (line,) = [line for line in said.splitlines() if run_id in line]
    assert "INFO" in line
    assert "Passed (1.00) (score_passed)" in line
    run_id = cli.submit()
    lines = [json.loads(line) for line in cli.good("worker", "--drain", "--log-format", "json").stderr.splitlines()]
    (ended,) = [line for line in lines if line.get("run") == run_id]
    assert (ended["agent"], ended["status"], ended["score"], ended["reason"]) == (
        "writer",
        "passed",
        1.0,
        "score_passed",
    )
    assert datetime.fromisoformat(ended["time"]).tzinfo is not None
    cli.submit()
    assert cli.good("worker", "--drain", "--log-level", "error").stderr == ""


def test_a_log_line_cannot_steer_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a library logs; records below the level are left out."""
    with logs.write_log_lines("info", logs.LogFormat.TEXT):
        logging.getLogger("loopkit").info("a\x1b[2Jb")
        logging.getLogger("loopkit").debug("too low")
    said = capfd.readouterr().err
    assert "a[2Jb" in said
    assert "\x1b" not in said
    assert "too low" not in said


def test_serve_logs_requests_without_their_query(cli: Program) -> None:
    """Method, path, status and milliseconds."""
    with serving(cli.folder, "--token", TOKEN) as (process, address, _):
        httpx.get(f"{address}/sign-in?token=wrong")
        httpx.get(f"{address}/api/health")
        process.terminate()
        assert process.stderr is not None
        requests = [line.split(" INFO ")[1].split() for line in process.stderr.read().splitlines() if " ms" in line]
    assert [request[:3] for request in requests] == [["GET", "/sign-in", "401"], ["GET", "/api/health", "200"]]


# --- Metrics, runners, figures ---------------------------------------------------------------------------------------


def test_metrics_are_served_and_the_server_ends() -> None:
    """One path; everything else is not found; the port is free again afterwards."""
    metrics = Metrics()
    metrics.count_claim("a")
    with serving_metrics("127.0.0.1", 0, lambda: list(metrics.lines())) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
            text = response.read().decode()
        assert 'loopkit_runs_claimed_total{agent="a"} 1' in text
        assert text.endswith("# EOF\n")
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_a_worker_serves_metrics_where_it_is_told(cli: Program) -> None:
    """The log names the address; a bad one is a usage error."""
    assert "/metrics" in cli.good("worker", "--drain", "--metrics", "127.0.0.1:0").stderr
    for address in ("9100", "127.0.0.1:", "127.0.0.1:x"):
        assert "is not HOST:PORT" in cli.refused(2, "worker", "--drain", "--metrics", address)
    for port in ("65536", "99999", "9" * 5_000):
        said = cli.refused(2, "worker", "--drain", "--metrics", f"127.0.0.1:{port}")
        assert "is not in the range 0 to 65535" in said


def test_runners_and_stats_have_the_shapes_of_the_http_api(cli: Program) -> None:
    """The same documents, and tables for people."""
    cli.run()
    cli.submit()
    cli.good("worker", "--drain", "--agent", "loser")
    with serving(cli.folder) as (_, address, _):
        for command in ("runners", "stats"):
            ours, theirs = cli.good(command, "--json").json, httpx.get(f"{address}/api/{command}", timeout=60).json()
            for runner in (*ours.get("runners", ()), *theirs.get("runners", ())):
                runner["ageSeconds"] = None
            assert ours == theirs
    done = cli.good("runners")
    assert "gone" in done.stdout
    assert "writer: 1 queued" in done.stderr
    assert cli.good("stats").lines[1].split()[:3] == ["writer", "1", "0"]


def test_a_drain_says_what_it_left_and_why(cli: Program) -> None:
    """Agents that are not configured, not chosen, or not loadable, and runs that others hold."""
    held = cli.submit()
    cli.sql("UPDATE workflow_runs SET status = 'running', heartbeat_at = datetime('now') WHERE id = ?", held)
    cli.submit("loser")
    cli.submit("broken")
    cli.sql("UPDATE workflow_runs SET agent_name = 'stranger' WHERE agent_name = 'loser'")
    config = cli.folder / "agents.yaml"
    config.write_text(
        config.read_text().replace("tests.cli.stage_helpers:breaks", "tests.cli.stage_helpers:no_such_thing")
    )
    done = cli.good("worker", "--drain", "--json")
    left = {each["agent"]: (each["queued"], each["running"], each["why"]) for each in done.json["left"]}
    assert left["stranger"] == (1, 0, "it is not in agents.yaml")
    assert left["writer"] == (0, 1, "other runners hold them")
    assert left["broken"][2].startswith("it cannot be run here: produce: cannot load")
    assert "left: 1 queued of agent stranger: it is not in agents.yaml" in done.stderr
    cli.submit("noisy")
    (noisy,) = [
        each
        for each in cli.good("worker", "--drain", "--agent", "loser", "--json").json["left"]
        if each["agent"] == "noisy"
    ]
    assert noisy["why"] == "--agent leaves it out"


# --- Tokens and addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [TOKEN[:-1], TOKEN])
def test_a_short_token_is_accepted_with_a_warning(cli: Program, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """It lets its bearer in; the warning says how to get a better one."""
    monkeypatch.setenv("LOOPKIT_TOKEN", token)
    with serving(cli.folder) as (_, address, said):
        assert httpx.get(f"{address}/api/workflows", timeout=60).status_code == 401
        response = httpx.get(f"{address}/api/workflows", headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert response.status_code == 200
    assert any("--token auto" in line for line in said) == (len(token) < 16)


def test_an_empty_token_is_refused(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the option or the variable, on loopback too; the option still wins over the variable."""
    assert "LOOPKIT_TOKEN) is empty" in cli.refused(2, "serve", "--port", "0", "--token", "")
    monkeypatch.setenv("LOOPKIT_TOKEN", "")
    assert "LOOPKIT_TOKEN) is empty" in cli.refused(2, "serve", "--port", "0")
    with serving(cli.folder, "--token", TOKEN) as (_, address, _):
        assert httpx.get(f"{address}/api/workflows", timeout=60).status_code == 401


def test_a_random_token_signs_a_browser_in(cli: Program) -> None:
    """The address is printed once; following it sets a cookie, and no other address has the token."""
    with serving(cli.folder, "--token", "auto") as (_, address, said), httpx.Client(timeout=60) as http:
        (link,) = [word for line in said for word in line.split() if "token=" in word]
        assert http.get(f"{address}/agents").status_code == 401
        response = http.get(link, follow_redirects=True)
        assert response.status_code == 200
        assert "token=" not in str(response.url)
        assert http.get(f"{address}/agents").status_code == 200
        token = link.partition("token=")[2]
        assert len(token) >= 32
        bearer = httpx.get(f"{address}/api/workflows", headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert bearer.status_code == 200
        http.cookies.clear()
        assert http.get(f"{address}/sign-in?token=wrong").status_code == 401


def test_an_address_that_the_machine_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """``localhost`` may name ``::1`` where there is no IPv6; a name with no other address is refused."""
    absent = (2, 1, 6, "", ("192.0.2.1", 0))
    present = (2, 1, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [absent, present])
    (listening,) = listen("localhost", 0)
    with closing(listening):
        assert listening.getsockname()[0] == "127.0.0.1"
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [absent])
    with pytest.raises(Exception, match="cannot listen on localhost:0"):
        listen("localhost", 0)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///one.db?authToken=S3CRETxyz",
        "postgresql://user:a/S3CRETxyz@127.0.0.1:1/name",
        "postgresql://user:a@127.0.0.1:1/name?password=S3CRETxyz",
        "https://S3CRETxyz@127.0.0.1:1/",
    ],
)
def test_no_secret_of_a_url_is_shown(cli: Program, url: str) -> None:
    """Whatever part of it the secret is in, and whether or not the database can be opened."""
    cli.submit()
    for command in (["list", "--database", url], ["copy", "--to", url]):
        done = cli(*command)
        assert done.status != 0
        assert "S3CRETxyz" not in done.stdout + done.stderr
    assert "S3CRETxyz" not in str(cli.sql("SELECT * FROM loopkit_schema"))
