"""No safeguard of the protocol can be deleted from the shipped files without a schedule that breaks."""

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
    """A piece of a shipped file, its replacement, and the seed of a schedule that breaks without it."""

    name: str
    ground: str
    file: str
    piece: str
    instead: str
    within: int
    panels: bool = False
    """True when it takes runs that checks and judges evaluate."""


DELETIONS = (
    Deletion(
        "the fence",
        "sqlite",
        "stores/sql/statements/changes.py",
        """        runs.c.fencing_token == lease["fencing_token"],
        runs.c.lease_id == lease["lease_id"],
        runs.c.claimed_by == lease["claimed_by"],
""",
        # The statement still takes the values, in the same order.
        '*(lease[name].isnot(None) for name in ("fencing_token", "lease_id", "claimed_by")),',
        100,
    ),
    Deletion("the status guard", "sqlite", "stores/sql/statements/changes.py", "        running,\n", "", 50),
    Deletion(
        "the count of the rows that were written as meant",
        "sqlite",
        "stores/sql/writes/sqlite_executor.py",
        ".rowcount != len(values)",
        ".rowcount < 0",
        50,
    ),
    Deletion(
        "the read-back",
        "sqlite",
        "stores/sql/writes/writer.py",
        "if not (unknown and self._executor.read_back(batch)):",
        "if True:",
        500,
    ),
    Deletion(
        "the clock rule",
        "sqlite",
        "stores/sql/schema/rows.py",
        "return and_(running, func.coalesce(is_silent, true()))",
        "return running",
        5,
    ),
    Deletion(
        "the fence of model calls and verdicts",
        "sqlite",
        "stores/sql/statements/ledger_rows.py",
        'runs.c.last_write == values["nonce"]',
        'values["nonce"].isnot(None)',
        100,
    ),
    Deletion(
        "sums counted from what the holder knows to be stored",
        "memory",
        "stores/memory.py",
        "change.sums",
        "attrs.evolve(change, run=run).sums",
        100,
    ),
    Deletion(
        "the fence of the memory store",
        "memory",
        "stores/memory_rows.py",
        """ and (run.lease_id, run.claimed_by, run.fencing_token) == (
            lease.lease_id,
            lease.claimed_by,
            lease.fencing_token,
        )""",
        "",
        100,
    ),
    Deletion(
        "the clock rule of the memory store",
        "memory",
        "core/run.py",
        " and abs(now - run.last_seen_at) > stalled_after",
        "",
        5,
    ),
    Deletion(
        "recognizing a change that is asked for again",
        "memory",
        "stores/memory.py",
        "change.artifact is not None and (stored :=",
        "False and (stored :=",
        150,
    ),
    Deletion(
        "the verdicts that are stored",
        "memory",
        "runner/verdicts/panel_call.py",
        "if stored is not None:",
        "if False:",
        30,
        panels=True,
    ),
    Deletion(
        "the quorum of a panel",
        "memory",
        "core/panel/panel_results.py",
        "if sum(result.error is None for result in counted) >= rules.needed:",
        "if True:",
        60,
        panels=True,
    ),
    Deletion(
        "the scores of earlier attempts after a take-over",
        "sqlite",
        "core/resumption.py",
        "return Resumption(run=_run_at(run, stage, number, best), attempts=attempts)",
        "return Resumption(run=_run_at(run, stage, number, best))",
        60,
        panels=True,
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
        [
            *(sys.executable, "-m", "tests.simulation", "--store", deletion.ground),
            *(["--panels"] if deletion.panels else []),
            *("0", str(deletion.within)),
        ],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=240,
    )
    assert lived.returncode == 1, lived.stdout + lived.stderr
    assert "Broken" in lived.stdout
