"""Inputs as people and programs write them."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.errors import UnusableOption
from loopkit_cli import inputs

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "maybe": {"type": ["string", "null"]},
        "either": {"type": ["number", "string"]},
        "flag": {"type": ["boolean", "null"]},
        "free": {},
    },
}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("text=12", "12"),
        ('text={"a": 1}', '{"a": 1}'),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("count=12", 12),
        ("count=1.5", 1.5),
        ("maybe=12", "12"),
        ("maybe=null", None),
        ("either=12", 12),
        ("either=true", "true"),
        ("flag=true", True),
        ("free=12", 12),
        ("free=[1, 2]", [1, 2]),
        ("free=twelve", "twelve"),
        ("free=NaN", "NaN"),
        ("unknown=12", 12),
        ("unknown=twelve", "twelve"),
    ],
)
def test_the_schema_says_how_a_value_is_read(pair: str, value: Any) -> None:
    """Text where it says string, JSON where it says another type, else JSON if it can be read as such."""
    assert inputs.from_options([pair], SCHEMA) == {pair.partition("=")[0]: value}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("same=5", "5"),
        ("twice=5", "5"),
        ("named=5", "5"),
        ("own=5", "5"),
        ("many=null", None),
        ("sized=5", 5),
        ("round=5", 5),
        ("nowhere=5", 5),
    ],
)
def test_a_reference_says_it_as_well(pair: str, value: Any) -> None:
    """A type that stands elsewhere in the schema counts; what leads nowhere or round in a circle says nothing."""
    schema = {
        "$defs": {
            "a/b": {"type": "string"},
            "again": {"$ref": "#/$defs/a~1b"},
            "anchored": {"$anchor": "name", "type": "string"},
            "optional": {"type": ["string", "null"]},
            "count": {"minimum": 1},
        },
        "properties": {
            "same": {"$ref": "#/$defs/a~1b"},
            "twice": {"$ref": "#/$defs/again", "title": "Twice"},
            "named": {"$ref": "#name"},
            "own": {"$ref": "#/$defs/count", "type": "string"},
            "many": {"$ref": "#/$defs/optional"},
            "sized": {"$ref": "#/$defs/count"},
            "round": {"$ref": "#/properties/round"},
            "nowhere": {"$ref": "#/$defs/nothing"},
        },
    }
    assert inputs.from_options([pair], schema) == {pair.partition("=")[0]: value}


@given(st.text())
def test_text_stays_as_it_is(text: str) -> None:
    """Whatever is typed for a string arrives unchanged, unless it names a file."""
    if not text.startswith("@"):
        assert inputs.from_options([f"text={text}"], SCHEMA) == {"text": text}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_json_is_read_as_json(value: Any) -> None:
    """Where nothing is said of the type, JSON means its value."""
    assert inputs.from_options([f"free={json.dumps(value)}"], {}) == {"free": value}


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["text"], "write it as NAME=VALUE"),
        (["=x"], "write it as NAME=VALUE"),
        (["text=1", "text=2"], "given twice"),
        (["count=many"], "--input count: must be integer"),
        (["count=NaN"], "NaN"),
        (["flag=yes"], "must be boolean or null"),
        (["flag=yes", "count=many"], "(?s)--input flag: must be.*--input count: must be integer"),
        (["text=@nowhere.txt"], "cannot read 'nowhere.txt'"),
        (['count={"a": 1, "a": 2}'], "the key 'a' twice"),
    ],
)
def test_what_is_not_clear_is_refused(pairs: list[str], said: str) -> None:
    """The message names the input and says what to do."""
    with pytest.raises(UnusableOption, match=said):
        inputs.from_options(pairs, SCHEMA)


def test_a_file_stands_for_its_content(tmp_path: Path) -> None:
    """A file's text is taken exactly as it is, and read as any other value of that name is."""
    file = tmp_path / "file"
    file.write_bytes("é\r\n12\n".encode())
    assert inputs.from_options([f"text=@{file}"], SCHEMA) == {"text": "é\r\n12\n"}
    file.write_text("12\n")
    assert inputs.from_options([f"count=@{file}"], SCHEMA) == {"count": 12}


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Only UTF-8 can be stored."""
    (tmp_path / "file").write_bytes(b"ab\xff")
    with pytest.raises(UnusableOption, match=r"not UTF-8 text \(byte 2\)"):
        inputs.from_options([f"text=@{tmp_path / 'file'}"], SCHEMA)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "must be a JSON object, not array"),
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": 1, "a": 1}', "the key 'a' twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_of_inputs_must_be_one_object(tmp_path: Path, content: str, said: str) -> None:
    """Anything else is refused with the file's name and the reason."""
    file = tmp_path / "inputs.json"
    file.write_text(content)
    with pytest.raises(UnusableOption, match=said) as refused:
        inputs.from_file(str(file))
    assert str(file) in str(refused.value)


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs and batches can be piped in; a byte order mark does no harm."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'\xef\xbb\xbf{"a": 1}')))
    assert inputs.from_file("-") == {"a": 1}


def test_a_batch_keeps_the_numbers_of_its_lines(tmp_path: Path) -> None:
    """Blank lines count and are skipped; only a line feed ends a line; a bad line keeps its number."""
    file = tmp_path / "batch.jsonl"
    file.write_text('{"a": 1}\n\n  \n{"a": "\u2028"}\r\n7\n{"a": 2}', encoding="utf-8")
    first, second, bad, last = inputs.from_batch(str(file))
    assert (first, second, last) == ((1, {"a": 1}), (4, {"a": "\u2028"}), (6, {"a": 2}))
    assert bad[0] == 5
    assert "must be a JSON object, not integer" in str(bad[1])
