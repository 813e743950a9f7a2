"""Short commands from their start to their end, and an answer of ``serve`` on a kept connection."""

import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import standard

ANSWER = "an answer of serve on a kept connection"
AGENTS = f"""
agents:
  {standard.NAME}:
    produce: {{command: ["true"]}}
    evaluate: {{command: ["true"]}}
"""


def commands(url: str, times: int) -> dict[str, list[float]]:
    """Return the milliseconds of CPU of each command, and those of an answer by the clock, each that many times."""
    with tempfile.TemporaryDirectory() as folder:
        agents = Path(folder) / "agents.yaml"
        agents.write_text(AGENTS)
        common = ["--database", url]
        asked = {
            "list": ["list", *common],
            "show": ["show", "last", *common],
            "submit": ["submit", standard.NAME, "--config", str(agents), *common, "--input", "topic=rivers"],
        }
        found: dict[str, list[float]] = {f"{name}: CPU to the end": [] for name in asked}
        for _ in range(times):
            for name, arguments in asked.items():
                found[f"{name}: CPU to the end"].append(1000 * _cpu(arguments, folder))
        with _served(common, folder) as port:
            found[ANSWER] = _answers(port, times)
    return found


def _program(arguments: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name("loopkit-cli")), *arguments]


def _environment() -> dict[str, str]:
    """Return the environment of a user, whose interpreter keeps what it compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _cpu(arguments: list[str], folder: str) -> float:
    """Return the CPU seconds of one command."""
    child = subprocess.Popen(_program(arguments), cwd=folder, env=_environment(), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, arguments
    return used.ru_utime + used.ru_stime


@contextmanager
def _served(common: list[str], folder: str) -> Iterator[int]:
    """Serve the database and yield the port."""
    command = _program(["serve", "--port", "0", *common])
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if said := re.search(r"http://[^:/]+:(\d+)", line):
                    yield int(said[1])
                    break
        finally:
            server.terminate()


def _answers(port: int, times: int) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took = []
    for _ in range(times):
        rounds = []
        for _ in range(10):
            began = time.perf_counter()
            connection.request("GET", "/api/workflows?limit=10")
            connection.getresponse().read()
            rounds.append(1000 * (time.perf_counter() - began))
        took.append(statistics.median(rounds))
    connection.close()
    return took
