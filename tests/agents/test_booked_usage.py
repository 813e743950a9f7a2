"""Usage that stages report: from Python, from programs, and in evaluations."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.stage_call import call_stage
from loopkit.agents.stages.command import CommandStage
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.run import Stage
from loopkit.errors import UnusableOption
from tests.agents.context_helpers import Lines, context
from tests.agents.usage_helpers import Book, plain

WRITER = "import json, sys; path = json.load(sys.stdin)['usageFile']; file = open(path, 'a'); "


def booked(stage: Stage = Stage.PRODUCING, **fields: Any) -> ModelCall:
    return ModelCall(id="", stage=stage, attempt=1, **fields)


async def no_pause(_: float) -> None:
    """Wait for nothing."""


async def program(
    folder: Path, source: str, *, book: Book, lines: Lines, stage: Stage = Stage.PRODUCING, **settings: Any
) -> Outcome:
    """Call a stage that is a Python program; ``timeout`` and ``retries`` are the stage's."""
    own = {key: settings.pop(key) for key in ("timeout", "retries") if key in settings}
    body = CommandStage(command=[sys.executable, "-c", source], folder=folder, **settings)
    return await call_stage(StageSpec(body, **own), context(stage, book=book, sink=lines), pause=no_pause)


def report_twice(ctx: StageContext) -> str:
    ctx.report_usage({"prompt_tokens": 11, "completion_tokens": 7}, model="local:m")
    ctx.report_usage(input_tokens=1, output_tokens=2, cached_tokens=1, usd=0.25)
    return "text"


async def report_once(ctx: StageContext) -> str:
    ctx.report_usage({"input_tokens": 1_000_000, "output_tokens": 0}, model="openai:gpt-4o")
    return "text"


async def test_python_reports_calls() -> None:
    """Sync and async alike; with the model's name and no price the list price is taken."""
    book = Book()
    for function in (report_twice, report_once):
        assert await call_stage(StageSpec(function), context(book=book)) == Produced("text")
    assert plain(book.calls) == [
        booked(model="local:m", input_tokens=11, output_tokens=7),
        booked(input_tokens=1, output_tokens=2, cached_tokens=1, cost_nanos=250_000_000),
        booked(model="openai:gpt-4o", input_tokens=1_000_000, output_tokens=0, cost_nanos=2_500_000_000),
    ]


async def test_failed_tries_report_too() -> None:
    """Each call has the number of its try, the judge and the sample."""
    book = Book()

    def fail_once(ctx: StageContext) -> str:
        ctx.report_usage(input_tokens=1)
        if len(book.calls) == 1:
            raise ValueError("no")
        return "text"

    await call_stage(StageSpec(fail_once, retries=1), context(book=book, judge="facts", sample=2), pause=no_pause)
    assert plain(book.calls) == [
        booked(input_tokens=1, judge="facts", sample=2, try_number=number) for number in (1, 2)
    ]


async def test_unusable_usage_is_an_error_of_the_stage() -> None:
    """Its author is told what is wrong; without a book too."""

    def report(ctx: StageContext) -> str:
        ctx.report_usage({"tokens": 3})
        return "text"

    for book in (None, Book()):
        outcome = await call_stage(StageSpec(report), context(book=book))
        assert isinstance(outcome, Errored)
        assert "report_usage: the usage holds none of input_tokens" in outcome.message
    with pytest.raises(UnusableOption):
        context().report_usage(input_tokens=-1)


@pytest.mark.parametrize(
    ("usage", "calls"),
    [
        ({"input_tokens": 3, "usd": 0.5}, [booked(Stage.EVALUATING, input_tokens=3, cost_nanos=500_000_000)]),
        ([{"input_tokens": 3}, {"input_tokens": 4}], [booked(Stage.EVALUATING, input_tokens=n) for n in (3, 4)]),
        ([], []),
        ("none", []),
        ({}, []),
    ],
)
async def test_usage_in_an_evaluation_is_booked_and_stays(usage: Any, calls: list[ModelCall]) -> None:
    """A mapping, or a list of them; the evaluation is stored as it is."""
    book = Book()
    outcome = await call_stage(
        StageSpec(lambda _: {"score": 0.5, "usage": usage}), context(Stage.EVALUATING, book=book)
    )
    assert outcome == Evaluated(Evaluation(0.5, rest={"usage": usage}))
    assert plain(book.calls) == calls


