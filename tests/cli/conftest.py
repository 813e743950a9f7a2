"""The program, called inside this process in a folder of its own."""

import io
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from loopkit_cli.main import main
from tests.cli.stage_helpers import AGENTS
from tests.program_helpers import Finished


@attrs.frozen
class Program:
    """`loopkit-cli` in a folder with an agents.yaml and a database of its own."""

    folder: Path
    _capture: pytest.CaptureFixture[str]
    _patch: pytest.MonkeyPatch

    def __call__(self, *args: str, stdin: bytes = b"") -> Finished:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capture.readouterr()
        status = main(list(args))
        out, err = self._capture.readouterr()
        assert "Traceback" not in err
        assert "\x1b" not in err
        return Finished(status, out, err)

    def good(self, *args: str, stdin: bytes = b"") -> Finished:
        """Call the program and expect status 0."""
        done = self(*args, stdin=stdin)
        assert done.status == 0, done.stderr
        return done

    def refused(self, status: int, *args: str, stdin: bytes = b"") -> str:
        """Expect an error of this status and nothing on stdout; return what stderr says."""
        done = self(*args, stdin=stdin)
        assert (done.status, done.stdout) == (status, ""), done.stderr
        return done.stderr

    def run(self, agent: str = "writer", *, topic: str = "sheep") -> Any:
        """Make a run, work it and return it as ``show`` does, however it ended."""
        document = self("run", agent, "--input", f"topic={topic}", "--json").json
        return {name: value for name, value in document.items() if name not in ("output", "evaluation")}

    def submit(self, agent: str = "writer") -> str:
        """Queue a run and give its id."""
        return self.good("submit", agent, "--input", "topic=sheep").stdout.strip()

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        """Do to the database what another program would."""
        with closing(sqlite3.connect(self.folder / "loopkit.db")) as database, database:
            return database.execute(statement, parameters).fetchall()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Program:
    """The program in a fresh folder with the agents of :mod:`tests.cli.stage_helpers`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents.yaml").write_text(AGENTS)
    return Program(tmp_path, capfd, monkeypatch)
