"""The command label, the options for titles and tags, and the lists that they filter."""

import json

import pytest

from tests.cli.conftest import Program


def test_new_runs_get_a_title_and_tags(cli: Program) -> None:
    """``run`` and ``submit`` take them, for each run of a batch too."""
    labels = ("--title", " Report of May ", "--tag", "weekly", "--tag", "b", "--tag", "weekly")
    (run,) = cli.good("submit", "writer", "--input", "topic=a", *labels, "--json").json["runs"]
    assert (run["title"], run["tags"]) == ("Report of May", ["b", "weekly"])
    worked = cli.good("run", "writer", "--input", "topic=a", *labels, "--json").json
    assert (worked["title"], worked["tags"]) == ("Report of May", ["b", "weekly"])
    batch = cli.good("submit", "writer", "--batch", "-", "--tag", "b", "--json", stdin=b'{"topic": "a"}\n' * 2).json
    assert [run["tags"] for run in batch["runs"]] == [["b"], ["b"]]
    shown = cli.good("show", run["id"]).stdout
    assert "Report of May" in shown
    assert "b, weekly" in shown


@pytest.mark.parametrize(
    "bad",
    [
        ("--title", ""),
        ("--title", "x" * 201),
        ("--title", "two\nlines"),
        ("--tag", " "),
        ("--tag", "x" * 51),
        tuple(word for number in range(21) for word in ("--tag", f"t{number}")),
    ],
)
def test_bad_labels_are_usage_errors(cli: Program, bad: tuple[str, ...]) -> None:
    """Status 2 and nothing queued or changed, in every command that takes them."""
    run_id = cli.submit()
    for command in (("submit", "writer", "--input", "topic=a"), ("run", "writer", "--input", "topic=a")):
        cli.refused(2, *command, *bad, "--json")
    cli.refused(2, "label", run_id, *bad, "--json")
    (run,) = cli.good("list", "--json").json["runs"]
    assert (run["id"], run["title"], run["tags"]) == (run_id, None, [])


def test_labels_change_in_every_state(cli: Program) -> None:
    """What is not named stays; the run is printed as it is then."""
    run_id = cli.run()["id"]
    first = cli.good("label", run_id, "--title", "T", "--tag", "a", "--tag", "b", "--json").json
    assert (first["title"], first["tags"]) == ("T", ["a", "b"])
    assert cli.good("label", run_id, "--json").json == first == cli.good("show", run_id, "--json").json
    assert cli.good("label", run_id, "--untag", "a", "--tag", "c").lines == [run_id]
    last = cli.good("label", run_id, "--no-title", "--untag", "nobody", "--json").json
    assert (last["title"], last["tags"]) == (None, ["b", "c"])
    events = cli.good("events", run_id, "--json").json["events"]
    assert "label" not in json.dumps(events)
    assert "exclude each other" in cli.refused(2, "label", run_id, "--title", "T", "--no-title")
    both = cli.refused(2, "label", run_id, "--tag", "x", "--tag", "new ", "--untag", "new", "--json")
    assert "--tag and --untag exclude each other: new" in both
    assert cli.good("show", run_id, "--json").json["tags"] == ["b", "c"]
    cli.refused(1, "label", "run_unknown00", "--title", "T", "--json")


def test_lists_are_filtered_by_tags_and_reason(cli: Program) -> None:
    """All tags must be there; a reason is one of those that loopkit ends runs for."""
    both = cli.good("submit", "writer", "--input", "topic=a", "--tag", "a", "--tag", "b").stdout.strip()
    cli.good("submit", "writer", "--input", "topic=a", "--tag", "a")
    passed = cli.run()["id"]
    cancelled = cli.good("cancel", cli.submit()).stdout.strip()

    def listed(*options: str) -> list[str]:
        return [run["id"] for run in cli.good("list", *options, "--json").json["runs"]]

    assert listed("--tag", "b", "--tag", "a") == [both]
    assert len(listed("--tag", "a")) == 2
    assert listed("--reason", "score_passed") == [passed]
    assert listed("--reason", "cancel_requested", "--agent", "writer") == [cancelled]
    assert listed("--reason", "stage_error") == listed("--tag", "nobody") == []
    assert "'bored'" in cli.refused(2, "list", "--reason", "bored")
    assert "#a #b" in cli.good("list", "--tag", "b").stdout


def test_a_key_queues_a_run_once(cli: Program) -> None:
    """The same request with a key prints the same run, also after its labels changed; another request is refused."""
    once = ("submit", "writer", "--input", "topic=a", "--idempotency-key", "k")
    first = cli.good(*once, "--tag", "t").stdout.strip()
    cli.good("label", first, "--title", "New", "--untag", "t")
    assert cli.good(*once, "--tag", "t").stdout.strip() == first
    for other in (("--tag", "other"), ("--title", "T"), ("--max-attempts", "7"), ()):
        assert "'k'" in cli.refused(1, *once, *other, "--json")
    assert len(cli.good("list", "--json").json["runs"]) == 1
    assert "leave out --batch" in cli.refused(2, *once[:2], "--batch", "-", "--idempotency-key", "k")
    cli.refused(2, *once[:-1], "")
    cli.refused(2, *once[:-1], "ü")
