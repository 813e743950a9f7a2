"""Standard streams in odd states: closed, full, without a reader, and shared with what stages and modules print."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from loopkit.version import installed_version
from loopkit_cli import streams
from tests.cli.conftest import Program

PROGRAM = Path(sys.executable).with_name("loopkit-cli")

COMMANDS = 'agents:\n  a: {produce: {command: ["echo", "x"]}, evaluate: {command: ["echo", "1"]}}\n'

NOISY = """
import atexit, subprocess
print("printed at import")
subprocess.run(["echo", "echoed at import"])
atexit.register(print, "printed at exit")
def produce(ctx): return "x"
def evaluate(ctx): return 1.0
"""


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell with the program as ``$LK`` in a folder."""
    env = {**os.environ, "LK": str(PROGRAM)}
    return subprocess.run(["sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def statuses(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "loopkit.db")) as database:
        return [status for (status,) in database.execute("SELECT status FROM workflow_runs")]


@pytest.mark.parametrize(
    "line",
    [
        "$LK run a >&-",
        "$LK run a 2>&-",
        "$LK run a <&- >&- 2>&-",
        "$LK submit a 2>/dev/null && $LK worker --drain <&- >&- 2>&-",
        "$LK run a 2>/dev/full",
        "$LK submit a && $LK worker --drain 2>&1 >/dev/null | true",
    ],
)
def test_closed_and_full_streams_stop_no_run(tmp_path: Path, line: str) -> None:
    """Nothing is raised, the run is worked to its end, and the database's file is not mistaken for a stream."""
    (tmp_path / "agents.yaml").write_text(COMMANDS)
    assert "Traceback" not in shell(tmp_path, line).stderr
    assert statuses(tmp_path) == ["passed"]


def test_a_result_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """One sentence and status 1, and Python adds nothing as it ends."""
    (tmp_path / "agents.yaml").write_text(COMMANDS)
    done = shell(tmp_path, "$LK submit a >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "Error: the result cannot be written to stdout: No space left on device\n"
    assert shell(tmp_path, "$LK --help >/dev/full").stderr.count("\n") == 1


def test_a_closed_stdin_is_told_to_whoever_needs_it(tmp_path: Path) -> None:
    """``-`` names it, so the error does too; nothing is queued."""
    (tmp_path / "agents.yaml").write_text(COMMANDS)
    for option in ("--batch", "--inputs"):
        done = shell(tmp_path, f"$LK submit a {option} - <&-")
        assert done.returncode == 2
        assert done.stderr == f"Error: {option}: - is stdin, which is closed\n"


def test_what_modules_print_is_not_on_stdout(tmp_path: Path) -> None:
    """Neither when they are imported nor as the process ends; it is on stderr."""
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "agents.yaml").write_text(
        'agents:\n  a: {produce: {python: "noisy:produce"}, evaluate: {python: "noisy:evaluate"}}\n'
    )
    for command in ("agents", "run a", "worker --drain"):
        done = shell(tmp_path, f"$LK {command} --json")
        json.loads(done.stdout)
        assert "printed at import" in done.stderr
        assert "echoed at import" in done.stderr
    done = shell(tmp_path, "$LK run a")
    assert done.stdout == "x"
    assert "printed at exit" in done.stderr


def test_a_stage_of_a_worker_reads_nothing_from_stdin(cli: Program) -> None:
    """It sees the end of the file: a background worker that read from its terminal would be stopped."""
    (cli.folder / "reading.py").write_text(
        "import os\ndef produce(ctx): return repr(os.read(0, 10))\ndef evaluate(ctx): return 1.0\n"
    )
    (cli.folder / "agents.yaml").write_text(
        'agents:\n  a: {produce: {python: "reading:produce"}, evaluate: {python: "reading:evaluate"}}\n'
    )
    run_id = cli.good("submit", "a").stdout.strip()
    reader, writer = os.pipe()
    os.write(writer, b"typed")
    before = os.dup(0)
    os.dup2(reader, 0)
    try:
        cli.good("worker", "--drain")
        assert os.read(0, 10) == b"typed"
    finally:
        os.dup2(before, 0)
        for number in (before, reader, writer):
            os.close(number)
    assert cli.sql("SELECT content FROM workflow_artifacts WHERE run_id = ? AND artifact_type = 'output'", run_id) == [
        ("b''",)
    ]


def test_a_reader_of_stderr_that_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pipe that does not block drops what does not fit."""
    monkeypatch.setattr(streams, "_FULL_PIPE_SECONDS", 0.0)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        assert streams._LossyFile(writer).write(b"x" * (1 << 20)) == 1 << 20
    finally:
        os.close(reader)
        os.close(writer)


def test_the_version_needs_no_metadata(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a frozen program there is none."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    installed_version.cache_clear()
    try:
        assert cli.good("--version").stdout == "loopkit-cli 0+unknown\n"
    finally:
        installed_version.cache_clear()


def test_a_program_that_asks_on_the_terminal_fails(tmp_path: Path) -> None:
    """It runs in the background of the terminal, which stops it for ever; that is an error of the stage."""
    (tmp_path / "agents.yaml").write_text(
        'agents:\n  a: {produce: {command: ["sh", "-c", "read x </dev/tty"]}, evaluate: {command: ["echo", "1"]}}\n'
    )
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execv(PROGRAM, ["loopkit-cli", "run", "a"])
    shown = b""
    with suppress(OSError):  # the terminal is closed when the program has ended
        while chunk := os.read(terminal, 65536):
            shown += chunk
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert b"it asked on the terminal" in shown
    assert statuses(tmp_path) == ["failed"]
