"""The command init."""

import pytest

from tests.cli.conftest import Program


def test_init_writes_an_agent_that_works(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """What init writes passes at once, and shows a revision on the way."""
    made = cli.good("init", "greetings")
    assert made.lines == ["greetings/agents.yaml", "greetings/hello.py"]
    assert "cd greetings && loopkit-cli run hello --input name=World" in made.stderr
    monkeypatch.chdir("greetings")
    run = cli.good("run", "hello", "--input", "name=World", "--json").json
    assert (run["status"], run["currentAttempt"], run["finalScore"]) == ("passed", 2, 1.0)
    assert cli.good("agents").status == 0


def test_init_overwrites_nothing(cli: Program) -> None:
    """One file that is there, even a dead link, and nothing is written."""
    before = (cli.folder / "agents.yaml").read_text()
    assert "agents.yaml already exists" in cli.refused(1, "init")
    assert (cli.folder / "agents.yaml").read_text() == before
    assert not (cli.folder / "hello.py").exists()
    (cli.folder / "new").mkdir()
    (cli.folder / "new/hello.py").symlink_to("nowhere")
    assert "hello.py already exists" in cli.refused(1, "init", "new")
    assert not (cli.folder / "new/agents.yaml").exists()
    cli.good("init", "whole")
    assert "hello.py already exist; nothing" in cli.refused(1, "init", "whole")
    assert cli.refused(1, "init", "agents.yaml") == "Error: agents.yaml: File exists\n"


def test_init_can_answer_in_json(cli: Program) -> None:
    """The files, for programs."""
    assert cli.good("init", "new", "--json").json == {"files": ["new/agents.yaml", "new/hello.py"]}
