"""The command usage."""

from tests.cli.conftest import Program

KEYS = [
    *("id", "stage", "attempt", "judge", "sample", "try", "model", "inputTokens", "outputTokens", "cachedTokens"),
    *("usd", "seconds", "state", "createdAt"),
]


def test_usage_as_json(cli: Program) -> None:
    """The calls, oldest first, and the usage of the run."""
    run = cli.run("spender")
    document = cli.good("usage", run["id"], "--json").json
    assert [list(call) for call in document["calls"]] == [KEYS] * 4
    first = document["calls"][0]
    assert {key: first[key] for key in KEYS[1:-1]} == {
        "stage": "producing",
        "attempt": 1,
        "judge": None,
        "sample": None,
        "try": 1,
        "model": "local:m",
        "inputTokens": 100,
        "outputTokens": 20,
        "cachedTokens": 40,
        "usd": 0.0125,
        "seconds": None,
        "state": "answered",
    }
    assert document["total"] == run["usage"]
    assert {**run["usage"], "seconds": 0} == {
        "inputTokens": 202,
        "outputTokens": 40,
        "usd": 0.025,
        "unpricedCalls": 2,
        "seconds": 0,
    }


def test_usage_for_people(cli: Program) -> None:
    """A table, and the sums below it; what is not known is a dash."""
    cli.run("spender")
    done = cli.good("usage", "last")
    rows = [line.split() for line in done.lines]
    assert rows[0][:3] == ["STAGE", "ATTEMPT", "JUDGE"]
    assert rows[1][:9] == ["producing", "1", "-", "1", "local:m", "100", "20", "40", "0.0125"]
    assert rows[2][4:9] == ["local:free", "1", "0", "-", "-"]
    assert "202 tokens in, 40 out, 0.025 usd, 2 calls without a price" in done.stderr
    assert "202 tokens in, 40 out, 0.025 usd" in cli.good("show", "last").stdout


def test_a_run_without_calls(cli: Program) -> None:
    """Says so; one that is not there is refused."""
    cli.run()
    assert "no model call is booked" in cli.good("usage", "last").stderr
    assert cli.good("usage", "last", "--json").json["calls"] == []
    assert "usage" not in cli.good("show", "last").stdout
    assert "run_x" in cli.refused(1, "usage", "run_x")


def test_a_budget_on_the_command_line(cli: Program) -> None:
    """It replaces the agent's; a wrong one is bad usage, and so is one for a run that is there."""
    run = cli("run", "spender", "--budget", "usd=0.0125", "--json").json
    assert (run["endReason"], run["currentAttempt"]) == ("budget_exhausted", 1)
    assert "0.0125 of 0.0125 usd" in run["errorMessage"]
    done = cli.good("submit", "spender", "--budget", "tokens=5, seconds=9", "--batch", "-", "--json", stdin=b"{}\n{}\n")
    assert [queued["policy"] for queued in done.json["runs"]] == [{"budget": {"tokens": 5, "seconds": 9.0}}] * 2
    for limits in ("usd=0", "tokens=1.5", "usd", "minutes=3", "usd=1,usd=2", "", "seconds=nan"):
        assert "--budget" in cli.refused(2, "run", "spender", "--budget", limits)
    assert "--budget" in cli.refused(2, "run", "spender", "--workflow-id", "run_x", "--budget", "usd=1")
