"""Results of stages: outputs and evaluations are parsed strictly or refused."""

import dataclasses
import datetime as dt
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from anyio.lowlevel import checkpoint

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.stage_call import call_stage
from loopkit.agents.stages.python import StageFunction
from loopkit.core import strict_json
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.run import Stage
from tests.agents.context_helpers import context


async def no_pause(_: float) -> None:
    await checkpoint()


async def result_of(function: StageFunction, stage: Stage = Stage.PRODUCING, *, retries: int = 0) -> Outcome:
    return await call_stage(StageSpec(function, retries=retries), context(stage), pause=no_pause)


def gives(value: Any) -> StageFunction:
    async def stage(_: StageContext) -> Any:
        await checkpoint()
        return value

    return stage


@pytest.mark.parametrize("stage", [Stage.PRODUCING, Stage.REVISING])
@pytest.mark.parametrize("text", ["", "text\r\n with \t blanks \n", "ünïcode 🐈", "\x1b[1m", "null"])
async def test_text_is_kept_exactly(stage: Stage, text: str) -> None:
    """Not a character of an output is changed."""
    assert await result_of(gives(text), stage) == Produced(text)


async def test_a_subclass_of_text_is_kept_as_its_characters() -> None:
    """What it says of itself does not matter."""

    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self.upper()

    outcome = await result_of(gives(Loud("quiet")))
    assert outcome == Produced("quiet")
    assert type(outcome.output) is str


@pytest.mark.parametrize(
    "value", [{}, [], {"a": [1, None, 1.5, True, {"b": "ü"}]}, [[]], MappingProxyType({"a": MappingProxyType({})})]
)
async def test_a_mapping_or_list_is_kept_as_json(value: Any) -> None:
    """The output is its JSON text, and is marked as JSON."""
    outcome = await result_of(gives(value))
    assert isinstance(outcome, Produced)
    assert outcome.is_json
    assert json.loads(outcome.output) == json.loads(json.dumps(value, default=dict))


@dataclasses.dataclass
class Page:
    title: str
    weight: float = 1.0


class Count(pydantic.RootModel[int]):
    """A model that gives a number."""


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


async def unawaited() -> None:
    """A coroutine whose await was forgotten."""


def generator() -> Iterator[int]:
    yield 1


