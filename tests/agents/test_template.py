"""Templates: Jinja2 whose values are JSON, with nothing that reaches further and bounds on what they cost."""

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.agents.context import BestAttempt, HistoryEntry
from loopkit.agents.template import MAX_TEMPLATE_BYTES, Template, closed_inputs, declared_inputs
from loopkit.core.ledger.budget import BudgetLeft
from loopkit.core.outcome import Evaluation
from loopkit.core.run import Stage
from loopkit.errors import StageFailed
from tests.agents.context_helpers import context

JUDGED = Evaluation(0.5, "shorter", rest={"criteria": {"word-count": 0.25}})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("no places\n", "no places\n"),
        ("{{ inputs.thing }}/{{inputs.thing}}", "a cat/a cat"),
        ("{{\n inputs.thing \n}}", "a cat"),
        ("{{ run_id }} {{ agent_name }} {{ cycle_id }}", "run_1 namer 2026-01-02-003"),
        ("{{ stage }} {{ attempt }} {{ idempotency_key }}", "revising 2 key"),
        ("{{ output }}", "the draft"),
        ("{{ evaluation.score }}: {{ evaluation.feedback }}", "0.5: shorter"),
        ("{{ evaluation.criteria['word-count'] }}", "0.25"),
        (
            "{{ evaluation }}",
            '{\n  "score": 0.5,\n  "feedback": "shorter",\n  "criteria": {\n    "word-count": 0.25\n  }\n}',
        ),
        ("{{ inputs }}", '{\n  "thing": "a cat"\n}'),
        ('{"a": {"b": 1}} { { x } }', '{"a": {"b": 1}} { { x } }'),
        ("{# a note #}{% if attempt > 1 %}again{% else %}first{% endif %}", "again"),
        (
            "{% for name, value in inputs.items() %}{{ loop.index }}. {{ name }}: {{ value }}{% endfor %}",
            "1. thing: a cat",
        ),
        (
            "{{ inputs.thing | upper }} {{ inputs.thing.title() }} {{ '%.1f' | format(evaluation.score) }}",
            "A CAT A Cat 0.5",
        ),
        ("{{ 1 + 1 }} {{ [1, none, 'a'] | join(', ') }} {{ 'a' ~ none ~ 1 }} {{ true }}", "2 1, , a a1 true"),
        ("{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') }}{% raw %}{{ x }}{% endraw %}", "<a>{{ x }}"),
        ("<b>{{ inputs.thing }} & co</b>", "<b>a cat & co</b>"),
    ],
)
def test_templates_are_filled(text: str, filled: str) -> None:
    """Text as it is, without escapes, everything else as JSON; the tools of Jinja2 are there."""
    given_context = context(Stage.REVISING, attempt=2, output="the draft", evaluation=JUDGED)
    assert Template(text).fill(given_context) == filled


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<text> & 'more'", "<text> & 'more'"),
        (None, ""),
        (1.5, "1.5"),
        (True, "true"),
        (["ü"], '[\n  "ü"\n]'),
        (MappingProxyType({"a": 1}), '{\n  "a": 1\n}'),
    ],
)
def test_other_values_than_text_are_shown_as_json(value: Any, shown: str) -> None:
    """Nothing at all is shown as no text."""
    assert Template("{{ output }}").fill(context(output=value)) == shown


def test_what_is_not_there_yet_is_empty() -> None:
    """One template does for the first attempt and the later ones: parts of None are None, and have no items."""
    text = "[{{ output }}{{ evaluation.feedback }}{{ evaluation.criteria.a }}{{ evaluation.feedback | upper }}"
    text += "{% for c in evaluation.criteria %}x{% endfor %}{{ evaluation.feedback | default('-') }}]"
    assert Template(text).fill(context()) == "[-]"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{% for a in history %}{{ a.attempt }} {{ a.score }} {{ a.feedback }};{% endfor %}", "1 0.5 a;2 0.25 b;"),
        ("{{ history[1].feedback }}{{ history | length }}", "b2"),
        ("{{ history | map(attribute='score') | join(',') }}", "0.5,0.25"),
        ("{{ history[:1] | tojson }}", '[{"attempt": 1, "score": 0.5, "feedback": "a"}]'),
        ("{{ best.attempt }} {{ best.output.text }} {{ best.evaluation.more }}", "1 first x"),
        ("{{ base_attempt }} {{ budget.usd }} {{ budget.tokens }}", "2 0.25 "),
    ],
)  # fmt: skip
def test_a_revision_is_told_of_all_attempts(text: str, filled: str) -> None:
    evaluation = Evaluation(score=0.5, feedback="a", rest={"more": "x"})
    revising = context(
        stage=Stage.REVISING,
        attempt=3,
        base_attempt=2,
        best=BestAttempt(1, {"text": "first"}, evaluation),
        history=(HistoryEntry(1, 0.5, "a"), HistoryEntry(2, 0.25, "b")),
        budget=BudgetLeft(usd=0.25),
    )
    assert Template(text).fill(revising) == filled


