"""The command artifacts."""

import json

from tests.cli.conftest import Program


def test_artifacts_are_listed(cli: Program) -> None:
    """An output before its evaluation; contents in JSON, a table for people."""
    run = cli.run()
    artifacts = cli.good("artifacts", run["id"], "--json").json["artifacts"]
    names = ["attempt-1.md", "attempt-1.eval.json", "attempt-2.md", "attempt-2.eval.json"]
    assert [artifact["filename"] for artifact in artifacts] == names
    assert artifacts[0]["content"] == "producing: sheep, 100 words"
    assert [line.split()[2] for line in cli.good("artifacts", run["id"]).lines] == ["FILE", *names]


def test_artifacts_are_saved(cli: Program) -> None:
    """Each to a file of its name, also with --json; never outside the folder."""
    run = cli.run()
    cli.sql("update workflow_artifacts set filename='../outside.md' where filename='attempt-2.md'")
    saved = cli.good("artifacts", run["id"], "--save", "made").lines
    assert (cli.folder / "made/attempt-1.md").read_text() == "producing: sheep, 100 words"
    assert json.loads((cli.folder / "made/attempt-1.eval.json").read_text())["score"] == 0.5
    assert len(saved) == len(list((cli.folder / "made").iterdir())) == 4
    assert not (cli.folder / "outside.md").exists()
    assert len(cli.good("artifacts", run["id"], "--save", "made", "--json").json["artifacts"]) == 4
    (cli.folder / "made/attempt-1.md").write_text("mine")
    assert "other content" in cli.refused(1, "artifacts", run["id"], "--save", "made", "--json")
