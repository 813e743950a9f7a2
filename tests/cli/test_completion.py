"""The command completion, and the completion of agents' names."""

import pytest

from tests.cli.conftest import Program


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(cli: Program, shell: str) -> None:
    """Of the shell that was asked for."""
    assert "_LOOPKIT_CLI_COMPLETE" in cli.good("completion", shell).stdout
    assert "'csh' is not one of" in cli.refused(2, "completion", "csh")


def test_agents_are_completed(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names come from agents.yaml; one that does not load completes nothing and says nothing."""
    monkeypatch.setenv("_LOOPKIT_CLI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "loopkit-cli run wr")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        cli("run")
    assert "writer" in cli._capture.readouterr().out
    (cli.folder / "agents.yaml").write_text("nonsense")
    with pytest.raises(SystemExit):
        cli("run")
    out, err = cli._capture.readouterr()
    assert (out.strip(), err) == ("", "")
