"""Inputs are validated as the JSON Schema Test Suite says, but for what is listed here with its reason."""

import re
from collections import Counter

from loopkit.core.inputs import InputsSchema
from loopkit.errors import InvalidConfig
from tests.json_schema_helpers import groups

REFUSED = {
    "nothing is fetched": r"refRemote: |dynamicRef: |optional/cross-draft: ",
    "contains a NUL character": r"(const|enum): nul characters in strings",
    "must be https://json-schema.org/draft/2020-12/schema": r"vocabulary: |optional/format-assertion: ",
    "is not a 'regex'": r"optional/ecmascript-regex: ",
}
"""Schemas that are refused when an agent is made: part of the message, and the groups."""

DIFFERENT = {
    "format is asserted": r"format: ",
    "the validator's own checks of a format": r"optional/format/(date-time|time|email|iri.*|ecmascript-regex): ",
    "patterns are those of Python": r"optional/ecmascript-regex: ",
    "a keyword of older drafts": r"optional/dependencies-compatibility: ",
    "a vocabulary is not known": r"vocabulary: .*\(value\)",
    "a dynamic reference in a part is not followed": r"defs: validate definition against metaschema \(value\)",
}
"""Inputs that are judged otherwise: the reason, and the groups."""


def test_the_suite() -> None:
    """Every other schema is accepted, and every other instance is judged as the suite judges it."""
    judged: Counter[bool] = Counter()
    wrong: list[str] = []
    for group in groups():
        try:
            schema = InputsSchema(group.schema)
        except InvalidConfig as error:
            reasons = [text for text, names in REFUSED.items() if text in str(error) and re.match(names, group.name)]
            wrong += [] if reasons else [f"{group.name} is refused: {error}"]
            continue
        for description, inputs, valid in group.cases:
            is_equal = (not schema.faults(inputs)) == valid
            judged[is_equal] += 1
            if not is_equal and not any(re.match(names, group.name) for names in DIFFERENT.values()):
                wrong.append(f"{group.name}: {description}")
    assert wrong == []
    assert judged[True] > 2_200, "the suite is there"
    assert judged[False] < 90, "the exceptions do not hide others"
