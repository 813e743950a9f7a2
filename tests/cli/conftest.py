"""The program, called inside this process in a folder of its own."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from loopkit_cli.main import main
from tests.cli.stages import AGENTS


@attrs.frozen
class Done:
    """What one call of the program came to."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[str]:
        """The lines on stdout."""
        return self.stdout.splitlines()


@attrs.frozen
class Program:
    """`loopkit-cli` in a folder with an agents.yaml and a database of its own."""

    folder: Path
    _capture: pytest.CaptureFixture[str]
    _patch: pytest.MonkeyPatch

    def __call__(self, *args: str, stdin: bytes = b"") -> Done:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capture.readouterr()
        status = main(list(args))
        out, err = self._capture.readouterr()
        assert "Traceback" not in err
        assert "\x1b" not in err
        return Done(status, out, err)

    def good(self, *args: str, stdin: bytes = b"") -> Done:
        """Call the program and expect status 0."""
        done = self(*args, stdin=stdin)
        assert done.status == 0, done.stderr
        return done

    def refused(self, status: int, *args: str, stdin: bytes = b"") -> str:
        """Expect an error of this status and nothing on stdout; give what stderr says."""
        done = self(*args, stdin=stdin)
        assert (done.status, done.stdout) == (status, ""), done.stderr
        return done.stderr

    def run(self, agent: str = "writer", *, topic: str = "sheep") -> Any:
        """Make a run, work it and give it as JSON, however it ended."""
        return self("run", agent, "--input", f"topic={topic}", "--json").json

    def submit(self, agent: str = "writer") -> str:
        """Queue a run and give its id."""
        return self.good("submit", agent, "--input", "topic=sheep").stdout.strip()

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        """Do to the database what another program would."""
        with closing(sqlite3.connect(self.folder / "loopkit.db")) as database, database:
            return database.execute(statement, parameters).fetchall()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Program:
    """The program in a fresh folder with the agents of :mod:`tests.cli.stages`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents.yaml").write_text(AGENTS)
    return Program(tmp_path, capfd, monkeypatch)
