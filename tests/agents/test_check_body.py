"""Checks: what a callable may answer, what a program's exit status and words mean, and the file that it gets."""

import sys
from pathlib import Path
from typing import Any

import pytest

import loopkit
from loopkit.agents.evaluators.panel_spec import Check, Judge
from loopkit.agents.stage_call import call_stage
from loopkit.agents.stage_spec import StageSpec
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig
from tests.agents.context_helpers import Lines, context, place


async def answer(stage: Any, **settings: Any) -> Outcome:
    """Return the outcome of a check of the output ``text``."""
    spec = Check(stage).stage.for_agent(place("check", **settings))
    return await call_stage(spec, context(Stage.EVALUATING, output="text"))


def program(text: str) -> StageSpec:
    """Return a command that runs a program in Python."""
    return loopkit.command([sys.executable, "-c", text])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, Evaluation(1.0)),
        (False, Evaluation(0.0)),
        ((False, "no source"), Evaluation(0.0, "no source")),
        ((True, None), Evaluation(1.0)),
        ({"ok": False, "feedback": "no source"}, Evaluation(0.0, "no source")),
        ({"ok": True}, Evaluation(1.0)),
    ],
)
async def test_answers_of_callables(given: object, expected: Evaluation) -> None:
    """A boolean, with feedback or without."""
    assert await answer(lambda ctx: given) == Evaluated(expected)


@pytest.mark.parametrize(
    "given",
    [
        *(None, 1, 0.0, "yes", [], (True,), (1, "x"), (True, 5), (True, "a", "b"), [True, "x"], object),
        *({}, {"score": 1}, {"ok": 1}, {"ok": True, "feedback": 5}, {"ok": True, "more": 1}),
        {"ok": False, "feedback": "a\0b"},
    ],
    ids=repr,
)
async def test_other_answers_are_errors(given: object) -> None:
    """They are never taken for a verdict."""
    outcome = await answer(lambda ctx: given)
    assert isinstance(outcome, Errored)
    assert "invalid answer of a check" in outcome.message


@pytest.mark.parametrize("status", [0, 1])
async def test_exit_status_0_holds_and_1_does_not(status: int) -> None:
    """What a failing program printed, stdout before stderr, is the feedback; a holding one says nothing."""
    outcome = await answer(
        program(f"import sys; print('bad', file=sys.stderr); print('\\x1b[31m2 words\\x1b[0m\\0'); sys.exit({status})")
    )
    assert outcome == Evaluated(Evaluation(0.0, "2 words\nbad") if status else Evaluation(1.0))


async def test_another_exit_status_is_an_error() -> None:
    """So is a signal, and a program that is not there."""
    outcomes = [
        await answer(program("import sys; print('broken', file=sys.stderr); sys.exit(2)")),
        await answer(program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")),
        await answer(loopkit.command(["./nowhere"])),
    ]
    messages = [outcome.message for outcome in outcomes if isinstance(outcome, Errored)]
    assert messages[:2] == ["exit status 2: broken", "ended by SIGKILL"]
    assert "cannot start ./nowhere" in messages[2]


@pytest.mark.parametrize("words", [4096, 4097, 100_000, 3_000_000])
async def test_long_feedback_is_cut_in_the_middle(words: int) -> None:
    """Beyond 4 KB the first and last 2 KB stand, however much was printed."""
    a, b = words // 2, words - words // 2
    outcome = await answer(program(f"import sys; print('a' * {a} + 'b' * {b}); sys.exit(1)"))
    assert isinstance(outcome, Evaluated)
    whole = "a" * 2048 + "b" * 2048
    assert outcome.evaluation.feedback == (whole if words == 4096 else f"{whole[:2048]}\n[cut]\n{whole[2048:]}")


async def test_the_output_file_is_named_as_the_artifact_and_deleted(tmp_path: Path) -> None:
    """It has the output, in a folder of its own, also where it stands inside an argument."""
    shown = tmp_path / "shown"
    look = f"""
import pathlib, sys
path = pathlib.Path(sys.argv[1].removeprefix("x="))
files = len(list(path.parent.iterdir()))
pathlib.Path({str(shown)!r}).write_text(f"{{path}}\\n{{path.read_text()}}{{files}}")
"""
    spec = loopkit.command([sys.executable, "-c", look, "x={output_file}"])
    gone: list[Path] = []
    for role, output, name in [
        ("check", "text", "attempt-1.txt"),
        ("check", {"a": 1}, "attempt-1.json"),
        ("judge", "text", "output.txt"),
        ("evaluate", "text", "attempt-1.txt"),
    ]:
        stage = (Check(spec) if role == "check" else Judge(spec)).stage.for_agent(place(role, output_suffix=".txt"))
        await call_stage(stage, context(Stage.EVALUATING, output=output))
        path, content = shown.read_text().split("\n")
        assert Path(path).name == name
        assert content == ("text1" if output == "text" else '{"a":1}1')
        gone.append(Path(path).parent)
    assert [folder for folder in gone if folder.exists()] == []


async def test_a_stage_that_makes_an_output_has_no_output_file() -> None:
    """There the text stands as it is."""
    spec = loopkit.command([sys.executable, "-c", "import sys; print(sys.argv[1], end='')", "{output_file}"])
    assert (await call_stage(spec, context(Stage.REVISING, output="x"))).output == "{output_file}"  # type: ignore[union-attr]


async def test_lines_of_stderr_are_logged() -> None:
    """As they are for every program."""
    lines = Lines()
    spec = Check(program("import sys; print('one', file=sys.stderr); sys.exit(1)")).stage
    await call_stage(spec, context(Stage.EVALUATING, output="x", sink=lines))
    assert lines.texts == ["one"]


def test_a_prompt_is_no_check(tmp_path: Path) -> None:
    """Neither is a program whose result is in its output."""
    with pytest.raises(InvalidConfig, match="a prompt is a judge"):
        Check(loopkit.prompt("x.md", model="a:b"))
    with pytest.raises(InvalidConfig, match="stdout"):
        Check(loopkit.command(["x"], stdout="jsonl"))
