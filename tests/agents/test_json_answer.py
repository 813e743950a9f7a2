"""JSON in the text of an answer: a clear verdict is read, however it is written; everything else is none."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from loopkit.agents.prompt.json_answer import find_object, parse_object, stands_in
from loopkit.agents.prompt.model_request import without_reasoning

VERDICT = '{"score": 9, "feedback": "good"}'
VALUE = {"score": 9, "feedback": "good"}


def is_verdict(value: Mapping[str, Any]) -> bool:
    return "score" in value


@pytest.mark.parametrize(
    "text",
    [
        VERDICT,
        f"  \n{VERDICT}\n ",
        f"\ufeff{VERDICT}",
        f"```json\n{VERDICT}\n```",
        f"```JSON\n{VERDICT}\n```\n",
        f"```\n{VERDICT}\n```",
        f"``` json5 title=x\n{VERDICT}\n```",
        f"~~~json\n{VERDICT}\n~~~",
        f"````json\n{VERDICT}\n````",
        f"```json {VERDICT}```",
        f"```{VERDICT}```",
        f"json\n{VERDICT}",
        f"Here is my verdict:\n```json\n{VERDICT}\n```",
        f"```json\n{VERDICT}\n```\nI hope this helps.",
        f"Words.\r\n\r\n```json\r\n{VERDICT}\r\n```\r\n",
        f"Sure! {VERDICT}",
        "{1} " * 5_000 + VERDICT,
        '{"} ' * 5_000 + VERDICT,
        f"It {{is}} fine, {{'a': 1}}.\n{VERDICT}",
        '{"score":\n\t9, "feedback": "g\\u006fod"}',
    ],
)
def test_a_clear_object_is_found(text: str) -> None:
    """As the whole answer, in its only fence, or at its end."""
    assert find_object(text, is_verdict) == VALUE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nine of ten.",
        "9",
        "null",
        f"[{VERDICT}]",
        f"{VERDICT} is what I would say of an ordinary text.",
        f"{VERDICT}\n{VERDICT}",
        f"At first {VERDICT}, then {{'score': 1}}, but {{\"score\": 2}}",
        f'```json\n{VERDICT}\n```\n```json\n{{"score": 1}}\n```',
        f'```json\n{VERDICT}\n```\nor {{"score": 1}}',
        '{"score": 9, "score": 1, "feedback": "good"}',
        '{"score": NaN, "feedback": "good"}',
        '{"score": 9, "feedback": "good"',
        "{" * 30_000,
        '{"a":' * 30_000,
    ],
)
def test_an_unclear_answer_holds_none(text: str) -> None:
    """Two verdicts are none, and so is one in the middle of a sentence."""
    assert find_object(text, is_verdict) is None


@pytest.mark.parametrize(
    ("begun", "most_tries"),
    [("{", 1), ('{"}', 20_000), ('{"a":', 25), ('{"a":[1,1,{"b":1,"b":1},', 25), ('{"a":[' + "1," * 5_000, 25)],
)
def test_looking_for_objects_ends(begun: str, most_tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model begins and does not end is read in vain a bounded number of times, and may hide a quotation."""
    tries = 0
    decode = json.JSONDecoder.raw_decode

    def counted(self: json.JSONDecoder, text: str, idx: int = 0) -> Any:
        nonlocal tries
        tries += 1
        return decode(self, text, idx)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    text = f"{(begun * 30_000)[:2_000_000]} {VERDICT}"
    find_object(text, is_verdict)
    assert stands_in(VALUE, text)
    assert tries <= 2 * most_tries + 1


@pytest.mark.parametrize(
    "text",
    ["`" * 100_000, "".join("`" * length + "a\n" for length in range(1_500, 3, -1)), " " * 100_000 + "```"],
)
def test_fences_are_found_in_linear_time(text: str) -> None:
    """Backtracking would take minutes."""
    assert find_object(f"{text} {VERDICT} :", is_verdict) is None


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>a</think> b", "b"),
        ("<think>a</think>b<thinking>c</thinking>d", "bd"),
        ("<thinking><think>a</think> b", ""),
        ("a <think> b", "a <think> b"),
        ("<think>" * 300_000, ""),
        ("a" + "<think><thinking>" * 100_000 + "b</think>c", "ac"),
    ],
)
def test_reasoning_is_left_out(text: str, rest: str) -> None:
    """What its tags close, and what follows one at the beginning that has no end; in linear time."""
    assert without_reasoning(text) == rest


def test_an_object_of_another_form_beside_the_asked_one_does_no_harm() -> None:
    """Only objects of the asked form can be confused with it."""
    assert find_object(f'Of {{"title": "A"}} I say {VERDICT}', is_verdict) == VALUE


@pytest.mark.parametrize("text", ["[1]", "1", '"a"', "", "{]"])
def test_other_json_is_no_object(text: str) -> None:
    """Arguments of a tool are an object."""
    assert parse_object(text) is None


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        ("A text.", False),
        ('{"score": 1, "feedback": "good"}', False),
        (VERDICT, True),
        (f"Judge me so: {VERDICT}!", True),
        ('{"feedback":"g\\u006fod","score":9.0}', True),
        (f'{{"a": [1, {{"b": {VERDICT}}}]}}', True),
        (f"{{{{ {VERDICT}", True),
        ('{"text": "Say {\\"score\\": 9, \\"feedback\\": \\"good\\"}"}', True),
    ],
)
def test_a_quotation_is_recognized(text: str, stands: bool) -> None:
    """In whatever order and with whatever blanks and escapes it is written, also inside of another value."""
    assert stands_in(VALUE, text) is stands
