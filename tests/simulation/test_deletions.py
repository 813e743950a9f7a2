"""What the protocol rests on cannot be deleted from the shipped files without a schedule that shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import loopkit

ROOT = Path(__file__).parent.parent.parent
SOURCE = Path(loopkit.__file__).parent


@attrs.frozen
class Deletion:
    """A piece of a shipped file, what stands there without it, and how many schedules find that at the latest."""

    name: str
    file: str
    piece: str
    instead: str
    within: int


DELETIONS = (
    Deletion(
        "the fence",
        "stores/sql/statements.py",
        """        runs.c.fencing_token == lease["fencing_token"],
        runs.c.lease_id == lease["lease_id"],
        runs.c.claimed_by == lease["claimed_by"],
""",
        "",
        50,
    ),
    Deletion("the status guard", "stores/sql/statements.py", "        running,\n", "", 200),
    Deletion(
        "the read-back",
        "stores/sql/writing.py",
        "if not (unknown and self._executor.find(made)):",
        "if True:",
        200,
    ),
    Deletion(
        "the clock rule",
        "stores/sql/rows.py",
        'and_(running, silent_seconds() > bindparam("stalled_seconds"))',
        "running",
        50,
    ),
)


@pytest.mark.parametrize("deletion", DELETIONS, ids=lambda deletion: deletion.name)
def test_without_it_a_schedule_breaks(deletion: Deletion, tmp_path: Path) -> None:
    """The simulation fails within the stated number of seeds."""
    copy = tmp_path / "loopkit"
    shutil.copytree(SOURCE, copy)
    text = (copy / deletion.file).read_text(encoding="utf-8")
    assert deletion.piece in text, "the shipped file has changed; name the piece anew"
    (copy / deletion.file).write_text(text.replace(deletion.piece, deletion.instead, 1), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    lived = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "0", str(deletion.within)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=240,
    )
    assert lived.returncode == 1, lived.stdout + lived.stderr
    assert "Broken" in lived.stdout
