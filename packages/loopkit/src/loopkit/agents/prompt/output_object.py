"""JSON object that a prompt of produce or revise is asked for by its ``output``, and its validation."""

from collections.abc import Mapping
from typing import Any, Final

from loopkit.agents.prompt.model_request import JsonShape
from loopkit.agents.prompt.structured_request import AskedJson, json_instructions
from loopkit.core.inputs import InputsSchema
from loopkit.errors import InvalidConfig

__all__ = ["asked_output", "output_schema"]

_MOST_FAULTS: Final = 5


def output_schema(schema: Any) -> InputsSchema:
    """Return the validator of an output.

    Raises:
        InvalidConfig: the JSON Schema cannot be used; ``key`` names the place.
    """
    try:
        return InputsSchema(schema)
    except InvalidConfig as error:
        key = (error.key or "inputs").replace("inputs", "output", 1)
        raise InvalidConfig(error.reason, key=key) from error


def asked_output(schema: Mapping[str, Any]) -> AskedJson:
    """Return what is asked for by a JSON Schema."""
    validator, document = output_schema(schema), {"type": "object", **schema}

    def read(found: Mapping[str, Any]) -> dict[str, Any]:
        faults = validator.faults(found)
        if faults:
            listed = "; ".join(map(str, faults[:_MOST_FAULTS])).replace("(inputs)", "the object")
            raise ValueError(f"does not fit its JSON Schema: {listed}")
        return dict(found)

    shape = JsonShape(name="output", description="Takes the output.", schema=document)
    return AskedJson(shape=shape, read=read, in_words=json_instructions(document))
