"""Objects that stages return: what each becomes as JSON, and what is said of those that JSON has no form for."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import pydantic
import pytest

from loopkit.core.outcome import Errored, Evaluated, Evaluation, Produced
from loopkit.core.run import Stage
from tests.agents.test_results import gives, result_of


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: object = None


@dataclasses.dataclass
class Data:
    text: object = "x"
    more: object = None


@attrs.frozen
class Attrs:
    text: object = "x"


class Model(pydantic.BaseModel):
    text: str = "x"
    at: dt.datetime = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    ids: set[uuid.UUID] = {uuid.UUID(int=1)}


class Text(pydantic.RootModel[str]):
    """A model that gives text."""


class Names(pydantic.RootModel[list[str]]):
    """A model that gives a list."""


class Number(float):
    """A number whose own text is another."""

    def __repr__(self) -> str:
        return "many"


WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ID = uuid.UUID(int=5)

AS_JSON: dict[str, tuple[Any, Any]] = {
    "model": (Model(), {"text": "x", "at": "2026-01-02T00:00:00Z", "ids": [str(uuid.UUID(int=1))]}),
    "model of a list": (Names(["a"]), ["a"]),
    "dataclass": (Data(), {"text": "x", "more": None}),
    "attrs": (Attrs(), {"text": "x"}),
    "named tuple": (Point(1), {"x": 1, "y": None}),
    "tuple": (("a", 1), ["a", 1]),
    "mapping": (collections.OrderedDict(a=1), {"a": 1}),
    "models inside": ({"a": [Model(), Data(Attrs(Point(1, Point(2))))]}, None),
    "times": ([WHEN, WHEN.date(), WHEN.time()], ["2026-01-02T03:04:05+00:00", "2026-01-02", "03:04:05"]),
    "texts": ([ID, pathlib.Path("/a/b"), decimal.Decimal("1.50")], [str(ID), "/a/b", "1.50"]),
    "enums": ([Colour.RED, Level.HIGH, {"a": Colour.RED}], ["red", 3, {"a": "red"}]),
    "sets": ([{3, 1, 2}, frozenset("cab"), {(2,), (1,)}], [[1, 2, 3], ["a", "b", "c"], [[1], [2]]]),
    "named tuples in tuples": ((Point(1), [Point(2)]), [{"x": 1, "y": None}, [{"x": 2, "y": None}]]),
    "numbers of another class": ([Number(0.5), Level.HIGH], [0.5, 3]),
}


@pytest.mark.parametrize("name", AS_JSON)
async def test_an_object_is_kept_as_json(name: str) -> None:
    """Fields are keys; what stands in them has one form wherever it stands."""
    value, expected = AS_JSON[name]
    outcome = await result_of(gives(value))
    assert isinstance(outcome, Produced), outcome
    assert outcome.is_json
    if expected is not None:
        assert json.loads(outcome.output) == expected


@dataclasses.dataclass
class Private:
    text: str
    _state: object


async def test_private_fields_are_left_out() -> None:
    """As pydantic leaves them out: a result of pydantic-ai holds all messages in one."""
    assert await result_of(gives(Private("x", object()))) == Produced('{"text":"x"}', is_json=True)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # pydantic-ai does not run on trio
async def test_a_result_of_pydantic_ai_is_its_output() -> None:
    """The real package, with its model for tests."""
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    agent = Agent(TestModel(custom_output_text="a draft"))

    async def produce(_: object) -> object:
        return await agent.run("write")

    assert await result_of(produce) == Produced('{"output":"a draft"}', is_json=True)


async def test_a_model_of_text_is_text() -> None:
    """It is kept exactly, as text that the stage itself returns."""
    assert await result_of(gives(Text("a\n"))) == Produced("a\n")


async def test_a_model_is_asked_for_its_json_form() -> None:
    """Whatever has ``model_dump`` counts as one; nothing is imported."""

    class Duck:
        def model_dump(self, *, mode: str = "python") -> object:
            return {"mode": mode, "at": WHEN}

    assert await result_of(gives(Duck())) == Produced('{"mode":"json","at":"2026-01-02T03:04:05+00:00"}', is_json=True)


async def test_scalars_of_numpy_are_numbers() -> None:
    """In outputs, in evaluations and as the score itself, but no array and no boolean."""
    np: Any = pytest.importorskip("numpy")
    values = {"a": np.float32(0.5), "b": [np.int64(3), np.bool_(True), np.str_("x")], "c": np.float64(0.25)}
    outcome = await result_of(gives(values))
    assert outcome == Produced('{"a":0.5,"b":[3,true,"x"],"c":0.25}', is_json=True)
    for score in (np.float32(0.5), np.float64(0.5)):
        assert await result_of(gives(score), Stage.EVALUATING) == Evaluated(Evaluation(0.5))
        judged = await result_of(gives({"score": score, "criteria": {"a": score}}), Stage.EVALUATING)
        assert judged == Evaluated(Evaluation(0.5, rest={"criteria": {"a": 0.5}}))
    assert await result_of(gives(np.int64(1)), Stage.EVALUATING) == Evaluated(Evaluation(1.0))
    for wrong in (np.bool_(True), np.array([0.5]), np.complex64(0.5), np.float32("nan")):
        assert isinstance(await result_of(gives(wrong), Stage.EVALUATING), Errored)
    refused = await result_of(gives({"a": np.array([1.0])}))
    assert refused == Errored("invalid output: /a: is of type ndarray, which JSON does not have; return its .tolist()")


class Message:
    content = "text"


def generator() -> Any:
    yield "text"


async def unawaited() -> None:
    """A coroutine whose await was forgotten."""


@dataclasses.dataclass
class RunResult:
    final_output: str
    agent: object


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "bytes": (lambda: b"a", "a bytes, not text, a mapping or a list; decode it to text"),
    "message": (Message, "a Message, not text, a mapping or a list; return its .content"),
    "coroutine": (unawaited, "a coroutine, not text, a mapping or a list; await it"),
    "generator": (generator, "a generator, not text, a mapping or a list; join what it yields"),
    "bytes inside": (lambda: {"a": [b"a"]}, "/a/0: is of type bytes, which JSON does not have; decode it to text"),
    "complex": (lambda: Data(1j), "/text: is of type complex, which JSON does not have"),
    "nan": (lambda: Data(Attrs(math.nan)), "/text/text: is not a finite number"),
    "timedelta": (
        lambda: [dt.timedelta(1)],
        "/0: is of type timedelta, which JSON does not have; return its .total_seconds()",
    ),
    "key": (lambda: {"a/b": {ID: 1}}, "/a~1b: has a key that is not text: UUID"),
    "object inside": (
        lambda: Point(1, Message()),
        "/y: is of type Message, which JSON does not have; return its .content",
    ),
    "result": (
        lambda: RunResult("text", generator),
        "/agent: is of type function, which JSON does not have (in a RunResult; return its .final_output)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_json_has_no_form_for_is_refused_with_its_place(name: str) -> None:
    """And with what to return instead, where that is known."""
    make, message = REFUSED[name]
    assert await result_of(gives(make())) == Errored(f"invalid output: {message}")


async def test_a_dataclass_that_holds_itself_is_refused() -> None:
    """As a list that does."""
    data = Data()
    data.more = data
    outcome = await result_of(gives(data))
    assert isinstance(outcome, Errored)
    assert "/more/more: is nested more than 64 deep" in outcome.message


class Verdict(pydantic.BaseModel):
    score: float
    reason: str | None = None
    criteria: dict[str, float] = {}


@dataclasses.dataclass
class Reason:
    value: object
    reason: str | None = None


@attrs.frozen
class Judged:
    score: float
    feedback: object = None
    explanation: str = "longer"
    extra: object = None


class Metric:
    """As a metric that measured: an object without declared fields."""

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields, threshold=0.5)


class Pair(NamedTuple):
    score: float
    rationale: str
    other: int = 1


EVALUATIONS: dict[str, tuple[Any, Evaluation]] = {
    "model": (
        Verdict(score=0.5, reason="why", criteria={"a": 1}),
        Evaluation(0.5, "why", rest={"criteria": {"a": 1.0}}),
    ),
    "model without a text": (Verdict(score=0.5), Evaluation(0.5, rest={"reason": None, "criteria": {}})),
    "value": (Reason(0.5, "why"), Evaluation(0.5, "why")),
    "value and no text": (Reason(1), Evaluation(1.0, rest={"reason": None})),
    "first text": (Judged(0.5, extra=ID), Evaluation(0.5, "longer", rest={"extra": str(ID)})),
    "feedback first": (Judged(0.5, "short"), Evaluation(0.5, "short", rest={"explanation": "longer", "extra": None})),
    "object": (Metric(score=0.5, reason="why", other=3), Evaluation(0.5, "why")),
    "only a score": (Metric(score=0.5), Evaluation(0.5)),
    "named tuple": (Pair(0.5, "why"), Evaluation(0.5, "why")),
}


@pytest.mark.parametrize("name", EVALUATIONS)
async def test_an_object_with_a_score_is_an_evaluation(name: str) -> None:
    """Its feedback is the first text of those names; models, dataclasses and attrs classes keep their other fields."""
    value, evaluation = EVALUATIONS[name]
    assert await result_of(gives(value), Stage.EVALUATING) == Evaluated(evaluation)


NO_EVALUATIONS: dict[str, Any] = {
    "value alone": Metric(value=0.5),
    "text": "0.5",
    "none": None,
    "score of none": Metric(score=None),
    "score of true": Reason(True, "why"),
    "grade": Reason("C", "why"),
    "three": (0.5, "a", "b"),
    "two numbers": (0.5, 0.6),
    "no score": Point(0, "text"),
    "list": [0.5, "why"],
    "decimal": decimal.Decimal("0.5"),
    "class": Metric,
    "method": Metric(score=len),
    "other score": {"score": Reason(0.5, "why")},
}


@pytest.mark.parametrize("name", NO_EVALUATIONS)
async def test_everything_else_is_no_evaluation(name: str) -> None:
    """It is an error of the stage, never a score."""
    outcome = await result_of(gives(NO_EVALUATIONS[name]), Stage.EVALUATING)
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith(("invalid score: ", "invalid evaluation: "))


USABLE = "return a number in 0..1, (score, feedback), or a mapping or object with score and feedback"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("0.5", f"score: text, not a number; {USABLE}"),
        (True, f"score: a boolean, not a number; {USABLE}"),
        (Reason, f"score: a type, not a number; {USABLE}"),
        (Model(), f"score: a Model, not a number; {USABLE}"),
        (Reason(True, "why"), "score: True, not a number; return 1.0 for True and 0.0 for False"),
        ({"score": "C"}, "score: the text 'C'; return a number in 0..1 for it"),
        (85, "score: 85 is not in 0..1; divide it by 100 if that is its scale"),
        ({"score": 7.5}, "score: 7.5 is not in 0..1; divide it by 10 if that is its scale"),
        (-0.5, "score: -0.5 is not in 0..1"),
        (-0.00000001, "score: -1e-08 is not in 0..1"),
        (float("nan"), "score: nan is not in 0..1"),
        (1.00000001, "score: 1.00000001 is not in 0..1"),
        (10**400, "score: a number is not in 0..1"),
        ({}, f"evaluation: it has no score; {USABLE}"),
        ({"result": 1, 2: "b"}, f"evaluation: it has no score but 'result', 2; {USABLE}"),
        ({"Judge": Reason(0.5, "why")}, "evaluation: it has no score; its 'Judge' is a Reason: return that"),
    ],
)
async def test_what_to_return_in_place_of_a_wrong_evaluation_is_said(value: Any, says: str) -> None:
    """The message says what was there, and what would be taken."""
    assert await result_of(gives(value), Stage.EVALUATING) == Errored(f"invalid {says}")
