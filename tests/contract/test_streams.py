"""stdout, stderr and terminals of real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.contract.conftest import PROGRAM, Shell, wait_until


def test_stdout_holds_the_document_and_nothing_else(local: Shell) -> None:
    """Whatever a stage or its children print goes to stderr."""
    done = local("run", "noisy", "--json")
    assert done.json["status"] == "passed"
    for said in ("printed by the stage", "echoed by a child", "written by the stage"):
        assert said not in done.stdout
        assert said in done.stderr


def test_progress_is_lines_where_there_is_no_terminal(local: Shell) -> None:
    """One an event, nothing in them that could steer a terminal."""
    done = local("run", "held")
    assert done.stdout == "draft 2"
    lines = done.stderr.splitlines()
    for said in (
        "Queued",
        "Producing",
        "Evaluated - Score: 0.50: ]0;owned more[2J",
        "Revised (attempt-2.md)",
        "Passed",
    ):
        assert sum(line.endswith(said) for line in lines) == 1
    assert "\x1b" not in done.stderr


def test_progress_moves_on_a_terminal(local: Shell) -> None:
    """A status line with attempt, best score and feedback below the events; stages cannot write to the terminal."""
    ours, theirs = os.openpty()
    local.environment["TERM"] = "xterm"
    held = local.hold("evaluating-2")
    process = local.start("run", "held", "--json", stderr=theirs)
    os.close(theirs)
    shown = ""

    def see(text: str) -> bool:
        nonlocal shown
        shown += os.read(ours, 4096).decode()
        return text in shown

    wait_until(lambda: see("attempt 2/3 · evaluating · best 0.50 of 0.8"))
    held.unlink()
    wait_until(lambda: see("Passed (1.00) at attempt 2 of 3"))
    assert json.loads(process.end().stdout)["status"] == "passed"
    os.close(ours)
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown


def test_following_ends_with_the_run(local: Shell) -> None:
    """Events come while the run is worked elsewhere, one a line; after the last one it exits 0."""
    held = local.hold("producing-1")
    runner = local.start("run", "held", "--json")
    local.wait_for_call("begin producing-1", by=runner)
    run_id = local.run.id
    follower = local.start("events", run_id, "--follow", "--json")
    assert follower.popen.stdout is not None
    first = [follower.popen.stdout.readline() for _ in range(3)]
    assert [json.loads(line)["message"] for line in first] == ["Queued", "Started", "Producing"]
    held.unlink()
    assert runner.end().status == 0
    followed = [json.loads(line) for line in [*first, *follower.end().stdout.splitlines()]]
    assert followed == local("events", run_id, "--json").json["events"]


def test_an_interrupted_wait_ends_quietly(local: Shell) -> None:
    """Ctrl+C while following a queued run: status 130 and no word about it."""
    run_id = local("submit", "held").stdout.strip()
    follower = local.start("events", run_id, "--follow")
    assert follower.popen.stdout is not None
    assert "Queued" in follower.popen.stdout.readline()
    follower.signal(signal.SIGINT)
    done = follower.end()
    assert (done.status, done.stdout, done.stderr.strip()) == (130, "", "")


def test_a_reader_that_goes_away_is_no_error(local: Shell) -> None:
    """As `... | head -1` does: no traceback, no message, the status of a closed pipe."""
    read, write = os.pipe()
    os.close(read)
    lister = local.start("list", stdout=write)
    os.close(write)
    done = lister.end()
    assert (done.status, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_full_disk_is_told(local: Shell) -> None:
    """A result that cannot be written is an error with a sentence."""
    with Path("/dev/full").open("w") as full:
        done = local.start("list", "--json", stdout=full).end()
    assert done.status == 1
    assert "No space left" in done.stderr


def test_help_is_light() -> None:
    """It loads no database, no terminal library, no event loop and no schema."""
    program = "import sys; from loopkit_cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint({"sqlalchemy", "rich", "yaml", "jsonschema", "uvicorn", "starlette", "psycopg"})


def test_the_script_is_installed(tmp_path: Path) -> None:
    """`init` and the run that it suggests work anywhere, on the default database and configuration."""
    for args in (["init"], ["run", "hello", "--input", "name=World"]):
        done = subprocess.run([PROGRAM, *args], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello, World! Have a good day!"
    assert (tmp_path / "loopkit.db").exists()
