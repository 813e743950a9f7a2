"""The entry point of the console script: Ctrl+C while the program is loaded."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parents[2] / "packages/loopkit-cli/pyproject.toml"

INTERRUPTED: Final = """
import os, signal, sys
from importlib import import_module

_, interrupted, target = sys.argv

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == interrupted:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
module, _, function = target.partition(":")
start = getattr(import_module(module), function)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["loopkit-cli", "list"]
sys.exit(start())
"""


@pytest.mark.parametrize("module", ["loopkit_cli.main", "click", "loopkit_cli.commands.list", "sqlalchemy"])
def test_a_program_that_is_interrupted_while_it_is_loaded(module: str, tmp_path: Path) -> None:
    """It ends with the status of SIGINT and no traceback, whichever module is being imported."""
    target = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["scripts"]["loopkit-cli"]
    command = [sys.executable, "-c", INTERRUPTED, module, target]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
