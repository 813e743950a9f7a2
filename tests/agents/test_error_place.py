"""Where a stage's code failed: the exception, the user's part of its traceback, and file and line."""

import importlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import loopkit
from loopkit.agents.error_place import MAX_TRACEBACK_BYTES, error_details, raised_by_stage
from loopkit.core.journal import EventType, RunEvent
from loopkit.errors import BadOutput, StageFailed, StageTimedOut

SECRET = "sk-0123456789"

MINE = """
import json, os
class Mine(Exception): pass
def helper(document):
    return document["missing"]
def produce(ctx): return helper({})
def calls_a_library(ctx): return json.loads("{")
def own_class(ctx): raise Mine("no")
def chained(ctx):
    try: helper({})
    except KeyError as error: raise ValueError("wrapped") from error
def with_key(ctx): raise RuntimeError("refused: " + os.environ["TEST_KEY"])
def long(ctx): raise RuntimeError("x" * 100_000 + " the end")
async def asynchronous(ctx): return helper({})
class Hostile(Exception):
    def __str__(self): raise SystemExit
def hostile(ctx): raise Hostile
def evaluate(ctx): return 1.0
def fails_once(ctx):
    if not ctx.inputs.get("seen") and not os.path.exists("seen"):
        open("seen", "w").close()
        helper({})
    return "x"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of a user, with stages that fail."""
    (tmp_path / "stages_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("stages_of_mine", None)
    yield importlib.import_module("stages_of_mine")
    del sys.modules["stages_of_mine"]


async def failure(produce: Callable[[Any], Any], **options: Any) -> tuple[loopkit.Run, list[RunEvent]]:
    """Work a run whose first stage fails; give the run and its events."""
    store = loopkit.MemoryStore()
    result = await loopkit.run(loopkit.Agent(name="a", produce=produce, evaluate=lambda _: 1.0, **options), store=store)
    return result.run, await store.list_events(result.run.id)


async def details_of(produce: Callable[[Any], Any]) -> Any:
    """The metadata of the error event of a run whose first stage fails."""
    _, events = await failure(produce)
    (error,) = [event for event in events if event.event_type is EventType.ERROR]
    return error.metadata


@pytest.mark.parametrize("name", ["produce", "asynchronous"])
async def test_the_users_part_of_the_traceback_is_kept(mine: Any, name: str) -> None:
    """From the first frame of the user's to the end; sync stages in their thread and async ones alike."""
    details = await details_of(getattr(mine, name))
    assert details["exception"] == "KeyError"
    assert details["at"] == "stages_of_mine.py:5"
    first, *frames = details["traceback"].splitlines()
    assert first == "Traceback (most recent call last):"
    assert "stages_of_mine.py" in frames[0]
    assert details["traceback"].endswith("KeyError: 'missing'")
    assert "stage_call.py" not in details["traceback"]


async def test_an_error_inside_a_library_is_placed_at_the_users_line(mine: Any) -> None:
    """The last frame of all is json's; the line to look at is the user's. The traceback has both."""
    details = await details_of(mine.calls_a_library)
    assert details["at"] == "stages_of_mine.py:7"
    assert details["exception"] == "json.decoder.JSONDecodeError"
    assert "decoder.py" in details["traceback"]


async def test_the_message_names_the_stage(mine: Any) -> None:
    """As its key in agents.yaml; the event's message is the run's error."""
    run, events = await failure(mine.produce)
    assert run.error_message == "produce: KeyError: 'missing'"
    assert [event.message for event in events if event.event_type is EventType.ERROR] == [run.error_message]
    store = loopkit.MemoryStore()
    agent = loopkit.Agent(name="a", produce=lambda _: "x", evaluate=mine.own_class)
    judged = await loopkit.run(agent, store=store)
    assert judged.run.error_message == "evaluate: Mine: no"
    revised = loopkit.Agent(name="a", produce=lambda _: "x", evaluate=lambda _: 0.1, revise=mine.own_class)
    assert (await loopkit.run(revised, store=store)).run.error_message == "revise: Mine: no"


async def test_own_classes_and_causes_are_named(mine: Any) -> None:
    """The type by its module, and of a chain every part."""
    assert (await details_of(mine.own_class))["exception"] == "stages_of_mine.Mine"
    text = (await details_of(mine.chained))["traceback"]
    assert "KeyError: 'missing'" in text
    assert "direct cause" in text
    assert text.endswith("ValueError: wrapped")


async def test_a_failed_try_tells_its_place_too(mine: Any) -> None:
    """In the log event that says it will be made again."""
    stage = loopkit.agents.StageSpec(mine.fails_once, retries=1)
    run, events = await failure(stage)  # type: ignore[arg-type]
    assert run.status == "passed"
    (tried,) = [event for event in events if "failed and will be made again" in (event.message or "")]
    assert tried.metadata is not None
    assert tried.metadata["at"] == "stages_of_mine.py:5"


async def test_a_long_traceback_keeps_its_end(mine: Any) -> None:
    """16 KB at most, and what is cut off is its beginning."""
    text = (await details_of(mine.long))["traceback"]
    assert len(text.encode()) <= MAX_TRACEBACK_BYTES
    assert text.startswith("[cut]")
    assert text.endswith("the end")


async def test_an_exception_that_cannot_be_formatted_is_named(mine: Any) -> None:
    """Whatever its methods do, the run ends with its type and place."""
    details = await details_of(mine.hostile)
    assert details["exception"] == "stages_of_mine.Hostile"
    assert details["at"].startswith("stages_of_mine.py:")


async def test_a_logger_gets_the_exception(mine: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One record at WARNING with exc_info, so that error trackers see it; its text is the short traceback."""
    await failure(mine.produce)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.levelno == logging.WARNING
    assert isinstance(record.exc_info, tuple)
    assert record.exc_info[0] is KeyError
    formatted = logging.Formatter().format(record)
    assert "stages_of_mine.py" in formatted
    assert "stage_call.py" not in formatted


async def test_keys_are_cut_out(
    mine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The value of a variable that ``api_key_env`` names is in no event, no message and no record."""
    monkeypatch.setenv("TEST_KEY", SECRET)
    (tmp_path / "ask.md").write_text("{{ inputs }}")
    (tmp_path / "agents.yaml").write_text(
        "agents:\n  a:\n    produce: {python: 'stages_of_mine:with_key'}\n"
        "    evaluate: {prompt: ask.md, model: 'openai:x', api_key_env: TEST_KEY}\n"
    )
    store = loopkit.MemoryStore()
    run = (await loopkit.run(loopkit.load_agents("agents.yaml")["a"], store=store)).run
    events = await store.list_events(run.id)
    told = json.dumps([[event.message, event.metadata] for event in events]) + str(run.error_message)
    told += "".join(logging.Formatter().format(record) + repr(record.exc_info) for record in caplog.records)
    assert "refused: [key]" in told
    assert SECRET not in told


async def test_a_module_that_does_not_import_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the line of the error in the syntax, or of the import that fails."""
    (tmp_path / "bad_syntax.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "bad_import.py").write_text("\n\nimport no_such_module_at_all\n")
    for name, line in (("bad_syntax", 2), ("bad_import", 3)):
        (tmp_path / "agents.yaml").write_text(
            f"agents:\n  a: {{produce: {{python: '{name}:f'}}, evaluate: {{python: '{name}:f'}}}}\n"
        )
        store = loopkit.MemoryStore()
        run = (await loopkit.run(loopkit.load_agents(tmp_path / "agents.yaml")["a"], store=store)).run
        (error,) = [e for e in await store.list_events(run.id) if e.event_type is EventType.ERROR]
        assert error.metadata is not None
        assert error.metadata["at"] == f"{name}.py:{line}"


def test_a_failure_without_an_exception_has_no_place() -> None:
    """A timeout, a program's status, an output of a wrong type: nothing of the user's was raised."""
    for error in (StageTimedOut(1), BadOutput("x"), StageFailed("exit status 1")):
        assert raised_by_stage(error) is None


def test_an_error_of_a_builtin_has_no_place_but_its_name() -> None:
    """No frame is the user's; the exception is still told."""
    try:
        json.loads("{")
    except ValueError as error:
        details = error_details(error.with_traceback(None))
    assert details["exception"] == "json.decoder.JSONDecodeError"
    assert "at" not in details
