from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.agents.template import Template
from loopkit.core.outcome import Evaluation
from loopkit.core.run import Stage
from loopkit.errors import StageFailed
from tests.agents.contexts import context

JUDGED = Evaluation(0.5, "shorter", rest={"criteria": {"word-count": 0.25}})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("no places", "no places"),
        ("{{ inputs.thing }}/{{inputs.thing}}", "a cat/a cat"),
        ("{{ run_id }} {{ agent_name }} {{ cycle_id }}", "run_1 namer 2026-01-02-003"),
        ("{{ stage }} {{ attempt }} {{ idempotency_key }}", "revising 2 key"),
        ("{{ output }}", "the draft"),
        ("{{ evaluation.score }}: {{ evaluation.feedback }}", "0.5: shorter"),
        ("{{ evaluation.criteria.word-count }}", "0.25"),
        ("{{ inputs }}", '{\n  "thing": "a cat"\n}'),
        ('{"a": {"b": 1}} { { x } } {{ unclosed', '{"a": {"b": 1}} { { x } } {{ unclosed'),
    ],
)
def test_places_are_filled(text: str, filled: str) -> None:
    """A dotted name is replaced by what it names; everything else stays as it is."""
    given_context = context(Stage.REVISING, attempt=2, output="the draft", evaluation=JUDGED)
    assert Template(text).fill(given_context) == filled


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        (None, ""),
        (1.5, "1.5"),
        (True, "true"),
        (["ü"], '[\n  "ü"\n]'),
        (MappingProxyType({"a": 1}), '{\n  "a": 1\n}'),
    ],
)
def test_what_is_no_text_is_shown_as_json(value: Any, shown: str) -> None:
    """Nothing at all is shown as no text."""
    assert Template("{{ output }}").fill(context(output=value)) == shown


def test_what_is_not_there_yet_is_empty() -> None:
    """One template does for the first attempt and the later ones."""
    assert Template("[{{ output }}{{ evaluation.feedback }}{{ evaluation.criteria.a }}]").fill(context()) == "[]"


@given(st.text())
def test_what_is_filled_in_makes_no_places(text: str) -> None:
    """Inputs cannot reach what the template does not name."""
    value = "{{ run_id }}" + text + "{{ output }}"
    assert Template("<{{ inputs.thing }}>").fill(context(inputs={"thing": value})) == f"<{value}>"


@pytest.mark.parametrize(
    "place",
    [
        "{{ }}",
        "{{ nothing }}",
        "{{ inputs.a | upper }}",
        "{{ inputs['a'] }}",
        "{{ 1 + 1 }}",
        "{{ __class__ }}",
        "{{ log }}",
    ],
)
def test_a_place_that_names_nothing_is_refused_at_once(place: str) -> None:
    """The error shows the place and what may stand in one."""
    with pytest.raises(StageFailed, match="idempotency_key") as caught:
        Template(f"text {place} text")
    assert place in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["inputs.missing", "inputs.thing.upper", "inputs.__class__", "run_id.upper", "evaluation.missing", "attempt.real"],
)
def test_a_part_that_is_not_there_is_named(name: str) -> None:
    """Parts are those of JSON; attributes of Python objects are none."""
    with pytest.raises(StageFailed) as caught:
        Template(f"{{{{ {name} }}}}").fill(context(evaluation=JUDGED))
    assert str(caught.value) == f"the template names {name}, which is not there"