def test_large_outputs_of_other_attempts_are_filled_in() -> None:
    best = BestAttempt(1, "x" * 3_000_000, Evaluation(score=0.5, feedback="y" * 3_000_000))
    filled = Template("{{ best.output }}{{ best.evaluation.feedback }}").fill(context(stage=Stage.REVISING, best=best))
    assert len(filled) == 6_000_000


def test_an_input_that_is_declared_and_left_out_is_none() -> None:
    """Whatever its name; one that is not declared is an error that names it."""
    template = Template("{{ inputs.audience }}{% if inputs.items %}x{% endif %}{{ inputs.audience | default('all') }}")
    assert template.fill(context(), declared=frozenset({"audience", "items"})) == "all"
    with pytest.raises(StageFailed, match=r"the template names inputs\.audience, which does not exist"):
        template.fill(context(), declared=frozenset({"items"}))


@given(st.text())
def test_what_is_filled_in_is_never_a_template(text: str) -> None:
    """Inputs cannot reach what the template does not name."""
    value = "{{ run_id }}{% for i in x %}{# #}" + text + "{{ output }}"
    assert Template("<{{ inputs.thing }}>").fill(context(inputs={"thing": value})) == f"<{value}>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\n{{ }}", "line 2: "),
        ("{{ unclosed", "line 1: "),
        ("{% if attempt %}", "line 1: "),
        ("{% frobnicate %}", "frobnicate"),
        ("{{ inputs.thing | frobnicate }}", "frobnicate"),
        ("{{ inputs.thing is frobnicate }}", "frobnicate"),
        ("{{ nothing }}", "names nothing; it may name: run_id, agent_name"),
        ("{{ __class__ }}", "names __class__; it may name"),
        ("{{ log }}{{ sink }}", "names log, sink; it may name"),
        ("{{ lipsum() }}", "names lipsum; it may name"),
        ("\n{% include 'a' %}", "line 2: `include` is not allowed here"),
        ("{% import 'a' as a %}", "line 1: `import` is not allowed here"),
        ("{% from 'a' import b %}", "line 1: `from ... import` is not allowed here"),
        ("{% if attempt %}{% extends 'a' %}{% endif %}", "line 1: `extends` is not allowed here"),
        ("{{ " + "(" * 30_000, "cannot be read: it is nested too deep"),
        ("x" * (MAX_TEMPLATE_BYTES + 1), "is larger than 1048576 bytes"),
    ],
)
def test_what_can_be_found_at_load_is_refused_at_once(text: str, why: str) -> None:
    """The error names the line or the name, and is final: another try would not help."""
    with pytest.raises(StageFailed) as caught:
        Template(text, source="write.md")
    assert str(caught.value).startswith("the template write.md ")
    assert why in str(caught.value)
    assert caught.value.is_final


@pytest.mark.parametrize(
    "name",
    [
        "inputs.missing",
        "inputs.thing.__class__",
        "inputs.__class__",
        "run_id.format",
        "evaluation.missing",
        "attempt.real",
        "output.title",
        "inputs.items",
    ],
)
def test_a_part_that_is_not_there_is_named(name: str) -> None:
    """Parts are those of JSON; attributes of Python objects are not parts."""
    with pytest.raises(StageFailed) as caught:
        Template(f"{{{{ {name} }}}}").fill(context(output="a draft", evaluation=JUDGED))
    assert str(caught.value) == f"the template names {name}, which does not exist"
    assert caught.value.is_final


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ inputs | attr('__class__') }}",
        "{{ ['__class__'] | map(attribute='__class__') | list }}",
        "{{ [inputs] | map(attribute='__class__') | join }}",
        "{{ '{0.__class__}'.format(inputs) }}",
        "{{ inputs.update({'a': 1}) }}",
        "{{ inputs.thing.upper }}",
        "{{ range }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ joiner }}",
    ],
)
def test_nothing_of_python_is_reached(text: str) -> None:
    """Neither read nor called nor changed, and no object of Python is shown."""
    with pytest.raises(StageFailed):
        Template(text).fill(context())


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 10 ** 12 }}",
        "{{ ([1] * 10 ** 9) | length }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ '%1000000000d' % 1 }}{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 'x' | center(10 ** 10) }}",
        "{{ 'x' | indent(10 ** 10, true) }}",
        "{{ ('x' * 9999) | replace('', 'x' * 9999) }}",
        "{{ range(99999) | join('x' * 9999) }}",
        "{{ [1] | batch(10 ** 9, 0) | list }}",
        "{{ 1.5 | round(10 ** 9, 'floor') }}",
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% for i in range(99999) %}{{ 'x' * 99 }}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 99 + "{% endfor %}",
    ],
)
def test_a_template_that_costs_too_much_is_stopped(text: str) -> None:
    """In time and in space, as an error that is final."""
    with pytest.raises(StageFailed) as caught:
        Template(text).fill(context())
    assert caught.value.is_final


