"""What a program writes to stdout: whole, or as lines of JSON."""

from collections.abc import Sequence
from typing import Any

import pytest

from loopkit.agents.stages.command_output import JsonLines, WholeOutput
from loopkit.core import strict_json
from loopkit.errors import BadOutput, StageError


def read(*parts: bytes, pointer: str | None = None) -> tuple[JsonLines, list[str]]:
    lines: list[str] = []
    output = JsonLines(lines.append, max_line_chars=100, pointer=pointer)
    for part in [*parts, b""]:
        output.feed(part)
    return output, lines


@pytest.mark.parametrize(
    ("text", "pointer", "result"),
    [
        (b'{"result": "a"}', None, "a"),
        (b'{"result": "a"}\n', None, "a"),
        (b'{"result": "a"}\r\n\r\n', None, "a"),
        (b'{"result": "a"}\n{"result": "b"}\n[1]\n"x"\nnot JSON\n\xff\n', None, "b"),
        (b'{"result": {"a": [1]}}', None, {"a": [1]}),
        (b'{"item": {"text": "a"}}\n{"item": {"text": "b"}}\n{"type": "end"}', "/item/text", "b"),
        (b'{"a/b": {"~": [1, "two"]}}', "/a~1b/~0/1", "two"),
        (b'{"result": "a"}', "", {"result": "a"}),
        (b'{"": {"": "a"}}', "//", "a"),
        (b'{"item": null}', "/item", None),
    ],
)
def test_the_last_object_that_has_the_place_holds_the_result(text: bytes, pointer: str | None, result: Any) -> None:
    """`result` of the last object, or the last place that a pointer names, whatever is printed between the objects."""
    output, _ = read(text, pointer=pointer)
    assert output.output() == result
    split, _ = read(*(text[index : index + 1] for index in range(len(text))), pointer=pointer)
    assert split.output() == result


@pytest.mark.parametrize(
    ("text", "pointer", "says"),
    [
        (b"", None, "stdout has no JSON object"),
        (b"text\n[1]\n", None, "stdout has no JSON object"),
        (b'{"result": "a"}\n{"type": "end"}', None, "the last JSON object of stdout has no `result`"),
        (b'{"item": [1]}', "/item/1", "no JSON object of stdout has the place /item/1"),
        (b'{"item": "text"}', "/item/text", "no JSON object of stdout has the place /item/text"),
        (b'{"item": [1]}', "/item/-1", "has the place"),
        (b"[" * 100_000, None, "stdout has no JSON object"),
    ],
)
def test_a_result_that_is_not_there_is_an_error(text: bytes, pointer: str | None, says: str) -> None:
    """An earlier object's `result` is not taken for that of the last one."""
    output, _ = read(text, pointer=pointer)
    with pytest.raises(StageError, match=says):
        output.output()


def test_each_line_is_passed_on_as_it_comes() -> None:
    """Those that are no JSON too, without blank ones, and cut where they are long."""
    lines: list[str] = []
    output = JsonLines(lines.append, max_line_chars=10)
    seen: list[Sequence[str]] = []
    for part in (b'{"a": 1}\nte', b"xt\r\n \n", b"x" * 50, b"\nlast"):
        output.feed(part)
        seen.append(list(lines))
    output.feed(b"")
    assert seen[0] == ['{"a": 1}']
    assert seen[1] == ['{"a": 1}', "text"]
    assert output.usage() == {}
    with pytest.raises(StageError):
        output.output()
    assert lines == ['{"a": 1}', "text", "x" * 11, "last"]


def test_what_the_last_object_says_of_its_cost_is_kept() -> None:
    """The whole run's, not that of each step."""
    output, _ = read(
        b'{"usage": {"input_tokens": 1}}\n{"result": "", "usage": {"input_tokens": 9}, "total_cost_usd": 0.1}'
    )
    output.output()
    assert output.usage() == {"usage": {"input_tokens": 9}, "total_cost_usd": 0.1}


@pytest.mark.parametrize("output", [WholeOutput(), JsonLines(lambda _: None, max_line_chars=10)])
def test_output_is_bounded(output: WholeOutput | JsonLines) -> None:
    """One line, or everything, is at most as large as an output may be."""
    output.feed(b"x" * strict_json.MAX_OUTPUT_BYTES)
    with pytest.raises(BadOutput, match="is larger than"):
        output.feed(b"x")


def test_many_lines_may_be_larger_than_one_output() -> None:
    """A program may work for hours; only the last object counts."""
    output = JsonLines(lambda _: None, max_line_chars=10)
    for _ in range(40):
        output.feed(b"x" * 500_000 + b"\n")
    output.feed(b'{"result": "done"}')
    assert output.output() == "done"
