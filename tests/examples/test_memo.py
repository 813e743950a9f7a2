"""The example `memo`, as its README runs it: with its own scripted model, and with a server that one variable names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agents.model_server_helpers import MOODS, ModelServer
from tests.examples.example_helpers import EXAMPLES

TOPIC = "moving the weekly review to Tuesday"


def run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEMO_")}
    command = [sys.executable, str(EXAMPLES / "memo/memo.py"), *TOPIC.split()]
    return subprocess.run(command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True)


def test_it_is_written_judged_and_revised_by_its_script(tmp_path: Path) -> None:
    """Each revision adds what the judge missed, until nothing is missing."""
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "# Moving the weekly review to tuesday\n\nMuch speaks for it.\n\n"
        "Decision: we do it, starting next week.\n\nNext step: the team lead tells everybody by Friday.\n"
    )
    assert done.stderr.splitlines()[-1] == "passed at attempt 3: 1.00"


@pytest.mark.parametrize("mood", ["well", "plain text only"])
def test_any_server_takes_the_place_of_the_script(tmp_path: Path, mood: str) -> None:
    """Also one that knows neither tools nor schemas; the key is sent where there is one."""
    with ModelServer([MOODS[mood]]) as server:
        done = run(tmp_path, MEMO_BASE_URL=server.url, MEMO_MODEL="tiny", MEMO_API_KEY="sk-1")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("A name for a cat.\n", "passed at attempt 1: 0.90")
    assert server.requests[0].messages == [
        ("system", "You write short memos that a busy reader can act on.\n"),
        ("user", f"Write a memo about {TOPIC}.\nBegin with a heading.\n"),
    ]
    assert {(request.body["model"], request.headers["authorization"]) for request in server.requests} == {
        ("tiny", "Bearer sk-1")
    }
