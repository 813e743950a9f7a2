"""What the judges of evaluator libraries are asked with: answers of a model as their tools want them."""

import json
from typing import Any

from tests.agents.model_server_helpers import Answer, Mood, Request, completion, response, says

GRADE = {"reason": "too short", "pass": True, "score": 0.7}


def gives(values: dict[str, Any]) -> Mood:
    """The model calls the tool that it is offered, or else answers with JSON."""

    def answer(request: Request) -> Answer:
        if not request.body.get("tools"):
            return says(json.dumps(values))
        tool = request.body["tools"][0]
        if request.path.endswith("/responses"):
            call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": tool["name"]}
            return response({**call, "arguments": json.dumps(values)})
        function = {"name": tool["function"]["name"], "arguments": json.dumps(values)}
        chosen = {"id": "call_1", "type": "function", "function": function}
        return completion({"content": None, "tool_calls": [chosen]}, "tool_calls")

    return answer
