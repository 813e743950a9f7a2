"""The lifespan of what stages share: entered before the first stage, once, and left after the last one."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import loopkit

Log = list[str]


def lifespan_into(log: Log) -> Callable[[], AbstractAsyncContextManager[str]]:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        log.append("enter")
        yield "client"
        log.append("exit")

    return lifespan


def agent_into(log: Log, name: str = "a", **settings: Any) -> loopkit.Agent:
    def produce(ctx: loopkit.StageContext) -> str:
        log.append(f"produce with {ctx.deps}")
        return "text"

    return loopkit.Agent(name=name, produce=produce, evaluate=lambda ctx: 1.0, **settings)


async def test_a_run_has_a_lifespan() -> None:
    """What it yields is ``ctx.deps``; without one that is None."""
    log: Log = []
    await loopkit.run(agent_into(log), lifespan=lifespan_into(log))
    assert log == ["enter", "produce with client", "exit"]
    log.clear()
    await loopkit.run(agent_into(log))
    assert log == ["produce with None"]


async def test_a_runner_enters_its_lifespan_once_for_all_runs() -> None:
    """Before the first stage, and it leaves it after the last."""
    log: Log = []
    agents = [agent_into(log, "a"), agent_into(log, "b")]
    async with loopkit.MemoryStore() as store:
        for agent in agents:
            await loopkit.submit(store, agent, [{}, {}])
        await loopkit.Runner(store, agents, lifespan=lifespan_into(log)).drain()
    assert log == ["enter", *["produce with client"] * 4, "exit"]


async def test_an_agent_carries_a_lifespan() -> None:
    """Agents that share one share what it yields; that of the runner replaces it."""
    log: Log = []
    own = lifespan_into(log)
    agents = [agent_into(log, "a", lifespan=own), agent_into(log, "b", lifespan=own), agent_into(log, "c")]
    async with loopkit.MemoryStore() as store:
        for agent in agents:
            await loopkit.submit(store, agent, [{}])
        await loopkit.Runner(store, agents).drain()
        assert sorted(log) == ["enter", "exit", "produce with None", "produce with client", "produce with client"]
        log.clear()
        other: Log = []
        await loopkit.run(agents[0], lifespan=lifespan_into(other))
    assert (log, other) == (["produce with client"], ["enter", "exit"])


async def test_an_error_on_entering_is_raised_before_a_run_is_made_or_claimed() -> None:
    """As it is; the runs stay queued."""

    def connect() -> None:
        raise ConnectionError("no server")

    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        connect()
        yield

    agent = agent_into([])
    async with loopkit.MemoryStore() as store:
        (queued,) = await loopkit.submit(store, agent, [{}])
        with pytest.raises(ConnectionError):
            await loopkit.Runner(store, [agent], lifespan=broken).drain()
        with pytest.raises(ConnectionError):
            await loopkit.run(agent, store=store, lifespan=broken)
        assert [run.id for run in (await store.list_runs(loopkit.storage.RunQuery())).runs] == [queued.id]
        assert (await store.get_run(queued.id)).status is loopkit.RunStatus.QUEUED


@pytest.mark.parametrize("wrong", [5, lambda: 5])
async def test_what_is_no_lifespan_is_refused(wrong: Any) -> None:
    """With what to write instead."""
    with pytest.raises(loopkit.UnusableOption, match="the lifespan must"):
        await loopkit.run(agent_into([]), lifespan=wrong)


CONFIG = """
lifespan: "{module}:{name}"
agents:
  a: {{produce: {{python: "{module}:produce"}}, evaluate: {{python: "{module}:evaluate"}}}}
"""

STAGES = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def shared():
    yield {"client": "open"}

@asynccontextmanager
async def broken():
    raise OSError("no server")
    yield

def produce(ctx):
    return ctx.deps["client"]

def evaluate(ctx):
    return 1.0
"""


def load(folder: Path, name: str) -> loopkit.Agent:
    module = f"lifespan_stages_{name}"
    (folder / f"{module}.py").write_text(STAGES)
    (folder / "agents.yaml").write_text(CONFIG.format(module=module, name=name))
    return loopkit.load_agents(folder / "agents.yaml")["a"]


async def test_agents_of_a_file_carry_its_lifespan(tmp_path: Path) -> None:
    """A name at the top of agents.yaml."""
    assert (await loopkit.run(load(tmp_path, "shared"))).output == "open"


@pytest.mark.parametrize(
    ("name", "says"),
    [("broken", "OSError: no server"), ("missing", "AttributeError"), ("evaluate", "TypeError")],
)
async def test_a_lifespan_of_a_file_that_cannot_be_entered_is_a_fault_of_it(
    tmp_path: Path, name: str, says: str
) -> None:
    """The error names the callable and what it raised."""
    with pytest.raises(loopkit.InvalidConfig, match=rf"lifespan: cannot .*{name}.*{says}"):
        await loopkit.run(load(tmp_path, name))


def test_a_lifespan_that_is_no_reference_is_refused_at_load(tmp_path: Path) -> None:
    """With file, line and key."""
    (tmp_path / "agents.yaml").write_text("lifespan: shared\nagents: {}\n")
    with pytest.raises(loopkit.InvalidConfig) as error:
        loopkit.load_agents(tmp_path / "agents.yaml")
    assert (error.value.line, error.value.key) == (1, "lifespan")