def test_a_large_output_is_filled_in() -> None:
    """The bound is on what the template makes, not on what it is given."""
    output = "x" * (3 * MAX_TEMPLATE_BYTES)
    assert Template("{{ output }}!").fill(context(output=output)) == f"{output}!"


@pytest.mark.parametrize(
    "text",
    [
        "{{ output }}",
        "{{ output | upper | lower }}",
        "{{ 'Judge: ' ~ output }}",
        "{% set text = output %}{% set copy = text %}{{ copy }}",
        "{% for line in output.split('!') %}{{ line }}{% endfor %}",
        "{% with text = output %}{{ text }}{% endwith %}",
        "{% set ns = namespace(t='') %}{% set ns.t = output %}{{ ns.t }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(output) }}",
    ],
)
def test_the_judged_text_stands_in_a_fence(text: str) -> None:
    """However the template takes it; nothing else does."""
    filled = Template(text + " {{ inputs.thing }}").fill(context(output="good"), fence=lambda judged: f"<<{judged}>>")
    assert "good>>" in filled
    assert filled.endswith(">> a cat")


@pytest.mark.parametrize(
    ("schema", "declared"),
    [
        ({"type": "object"}, None),
        ({"properties": {"a": {}, "b": {}}}, {"a", "b"}),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a"}),
        ({"properties": {"a": {}}, "additionalProperties": True}, None),
        ({"properties": {"a": {}}, "patternProperties": {"^x": {}}}, None),
        ({"properties": {"a": {}}, "allOf": [{"$ref": "#/$defs/x"}]}, None),
        (
            {"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}], "then": {"properties": {"c": {}}}},
            {"a", "b", "c"},
        ),
    ],
)
def test_the_declared_inputs_are_those_of_the_schema(schema: dict[str, Any], declared: set[str] | None) -> None:
    """In all of its branches; a schema that leaves more open declares nothing for certain."""
    assert closed_inputs(schema) == (None if declared is None else frozenset(declared))


@pytest.mark.parametrize(
    "more",
    [
        {"additionalProperties": True},
        {"patternProperties": {"^x": {}}},
        {"allOf": [{"$ref": "https://example.com/schema"}, {"$ref": "#/nowhere"}, {"$ref": "#"}]},
    ],
    ids=str,
)
def test_an_input_that_an_open_schema_declares_may_be_left_out(more: dict[str, Any]) -> None:
    """Others are errors in a run that lacks them."""
    declared = declared_inputs({"properties": {"topic": {"properties": {"part": {}}}}, **more})
    assert Template("{{ inputs.topic }}{{ inputs.topic.part }}").fill(context(), declared=declared) == ""
    with pytest.raises(StageFailed, match=r"names inputs\.part, which does not exist"):
        Template("{{ inputs.part }}").fill(context(), declared=declared)


def test_references_inside_a_schema_are_followed() -> None:
    """To where they lead, also round in a circle."""
    schema = {
        "$ref": "#/$defs/a~1b",
        "$defs": {
            "a/b": {"properties": {"topic": {}}, "allOf": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#/$defs/c"}]},
            "c": 5,
        },
    }
    assert declared_inputs(schema) == frozenset({"topic"})
    assert closed_inputs(schema) is None


def test_inputs_that_the_schema_does_not_have_are_a_problem() -> None:
    """All of them are named at once, with those that there are."""
    template = Template("{{ inputs.topic }} {{ inputs['audience'] }} {{ inputs.items() }} {{ inputs }}")
    assert template.problem(frozenset({"topic", "length"})) == (
        "the template names inputs.audience, which the inputs' schema does not have; it has: length, topic"
    )
    assert template.problem(frozenset({"topic", "audience"})) is None
    assert template.problem(None) is None
