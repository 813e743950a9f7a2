"""The environment of the peers, apart from loopkit's own, to keep their dependencies out of it."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.child_process import ROOT

FOLDER: Final = ROOT / ".venv-peers"
REQUIREMENTS: Final = ROOT / "benchmarks" / "requirements.txt"


class NotInstalled(Exception):
    """Failed installation of the peers; the message says why."""


def python() -> str:
    """Return the interpreter that has the peers; they are installed on first use and when their versions change.

    Raises:
        NotInstalled: a package could not be installed.
    """
    found = FOLDER / "bin" / "python"
    ready, wanted = FOLDER / ".ready", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(FOLDER, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(FOLDER)])
        _run([str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)])
        ready.write_text(wanted)
    return str(found)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=Path(FOLDER.anchor), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalled((done.stderr or done.stdout).strip().splitlines()[-1])
