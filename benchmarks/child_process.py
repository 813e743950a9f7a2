"""Measurements in a fresh process: ``python -m benchmarks.child_process MODULE FUNCTION JSON`` prints the figures."""

import asyncio
import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
LIMIT_SECONDS: Final = 900
"""Most seconds of a measurement; one that takes longer has failed."""


class Failed(Exception):
    """End of a measurement without figures; the message is its last line of output."""


def started(function: str, python: str = sys.executable, **values: Any) -> subprocess.Popen[str]:
    """Start ``module.function`` of this package in a process of its own."""
    module, _, name = function.rpartition(".")
    command = [
        python,
        "-W",
        "ignore",
        "-m",
        "benchmarks.child_process",
        f"benchmarks.{module}",
        name,
        json.dumps(values),
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOOPKIT_", "PG", "DBOS"))}
    return subprocess.Popen(
        command, cwd=ROOT, env=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def result(child: subprocess.Popen[str], seconds: float = LIMIT_SECONDS) -> Any:
    """Wait for the end of a process and return its figures.

    Raises:
        Failed: it printed none.
    """
    try:
        said, complained = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no figures after {seconds:g} s") from error
    finally:
        child.kill()
    if child.returncode != 0:
        raise Failed((complained.strip() or said.strip() or "no words").splitlines()[-1])
    return json.loads(said.strip().splitlines()[-1])


def call(function: str, python: str = sys.executable, **values: Any) -> Any:
    """Run ``module.function`` in a fresh process and return its figures."""
    return result(started(function, python, **values))


def main(module: str, name: str, values: str) -> None:
    given = getattr(importlib.import_module(module), name)(**json.loads(values))
    if inspect.iscoroutine(given):
        given = asyncio.run(given)
    print(json.dumps(given), flush=True)
    os._exit(0)  # threads that a peer leaves behind hold nothing up


if __name__ == "__main__":
    main(*sys.argv[1:])
