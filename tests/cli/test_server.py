"""``serve``: a real server in a process of its own, its stops, and whom it keeps out."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Program

ROOT = Path(__file__).parents[2]

TOKEN = "s3cret"

SHUT_OUT = [
    ["--host", "0.0.0.0"],
    ["--host", "::"],
    ["--host", ""],
    ["--host", "0.0.0.0", "--allowed-host", "runs.example"],
]


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Serve a folder on a free port until the block ends; return the process, its address and what it said at start."""
    command = [str(Path(sys.executable).with_name("loopkit-cli")), "serve", "--port", "0", *options]
    env = os.environ | {"PYTHONPATH": str(ROOT)}  # where the agents' stages are
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            said: list[str] = []
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line.rstrip())
                if line.startswith("loopkit at "):
                    break
            yield process, said[-1].split()[2].rstrip("/").replace("localhost", "127.0.0.1"), said
        finally:
            process.kill()


def watched(http: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    """Watch a run live to its end."""
    with http.stream("GET", f"/api/workflow-events?runId={run_id}", headers={"Accept": "text/event-stream"}) as stream:
        return [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]


def test_a_run_is_started_watched_and_passed_and_a_signal_ends_it_all(cli: Program) -> None:
    """With ``--worker`` a run goes to its end under the eyes of a client; SIGTERM ends open streams and gives 0."""
    with (
        serving(cli.folder, "--worker") as (process, address, _),
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        body = {"agentName": "writer", "inputs": {"topic": "sheep"}}
        run = http.post("/api/workflows", json=body).json()
        messages = [event["message"] for event in watched(http, run["id"])]
        assert messages[:3] == ["Queued", "Started", "Producing"]
        assert http.get(f"/api/workflows?id={run['id']}").json()["completedAt"]
        with http.stream("GET", "/api/workflow-stream") as stream:
            lines = stream.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert not [line for line in lines if line.startswith("data")]
        assert process.wait(60) == 0
    assert cli.sql("SELECT count(*) FROM workflow_runs WHERE status = 'running'") == [(0,)]


def test_a_worker_beside_it_leaves_out_what_it_cannot_load(cli: Program) -> None:
    """With a warning, as the command worker does; runs of that agent can be started and wait. With none left it is
    refused."""
    config = cli.folder / "agents.yaml"
    config.write_text(
        config.read_text().replace("tests.cli.stage_helpers:breaks", "tests.cli.stage_helpers:no_such_thing")
    )
    with serving(cli.folder, "--worker") as (_, address, said), httpx.Client(base_url=address, timeout=60) as http:
        assert any("Warning: agent 'broken' is left out: produce:" in line for line in said)
        stays = http.post("/api/workflows", json={"agentName": "broken", "inputs": {}}).json()
        worked = http.post("/api/workflows", json={"agentName": "writer", "inputs": {"topic": "x"}}).json()
        assert watched(http, worked["id"])[-1]["message"].startswith("Passed")
        assert http.get(f"/api/workflows?id={stays['id']}").json()["status"] == "queued"
    config.write_text(config.read_text().replace("tests.cli.stage_helpers:", "tests.cli.nowhere:"))
    assert "no agent can be used here" in cli.refused(1, "serve", "--port", "0", "--worker")


def test_a_token_and_host_names_keep_others_out(cli: Program) -> None:
    """On every address a token opens, names that were not allowed are 421, and the start says which are."""
    options = ("--host", "0.0.0.0", "--token", TOKEN, "--allowed-host", "runs.example")
    with serving(cli.folder, *options) as (process, address, said), httpx.Client(base_url=address) as http:
        token = {"Authorization": f"Bearer {TOKEN}"}
        assert http.get("/api/workflows").status_code == 401
        assert http.get("/api/workflows", headers=token).status_code == 200
        assert http.get("/api/workflows", headers=token | {"Host": "runs.example"}).status_code == 200
        assert http.get("/api/workflows", headers=token | {"Host": "evil.example"}).status_code == 421
        assert http.get("/api/health", headers={"Host": "10.0.0.5"}).json() == {"status": "ok"}
        assert TOKEN not in "".join(said)
        assert any("--allowed-host" in line for line in said)
        assert any("fewer than 16 characters" in line for line in said)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_on_loopback_only_this_machine_gets_in(cli: Program) -> None:
    """Without a token loopback names and allowed ones pass; a proxy's request does not."""
    with (
        serving(cli.folder, "--allowed-host", "runs.example", "--root-path", "/loops") as (_, address, _),
        httpx.Client(base_url=address) as http,
    ):
        run = http.post("/api/workflows", json={"agentName": "writer", "inputs": {"topic": "sheep"}})
        assert run.headers["location"].startswith("/loops/api/workflows?id=")
        assert http.get("/api/workflows", headers={"Host": "runs.example"}).status_code == 200
        assert http.get("/api/workflows", headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 403
        assert http.get("/api/workflows", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("options", SHUT_OUT, ids=" ".join)
def test_an_address_open_to_others_needs_a_token_or_a_word(cli: Program, options: list[str]) -> None:
    """The refusal is a usage error that names both ways out; nothing listens."""
    said = cli.refused(2, "serve", "--port", "0", *options)
    assert "--token" in said
    assert "--allow-unauthenticated" in said


@pytest.mark.parametrize(
    "options",
    [
        ["--host", "no such host"],
        ["--host", "192.0.2.1"],
        ["--token", "two words"],
        ["--token", ""],
        ["--allowed-host", "https://runs.example"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_served_is_a_usage_error(cli: Program, options: list[str]) -> None:
    """An address that cannot be listened on, and a token or host that is none, end with a sentence and 2."""
    assert cli.refused(2, "serve", "--port", "0", *options).startswith("Error")


def test_a_port_that_is_taken_is_said(cli: Program) -> None:
    """The sentence names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in cli.refused(2, "serve", "--port", str(port))
