"""The lifespan of agents.yaml, entered by every command that works runs."""

from pathlib import Path

import pytest

from tests.cli.conftest import Program

STAGES = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def shared():
    yield "open"

@asynccontextmanager
async def broken():
    raise OSError("no server")
    yield

@asynccontextmanager
async def needy(ctx):
    yield "open"

async def bare():
    yield "open"

number = 7

def produce(ctx):
    return f"the client is {ctx.deps}"

def evaluate(ctx):
    return 1.0
"""


def write_config(cli: Program, name: str) -> tuple[str, str]:
    folder = Path(cli.folder)
    (folder / "shared_stages.py").write_text(STAGES)
    stages = '{produce: {python: "shared_stages:produce"}, evaluate: {python: "shared_stages:evaluate"}}'
    config = folder / f"{name}.yaml"
    config.write_text(f'lifespan: "shared_stages:{name}"\nagents:\n  a: {stages}\n')
    return ("--config", str(config))


def test_run_and_worker_enter_it(cli: Program) -> None:
    """What it yields reaches the stages."""
    config = write_config(cli, "shared")
    assert cli.good("run", "a", *config).stdout == "the client is open"
    queued = cli.good("submit", "a", *config).stdout.strip()
    cli.good("worker", "--drain", *config)
    assert cli.good("show", queued, "--json").json["status"] == "passed"


@pytest.mark.parametrize("command", [("run", "a"), ("worker", "--drain")])
def test_one_that_cannot_be_entered_is_a_fault_of_the_configuration(cli: Program, command: tuple[str, ...]) -> None:
    """Exit status 2; no run is made, and the error has no traceback."""
    done = cli(*command, *write_config(cli, "broken"))
    assert (done.status, done.stdout) == (2, "")
    assert "lifespan: cannot enter shared_stages:broken: OSError: no server" in done.stderr
    assert "Traceback" not in done.stderr
    assert cli.good("list", "--json").json["runs"] == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("needy", "cannot enter shared_stages:needy: it must be callable without arguments: TypeError: missing a "),
        ("bare", "cannot enter shared_stages:bare: decorate it with contextlib.asynccontextmanager"),
        ("number", "cannot load shared_stages:number: it is not callable"),
        ("absent", "cannot load shared_stages:absent: AttributeError: "),
    ],
)
def test_one_that_cannot_be_loaded_is_found_before_a_run(cli: Program, name: str, problem: str) -> None:
    """``agents`` says what is wrong, beside stages that can be loaded."""
    config = write_config(cli, name)
    done = cli("agents", "--json", *config)
    assert done.status == 1
    [agent] = done.json["agents"]
    assert agent["lifespan"]["target"] == f"shared_stages:{name}"
    assert agent["lifespan"]["problem"].startswith(problem)
    assert {stage["problem"] for stage in agent["stages"].values()} == {None}
    assert f"  lifespan  python   shared_stages:{name}  ✗ {problem}" in cli("agents", *config).stdout


def test_one_that_can_be_loaded_is_listed(cli: Program) -> None:
    """It is not entered."""
    config = write_config(cli, "broken")
    assert cli.good("agents", "--json", *config).json["agents"][0]["lifespan"]["problem"] is None
    assert "  lifespan  python   shared_stages:broken" in cli.good("agents", *config).lines