class Strange(Mapping[str, Any]):
    """A mapping that breaks when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise SystemExit(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["score"])

    def __len__(self) -> int:
        return 1


BAD_OUTPUTS: dict[str, Any] = {
    "none": lambda: None,
    "true": lambda: True,
    "number": lambda: 5,
    "nan": lambda: math.nan,
    "bytes": lambda: b"text",
    "set": lambda: {1},
    "frozen set": lambda: frozenset({1}),
    "date": lambda: dt.date(2026, 1, 2),
    "object": object,
    "coroutine": unawaited,
    "generator": generator,
    "nul": lambda: "a\0b",
    "surrogate": lambda: "a\ud800b",
    "nul and more": lambda: "ü\0",
    "nan inside": lambda: {"a": [math.nan]},
    "infinity inside": lambda: [math.inf],
    "nul inside": lambda: {"a": "\0"},
    "surrogate in a key": lambda: {"\ud800": 1},
    "key": lambda: {1: 2},
    "object inside": lambda: {"a": {1: object()}},
    "complex inside": lambda: [1j],
    "nan in a model": lambda: Page("a", math.nan),
    "class": lambda: Page,
    "model of a number": lambda: Count(5),
    "bytes inside": lambda: [b""],
    "huge integer": lambda: [10**5000],
    "cycle": cycle,
    "deep": lambda: deep(100_000),
    "large text": lambda: "x" * (strict_json.MAX_OUTPUT_BYTES + 1),
    "large text in bytes": lambda: "ü" * (strict_json.MAX_OUTPUT_BYTES // 2 + 1),
    "large json": lambda: ["x" * strict_json.MAX_OUTPUT_BYTES],
}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
async def test_what_cannot_be_kept_is_an_error_at_once(name: str) -> None:
    """No retry can make it better; the message says what is wrong in one short line."""
    calls = 0

    async def produce(_: StageContext) -> Any:
        nonlocal calls
        calls += 1
        return BAD_OUTPUTS[name]()

    outcome = await result_of(produce, retries=3)
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith("invalid output: ")
    assert len(outcome.message) < 300
    assert calls == 1


async def test_text_of_the_greatest_size_is_kept() -> None:
    """The bound itself is allowed."""
    text = "x" * strict_json.MAX_OUTPUT_BYTES
    assert await result_of(gives(text)) == Produced(text)


@pytest.mark.parametrize(
    ("value", "evaluation"),
    [
        (0, Evaluation(0.0)),
        (-0.0, Evaluation(0.0)),
        (1, Evaluation(1.0)),
        (0.72, Evaluation(0.72)),
        (0.1 * 3 / 0.3, Evaluation(1.0)),
        (1 - 1e-10, Evaluation(1.0)),
        (-1e-10, Evaluation(0.0)),
        (1e-8, Evaluation(1e-8)),
        ((0.5, "shorter"), Evaluation(0.5, "shorter")),
        ((1, None), Evaluation(1.0)),
        ({"score": 0.5, "reason": "shorter"}, Evaluation(0.5, "shorter", rest={"reason": "shorter"})),
        ({"score": 0.5}, Evaluation(0.5)),
        ({"score": 1, "feedback": "shorter"}, Evaluation(1.0, "shorter")),
        ({"score": 0.5, "feedback": None}, Evaluation(0.5)),
        (
            {"feedback": "", "score": 0.5, "criteria": {"length": 0.1}, "n": 10**20},
            Evaluation(0.5, rest={"criteria": {"length": 0.1}, "n": 10**20}),
        ),
        (Evaluation(0.3, "as before", rest={"a": (1, 2)}), Evaluation(0.3, "as before", rest={"a": [1, 2]})),
    ],
)
async def test_an_evaluation_is_a_score_and_what_comes_with_it(value: Any, evaluation: Evaluation) -> None:
    """A mapping with a score, or the score alone; other values are kept by their keys."""
    outcome = await result_of(gives(value), Stage.EVALUATING)
    assert outcome == Evaluated(evaluation)
    assert type(outcome.evaluation.score) is float
    assert not str(outcome.evaluation.score).startswith("-")


BAD_SCORES: dict[str, Any] = {
    "none": None,
    "text": "0.5",
    "true": True,
    "false": False,
    "nan": math.nan,
    "infinity": math.inf,
    "below": -0.1,
    "above": 1.0001,
    "just above": 1 + 1e-8,
    "per cent": 72,
    "huge": 10**5000,
    "complex": 0.5j,
    "list": [0.5],
    "bytes": b"1",
}


@pytest.mark.parametrize("is_inside", [True, False], ids=["in a mapping", "alone"])
@pytest.mark.parametrize("name", BAD_SCORES)
async def test_a_score_that_is_none_is_an_error_with_its_own_retries(name: str, *, is_inside: bool) -> None:
    """It never counts as 0, and the evaluator may try again."""
    bad = BAD_SCORES[name]
    answers = iter([bad, bad, bad, 0.5])

    async def evaluate(_: StageContext) -> Any:
        answer = next(answers)
        return {"score": answer} if is_inside else answer

    spec = StageSpec(evaluate, retries=1)
    outcome = await call_stage(spec, context(Stage.EVALUATING), pause=no_pause)
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith("invalid score: ")
    assert await call_stage(spec, context(Stage.EVALUATING), pause=no_pause) == Evaluated(Evaluation(0.5))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "no score"),
        ({"feedback": "words"}, "no score"),
        ({"score": 0.5, "feedback": ["a"]}, "feedback is a list"),
        ({"score": 0.5, "feedback": False}, "feedback is a boolean"),
        ({"score": 0.5, "feedback": "\0"}, "NUL"),
        ({"score": 0.5, "more": math.nan}, "/more: is not a finite number"),
        ({"score": 0.5, 1: 2}, "key that is not text"),
        (Strange(), "SystemExit: score"),
    ],
    ids=itertools.count(),
)
async def test_a_malformed_evaluation_is_an_error(value: Any, says: str) -> None:
    """What cannot be kept whole is not kept in part."""
    outcome = await result_of(gives(value), Stage.EVALUATING)
    assert isinstance(outcome, Errored)
    assert says in outcome.message


async def test_a_forgotten_await_in_an_evaluator_is_an_error() -> None:
    """The coroutine is closed, so that nothing warns of it later."""
    outcome = await result_of(gives(unawaited()), Stage.EVALUATING)
    assert outcome == Errored("invalid score: a coroutine, not a number; await it")
