"""Schema with every kind of control, and inputs that fit it."""

from typing import Any

from hypothesis import strategies as st

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["thesis", "done", "who"],
    "additionalProperties": False,
    "properties": {
        "thesis": {"type": "string"},
        "code/name~1": {"type": "string", "maxLength": 9},
        "kind": {"enum": ["a", 2, True]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "share": {"type": ["number", "null"]},
        "done": {"type": "boolean"},
        "loud": {"type": "boolean", "default": True},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "names": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array", "uniqueItems": True, "items": {"enum": ["x", "y", "z"]}},
        "who": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        },
        "staff": {"type": "array", "items": {"$ref": "#/$defs/person"}},
        "extra": {"oneOf": [{"type": "string"}, {"type": "array"}]},
        "key": {"type": "string", "writeOnly": True},
    },
    "$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "number"}}}},
}
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8).filter(str.strip)
INPUTS = st.fixed_dictionaries(
    {
        "thesis": WORD,
        "done": st.booleans(),
        "who": st.fixed_dictionaries({"name": WORD}, optional={"age": st.integers()}),
    },
    optional={
        "code/name~1": WORD,
        "kind": st.sampled_from(["a", 2, True]),
        "count": st.integers(1, 9),
        "share": st.floats(0, 1),
        "day": st.dates().map(str),
        "at": st.just("2026-11-22T10:30:00Z"),
        "names": st.lists(WORD, min_size=1, max_size=3),
        "tags": st.lists(st.sampled_from("xyz"), min_size=1, unique=True).map(sorted),
        "staff": st.lists(st.fixed_dictionaries({"name": WORD}, optional={"n": st.integers()}), min_size=1, max_size=2),
        "extra": st.just(["any", {"json": 1}]),
        "loud": st.booleans(),
    },
)