async def test_unreadable_usage_in_an_evaluation_is_a_log_line() -> None:
    """The score was given; nothing is booked."""
    book, lines = Book(), Lines()
    judged = {"score": 0.5, "usage": {"input_tokens": "many"}}
    outcome = await call_stage(StageSpec(lambda _: judged), context(Stage.EVALUATING, book=book, sink=lines))
    assert isinstance(outcome, Evaluated)
    assert book.calls == []
    assert "the evaluation's usage cannot be booked: it has input_tokens" in lines.texts[0]


async def test_a_program_reports_lines_of_json(tmp_path: Path) -> None:
    """Blank lines do not matter, and one that cannot be read is a log line; the file is gone afterwards."""
    book, lines = Book(), Lines()
    report = '{"input_tokens": 5, "output_tokens": 1, "model": "local:m"}\\n\\nno json\\n{"usd": 0.5}\\n[]'
    outcome = await program(tmp_path, f"{WRITER}file.write('{report}'); print(path)", book=book, lines=lines)
    assert isinstance(outcome, Produced)
    assert plain(book.calls) == [
        booked(model="local:m", input_tokens=5, output_tokens=1),
        booked(cost_nanos=500_000_000),
    ]
    assert lines.texts == [
        "line 3 of the file of usage is not JSON",
        "line 5 of the file of usage cannot be booked: it must be a mapping or an object with token counts, not a list",
    ]
    path = Path(outcome.output.strip())
    assert path.is_absolute()
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("end", "settings"),
    [("sys.exit(3)", {}), ("import time; time.sleep(60)", {"timeout": timedelta(seconds=2), "grace": 0})],
)
async def test_a_program_reports_however_it_ends(tmp_path: Path, end: str, settings: dict[str, Any]) -> None:
    """Its failed tries as well."""
    book = Book()
    source = f"{WRITER}file.write('{{\"input_tokens\": 5}}'); file.close(); {end}"
    outcome = await program(tmp_path, source, book=book, lines=Lines(), retries=1, **settings)
    assert isinstance(outcome, Errored)
    assert plain(book.calls) == [booked(input_tokens=5, try_number=number) for number in (1, 2)]


async def test_the_lines_that_are_told_are_bounded(tmp_path: Path) -> None:
    """And so is the file."""
    book, lines = Book(), Lines()
    await program(tmp_path, f"{WRITER}file.write('x\\n' * 50); file.close(); print(1)", book=book, lines=lines)
    assert len(lines.texts) == 11
    assert lines.texts[-1] == "40 more lines of the file of usage cannot be booked"
    source = WRITER + "file.write('{\"input_tokens\": 1}\\n' * 300_000); file.close(); print(1)"
    lines.clear()
    await program(tmp_path, source, book=book, lines=lines)
    assert lines.texts == [
        "the file of usage is larger than 4194304 bytes; the rest of it is not booked",
        "the file of usage has more than 10000 lines; the others are not booked",
    ]
    assert len(book.calls) == 10_000


async def test_the_last_object_of_a_coding_tool_is_booked(tmp_path: Path) -> None:
    """Its ``usage`` and ``total_cost_usd``, also when it reports an error."""
    usage = {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 2}
    last = {"type": "result", "result": "done", "usage": usage, "total_cost_usd": 0.125}
    for more in ({}, {"is_error": True}):
        book = Book()
        source = f"print({json.dumps({**last, **more})!r})"
        await program(tmp_path, source, book=book, lines=Lines(), stdout="jsonl")
        assert plain(book.calls) == [booked(input_tokens=10, output_tokens=2, cached_tokens=7, cost_nanos=125_000_000)]
