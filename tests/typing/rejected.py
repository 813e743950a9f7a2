"""Mistakes that mypy reports. Each line carries the error that it must cause: an ignored error that does not occur is
an error itself (``warn_unused_ignores``). Nothing here is run.
"""

import loopkit
import loopkit_web
from loopkit.storage import Storage

agent = loopkit.Agent(name="one", produce=lambda ctx: "text", evaluate=lambda ctx: 1.0)


def misspelt_names() -> None:
    loopkit.Agnet  # type: ignore[attr-defined]  # noqa: B018
    loopkit.run_snyc(agent)  # type: ignore[attr-defined]
    loopkit_web.create_ap()  # type: ignore[attr-defined]
    loopkit.RunStatus.PASED  # type: ignore[attr-defined]  # noqa: B018


def misspelt_arguments() -> None:
    loopkit.Agent(name="one", prodce=lambda ctx: "text", evaluate=lambda ctx: 1.0)  # type: ignore[call-arg]
    loopkit.run_sync(agent, {}, max_attempt=3)  # type: ignore[call-arg]
    loopkit_web.create_app("sqlite:///loopkit.db", [agent], readonly=True)  # type: ignore[call-arg]


def of_two(ctx: loopkit.StageContext, other: int) -> str:
    return "text"


def wrong_stages() -> None:
    loopkit.Agent(name="one", produce=of_two, evaluate=lambda ctx: 1.0)  # type: ignore[arg-type]
    loopkit.Agent(name="one", produce=lambda ctx: "text", evaluate=42)  # type: ignore[arg-type]
    loopkit.Agent(name="one", produce=of_two, evaluate=42)  # type: ignore[arg-type]
    loopkit.Agent(name="one", produce=lambda: "text", evaluate=lambda ctx: 1.0)  # type: ignore[arg-type, misc]
    loopkit.stage(of_two)  # type: ignore[arg-type]
    loopkit.stage("module:callable")  # type: ignore[arg-type]
    loopkit.stage(lambda ctx: "text", timout=5)  # type: ignore[call-arg]
    loopkit.command("./score.sh", timeout="5")  # type: ignore[arg-type]
    loopkit.prompt(5, model="openai:m")  # type: ignore[arg-type]


def wrong_panels() -> None:
    loopkit.Panel(judges=[of_two])  # type: ignore[list-item]
    loopkit.Panel(checks=[42])  # type: ignore[list-item]
    loopkit.Panel(checks=[loopkit.Judge(lambda ctx: 1.0)])  # type: ignore[list-item]
    loopkit.Panel(judges=[lambda ctx: 1.0], combine="average")  # type: ignore[arg-type]
    loopkit.Panel(judges=[lambda ctx: 1.0], timeout=5)  # type: ignore[call-arg]
    loopkit.Judge(of_two)  # type: ignore[arg-type]
    loopkit.Judge(lambda ctx: 1.0, samples="3")  # type: ignore[arg-type]
    loopkit.Judge(lambda ctx: 1.0, criteria={"plain": 5})  # type: ignore[dict-item]
    loopkit.Criterion("Plain.", answer="maybe")  # type: ignore[arg-type]
    loopkit.Criterion("Plain.", passmark=0.5)  # type: ignore[call-arg]


def wrong_values(store: Storage) -> None:
    loopkit.run_sync(agent, {}, max_attempts="3")  # type: ignore[arg-type]
    loopkit.run_sync("namer", {})  # type: ignore[arg-type]
    loopkit.Runner(store, agent)  # type: ignore[arg-type]
    loopkit_web.create_app(None, [agent])  # type: ignore[arg-type]


def a_misspelt_part_of_an_evaluation() -> object:
    return loopkit.run_sync(agent).evaluation.scroe  # type: ignore[union-attr]


def a_changed_value(run: loopkit.Run) -> None:
    run.status = loopkit.RunStatus.PASSED  # type: ignore[misc]


async def a_forgotten_await(store: Storage) -> None:
    store.get_run("run_1").id  # type: ignore[attr-defined]  # noqa: B018
