"""One held run worked on its own, as ``run`` does, with a keeper and a task group of its own."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from loopkit.agents.agent import Agent
from loopkit.core.lease import HEARTBEAT
from loopkit.core.run import Run
from loopkit.errors import LeaseLost
from loopkit.eventloop import EventLoop
from loopkit.runner.environment import Environment
from loopkit.runner.held_run import HeldRun
from loopkit.runner.keeper import Interrupt, Keeper
from loopkit.runner.runner_context import RunnerContext
from loopkit.runner.stop_request import Stopping
from loopkit.runner.task_groups import open_tasks
from loopkit.storage import Held, Storage

__all__ = ["work_run"]


async def work_run(
    store: Storage,
    agent: Agent,
    held: Held,
    *,
    heartbeat: timedelta = HEARTBEAT,
    stopping: Stopping | None = None,
    environment: Environment | None = None,
    deps: Mapping[str, Any] | None = None,
) -> Run:
    """Work one held run to its end, or to its release when a stop is requested; return it as it was left.

    Args:
        deps: what the lifespans yielded, by the name of the agent.

    Raises:
        LeaseLost: another runner holds the run or may hold it.
    """
    environment = environment or Environment()
    keeper = Keeper(store, environment.clock, heartbeat=heartbeat)
    stopping = stopping or Stopping()
    async with open_tasks() as tasks:
        loop = EventLoop()
        context = RunnerContext(
            storage=store,
            keeper=keeper,
            environment=environment,
            loop=loop,
            tasks=tasks,
            stopping=stopping,
            deps=deps or {},
        )
        held_run = HeldRun(context, agent, held, since=environment.clock.monotonic())

        def apply_stop_request() -> None:
            if stopping.ending:
                held_run.interrupt(Interrupt.END)

        stop_listening = stopping.listen(lambda: loop.call_soon(apply_stop_request))
        try:
            with environment.keep_leases(keeper):
                await held_run.work()
        finally:
            stop_listening()
        tasks.cancel_scope.cancel()
    if held_run.is_lost:
        raise LeaseLost(held.run.id)
    return held_run.run
