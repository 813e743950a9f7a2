"""Stages that are Python callables, passed as such or imported by name."""

import re
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from loopkit.agents.agent import StageContext
from loopkit.agents.stages.python import FunctionStage, ImportedStage
from loopkit.agents.stages.threads import call_in_thread
from loopkit.errors import InvalidConfig, StageFailed
from tests.agents.context_helpers import Lines, context


@pytest.fixture(autouse=True)
def import_path(tmp_path: Path) -> Iterator[None]:
    """Leave the import path and the modules as they were."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


async def produce(ctx: StageContext) -> str:
    await anyio.lowlevel.checkpoint()
    return f"A name for {ctx.inputs['thing']}"


class Producer:
    async def __call__(self, ctx: StageContext) -> str:
        return await produce(ctx)

    def plain(self, ctx: StageContext) -> str:
        return f"A name for {ctx.inputs['thing']}"


def with_style(style: str, ctx: StageContext) -> str:
    return f"A {style} for {ctx.inputs['thing']}"


async def async_with_style(style: str, ctx: StageContext) -> str:
    return with_style(style, ctx)


@pytest.mark.parametrize(
    ("function", "target"),
    [
        (produce, "test_python:produce"),
        (lambda ctx: f"A name for {ctx.inputs['thing']}", "test_python:<lambda>"),
        (lambda ctx: produce(ctx), "test_python:<lambda>"),  # noqa: PLW0108  (such a lambda is what is tested)
        (Producer(), "test_python:Producer"),
        (Producer().plain, "test_python:Producer.plain"),
        (partial(with_style, "name"), "test_python:with_style"),
        (partial(async_with_style, "name"), "test_python:async_with_style"),
        (partial(Producer()), "test_python:Producer"),
    ],
    ids=["async", "sync", "sync around async", "async object", "method", "partial", "async partial", "partial object"],
)
async def test_every_kind_of_callable_is_called(function: Any, target: str) -> None:
    """Sync or async, function, method, object or partial: it gets the context, and its result comes back."""
    stage = FunctionStage(function)
    assert await stage(context()) == "A name for a cat"
    assert stage.kind == "python"
    assert stage.target.endswith(target)
    assert stage.definition == stage.target
    assert stage.problem() is None


async def test_sync_callables_run_in_a_thread_and_async_ones_do_not() -> None:
    """What blocks never blocks the event loop; what is async shares it."""

    async def here(_: StageContext) -> str:
        return threading.current_thread().name

    async_name = await FunctionStage(here)(context())
    sync_name = await FunctionStage(lambda _: threading.current_thread().name)(context())
    assert async_name == threading.current_thread().name
    assert sync_name == "loopkit stage"


async def test_a_sync_callable_may_run_an_event_loop_of_its_own() -> None:
    """Its thread belongs to no event loop, whatever the runner's is."""
    stage = FunctionStage(lambda ctx: anyio.run(produce, ctx, backend="asyncio"))
    assert await stage(context()) == "A name for a cat"


async def test_log_lines_of_a_callable_left_behind_are_dropped() -> None:
    """Lines are logged while the call lasts, and none after it was left behind."""
    lines, began, release, ended = Lines(), threading.Event(), threading.Event(), threading.Event()

    def hang(ctx: StageContext) -> None:
        ctx.log("before", step=1)
        began.set()
        release.wait(60)
        ctx.log("after")
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(FunctionStage(hang), context(sink=lines))
        await call_in_thread(partial(began.wait, 60))
        tasks.cancel_scope.cancel()
    release.set()
    assert ended.wait(60)
    assert lines == [("before", {"step": 1})]


def folder_with(folder: Path, **modules: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    return folder


async def test_a_reference_is_imported_from_its_folder(tmp_path: Path) -> None:
    """The folder of the configuration comes first on the import path; attributes of attributes are found."""
    source = "from helper import WORD\nclass Tools:\n    @staticmethod\n    async def produce(ctx): return WORD"
    folder = folder_with(tmp_path / "a", stages=source, helper="WORD = 'imported'")
    stage = ImportedStage("stages:Tools.produce", folder)
    assert stage.problem() is None
    assert stage.problem() is None
    assert await stage(context()) == "imported"
    assert await stage(context()) == "imported"
    assert sys.path[0] == str(folder)
    assert (stage.kind, stage.target, stage.definition) == ("python", "stages:Tools.produce", "stages:Tools.produce")


async def test_the_import_is_made_by_the_first_call(tmp_path: Path) -> None:
    """Nothing of the user's code runs before it is needed."""
    folder = folder_with(
        tmp_path / "a", lazy_stages="import sys\nsys.lazy_stages_ran = True\ndef produce(ctx): return 1"
    )
    stage = ImportedStage("lazy_stages:produce", folder)
    assert not hasattr(sys, "lazy_stages_ran")
    assert await stage(context()) == 1
    del sys.lazy_stages_ran  # type: ignore[attr-defined]


async def test_two_configurations_may_have_modules_of_one_name(tmp_path: Path) -> None:
    """Each gets the module of its own folder, helpers included; what was imported before goes on working."""
    source = "from helper import WORD\nimport json\ndef produce(ctx): return WORD"
    first = ImportedStage("stages:produce", folder_with(tmp_path / "a", stages=source, helper="WORD = 'first'"))
    second = ImportedStage("stages:produce", folder_with(tmp_path / "b", stages=source, helper="WORD = 'second'"))
    assert await first(context()) == "first"
    assert await second(context()) == "second"
    assert await first(context()) == "first"
    inner = folder_with(tmp_path / "a" / "in", stages="def produce(ctx): return 'inner'")
    assert await ImportedStage("stages:produce", inner)(context()) == "inner"
    assert await ImportedStage("stages:produce", tmp_path / "a")(context()) == "first"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_such_module:produce", "ModuleNotFoundError"),
        ("broken:produce", "ZeroDivisionError: division by zero (broken.py:2)"),
        ("outer:produce", "ZeroDivisionError: division by zero (broken.py:2)"),
        ("typing_error:produce", "SyntaxError: '(' was never closed (typing_error.py, line 1)"),
        ("leaving:produce", "SystemExit"),
        ("stages:missing", "no attribute 'missing'"),
        ("stages:VALUE", "not callable"),
    ],
)
async def test_what_cannot_be_loaded_says_why(tmp_path: Path, reference: str, says: str) -> None:
    """The problem is known beforehand, and is the stage's error when it is called all the same."""
    folder = folder_with(tmp_path / "a", broken="\n1 / 0", leaving="import sys; sys.exit(3)", stages="VALUE = 1")
    folder_with(folder, outer="import broken", typing_error="f(")
    stage = ImportedStage(reference, folder)
    problem = stage.problem()
    assert problem is not None
    assert problem.startswith(f"cannot load {reference}: ")
    assert says in problem
    with pytest.raises(StageFailed, match=re.escape(says)):
        await stage(context())


@pytest.mark.parametrize(
    "reference", ["", "stages", "stages:", ":produce", "a b:c", "a:b:c", "a..b:c", "os;x:y", 5, None]
)
def test_a_malformed_reference_is_refused_at_once(tmp_path: Path, reference: Any) -> None:
    """It must be module:callable, each of dotted names."""
    with pytest.raises(InvalidConfig, match="module:callable") as caught:
        ImportedStage(reference, tmp_path)
    assert caught.value.key == "python"
