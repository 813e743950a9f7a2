"""Agents: their values, their stages, the digest of their definition, and checked inputs."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from loopkit import MemoryStore, Runner
from loopkit.agents.agent import Agent, StageContext, StageSpec
from loopkit.agents.context import BestAttempt, HistoryEntry
from loopkit.core import strict_json
from loopkit.core.outcome import Evaluation
from loopkit.core.run import Stage
from loopkit.errors import Fault, InvalidConfig, InvalidInputs, UnusableOption
from loopkit_web import create_app
from tests.agents.context_helpers import Lines, context


def produce(ctx: StageContext) -> str:
    return "text"


def evaluate(ctx: StageContext) -> float:
    return 1.0


def revise(ctx: StageContext) -> str:
    return "better"


def agent(**settings: Any) -> Agent:
    return Agent(**{"name": "namer", "produce": produce, "evaluate": evaluate, **settings})


def test_a_context_as_a_document_is_in_camel_case() -> None:
    """Programs get everything that Python stages get, under the names of the wire."""
    judged = context(
        Stage.REVISING,
        attempt=2,
        output={"a": 1},
        evaluation=Evaluation(0.5, "shorter", rest={"criteria": {"b": 1}}),
        base_attempt=1,
        best=BestAttempt(1, {"a": 1}, Evaluation(0.5, "shorter")),
        history=(HistoryEntry(1, 0.5, "shorter"),),
    )
    assert strict_json.loads_or_text(strict_json.dumps(judged.document())) == {
        "runId": "run_1",
        "agentName": "namer",
        "cycleId": "2026-01-02-003",
        "inputs": {"thing": "a cat"},
        "stage": "revising",
        "attempt": 2,
        "output": {"a": 1},
        "evaluation": {"score": 0.5, "feedback": "shorter", "criteria": {"b": 1}},
        "baseAttempt": 1,
        "best": {"attempt": 1, "output": {"a": 1}, "evaluation": {"score": 0.5, "feedback": "shorter"}},
        "history": [{"attempt": 1, "score": 0.5, "feedback": "shorter"}],
        "budget": {"tokens": None, "usd": None, "seconds": None},
        "idempotencyKey": "key",
    }
    assert context().document()["evaluation"] is None


def test_log_lines_go_to_the_sink() -> None:
    """A line and its metadata reach the sink; without one they go nowhere."""
    lines = Lines()
    context(sink=lines).log("half way", part=1)
    context().log("unheard")
    assert lines == [("half way", {"part": 1})]


def test_each_stage_is_called_by_its_own_part() -> None:
    """Produce, evaluate and revise are what they were given as."""
    whole = agent(revise=revise)
    assert [whole.stage(stage).target.split(":")[1] for stage in Stage] == ["produce", "evaluate", "revise"]
    assert list(whole.stages) == ["produce", "evaluate", "revise"]


def test_without_revise_produce_revises() -> None:
    """Two parts are enough for a loop."""
    short = agent()
    assert short.stage(Stage.REVISING) is short.produce
    assert list(short.stages) == ["produce", "evaluate"]


def test_a_spec_is_taken_as_it_is() -> None:
    """Timeout and retries are kept; a callable in a spec is converted as well."""
    spec = StageSpec(produce, timeout=timedelta(seconds=3), retries=2)
    assert agent(produce=spec).produce is spec
    assert StageSpec(spec.body).body is spec.body
    assert (spec.kind, spec.problem()) == ("python", None)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a\0"}, "name"),
        ({"description": 5}, "description"),
        ({"description": "\ud800"}, "description"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"max_attempts": 2.0}, "max_attempts"),
        ({"max_attempts": 2**31}, "max_attempts"),
        ({"pass_threshold": 1.1}, "pass_threshold"),
        ({"pass_threshold": float("nan")}, "pass_threshold"),
        ({"pass_threshold": 10**400}, "pass_threshold"),
        ({"pass_threshold": True}, "pass_threshold"),
        ({"pass_threshold": "0.5"}, "pass_threshold"),
        ({"output_suffix": "/../x"}, "output_suffix"),
        ({"output_suffix": ".eval.json"}, "output_suffix"),
        ({"output_suffix": "." * 33}, "output_suffix"),
        ({"output_suffix": None}, "output_suffix"),
        ({"inputs": "object"}, "inputs"),
        ({"inputs": {"type": "objekt"}}, "inputs.type"),
        ({"produce": None}, "produce"),
        ({"evaluate": "score.sh"}, "evaluate"),
    ],
)
def test_a_value_that_cannot_work_is_refused(settings: Mapping[str, Any], key: str | None) -> None:
    """The error names the setting; nothing is coerced."""
    with pytest.raises(InvalidConfig) as caught:
        agent(**settings)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"timeout": timedelta(0)}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": 1e10}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"retries": True}, "retries"),
        ({"retries": "2"}, "retries"),
    ],
)
def test_a_stage_with_a_value_that_cannot_work_is_refused(settings: Mapping[str, Any], key: str) -> None:
    """Timeouts are spans longer than nothing, retries are counts."""
    with pytest.raises(InvalidConfig) as caught:
        StageSpec(produce, **settings)
    assert caught.value.key == key


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    "change",
    [
        {"produce": revise},
        {"produce": StageSpec(produce, retries=1)},
        {"produce": StageSpec(produce, timeout=timedelta(seconds=1))},
        {"revise": revise},
        {"inputs": {**SCHEMA, "required": ["n"]}},
        {"max_attempts": 4},
        {"pass_threshold": 0.9},
        {"output_suffix": ".txt"},
    ],
)
def test_another_definition_has_another_digest(change: Mapping[str, Any]) -> None:
    """Whatever decides how a run goes is in the digest."""
    assert agent(**{"inputs": SCHEMA, **change}).definition != agent(inputs=SCHEMA).definition


def test_a_description_does_not_change_the_definition() -> None:
    """Words for people change nothing."""
    assert agent(description="new words").definition == agent().definition


def test_the_definition_is_the_same_in_every_process() -> None:
    """A runner that takes over elsewhere compares with what the first one stored."""
    program = "from tests.agents.test_agent import agent; print(agent().definition)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == agent().definition


def test_defaults_are_filled_in_before_the_check() -> None:
    """A required property with a default may be left out; what the caller holds stays as it was."""
    schema = {"type": "object", "required": ["tags"], "properties": {"tags": {"default": ["a"]}, "n": {}, "any": True}}
    tagged, inputs = agent(inputs=schema), {"n": 1}
    first = tagged.checked_inputs(inputs)
    assert first == {"n": 1, "tags": ["a"]}
    first["tags"].append("b")
    assert tagged.checked_inputs(inputs) == {"n": 1, "tags": ["a"]}
    assert inputs == {"n": 1}
    assert tagged.checked_inputs({"tags": []}) == {"tags": []}


def test_inputs_are_copied() -> None:
    """Any mapping is taken, and what is given back shares nothing with it."""
    inner = [1]
    checked = agent().checked_inputs(MappingProxyType({"list": inner, "pair": (1, 2)}))
    inner.append(2)
    assert checked == {"list": [1], "pair": [1, 2]}


def test_every_fault_of_the_schema_is_told() -> None:
    """All of them at once, by pointer."""
    schema = {
        "type": "object",
        "required": ["thesis", "size"],
        "properties": {"size": {"type": "integer"}},
        "additionalProperties": False,
    }
    with pytest.raises(InvalidInputs) as caught:
        agent(inputs=schema).checked_inputs({"size": "big", "other": 1})
    assert caught.value.faults == [
        Fault("/other", "is not a known property"),
        Fault("/size", "is not of type 'integer'"),
        Fault("/thesis", "is required"),
    ]


@pytest.mark.parametrize(
    ("inputs", "pointer", "says"),
    [
        ([], "", "must be an object, not a list"),
        (None, "", "must be an object, not nothing"),
        ({"a": {"b": float("nan")}}, "/a/b", "finite"),
        ({"a": "\0"}, "/a", "NUL"),
        ({"a": {1, 2}}, "/a", "set"),
        ({1: 2}, "", "key"),
        ({"a": "x" * strict_json.MAX_INPUTS_BYTES}, "", "larger"),
    ],
)
def test_inputs_that_are_no_plain_json_are_refused(inputs: Any, pointer: str, says: str) -> None:
    """Nothing reaches a database that it, or another one, could not hold."""
    with pytest.raises(InvalidInputs) as caught:
        agent().checked_inputs(inputs)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]
    assert says in caught.value.faults[0].detail


def test_the_schema_is_told_as_it_was_given() -> None:
    """Pages and programs get the schema; an agent without one takes any object."""
    assert agent().inputs == {"type": "object"}
    assert agent(inputs=SCHEMA).inputs == SCHEMA


async def test_each_agent_of_a_list_has_its_own_name() -> None:
    """Else one of the two would be called for the runs of both; the same agent may be there twice."""
    first, second, other = agent(), agent(), agent(name="other")
    same_names: list[Any] = [[first, second], {"a": first, "b": second}]
    others: list[tuple[Any, str]] = [(first, "not an Agent"), (None, "not nothing"), ([other, 5], "a number is in it")]
    takers: list[Callable[[Any], object]] = [partial(Runner, MemoryStore()), partial(create_app, MemoryStore())]
    for take in takers:
        take([first, other, first])
        take({"a": first, "b": other})
        for agents in same_names:
            with pytest.raises(UnusableOption, match="two agents have the name 'namer'"):
                take(agents)
        for agents, kind in others:
            with pytest.raises(UnusableOption, match=f"must be a list of agents or a mapping by name.*{kind}"):
                take(agents)
