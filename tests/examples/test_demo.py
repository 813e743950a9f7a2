"""`make demo`, on a copy of what it needs of the repository."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.examples.example_helpers import EXAMPLES

ROOT = EXAMPLES.parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the example, the script and the document, with this environment as its .venv."""
    shutil.copytree(EXAMPLES / "brief", tmp_path / "examples/brief", ignore=shutil.ignore_patterns("*.db*"))
    for name in ("tools/demo.sh", "docs/explanation/why.md"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv/bin").parent.mkdir()
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    return tmp_path


def test_the_demo(copy: Path) -> None:
    """It shows the brief, each attempt's score and what to try next; its run stays in the database, whole."""
    done = subprocess.run(["sh", "tools/demo.sh"], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Passed (" in done.stderr

    with closing(sqlite3.connect(copy / "examples/brief/loopkit.db")) as database:
        [(run, status, attempts, best)] = database.execute(
            "SELECT id, status, current_attempt, best_attempt FROM workflow_runs"
        )
        [(brief,)] = database.execute(
            "SELECT content FROM workflow_artifacts WHERE artifact_type = 'output' AND attempt = ?", [best]
        )
        [(kept,)] = database.execute("SELECT count(*) FROM workflow_artifacts WHERE run_id = ?", [run])
        [(events,)] = database.execute("SELECT count(*) FROM workflow_events WHERE run_id = ?", [run])
    database.close()
    assert status == "passed"
    assert attempts in (2, 3)
    assert kept == 2 * attempts
    assert events > 3 * attempts
    assert done.stdout.startswith(brief)
    for attempt in range(1, attempts + 1):
        assert f"\n  {attempt}         0." in done.stdout
    assert "Try next" in done.stdout
