"""A memo that is written, judged and revised by a language model.

Without further settings the model is a script (scripted_model.py), so that the example costs nothing and always ends in
the same way. MEMO_BASE_URL names any OpenAI-compatible server in its place, such as http://127.0.0.1:11434/v1; then
MEMO_MODEL is the model's name there, and MEMO_API_KEY its key, if it needs one.
"""

import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from scripted_model import serve

import loopkit

PROMPTS = Path(__file__).parent / "prompts"
INPUTS = {
    "type": "object",
    "required": ["topic"],
    "additionalProperties": False,
    "properties": {"topic": {"type": "string", "minLength": 1}, "audience": {"type": "string"}},
}


def make_agent(base_url: str) -> loopkit.Agent:
    """Return the agent, whose three stages are prompts for the same model."""
    prompt = partial(
        loopkit.prompt,
        model=f"memo:{os.environ.get('MEMO_MODEL', 'scripted')}",
        base_url=base_url,
        api_key_env="MEMO_API_KEY" if "MEMO_API_KEY" in os.environ else None,
        timeout=120,
    )
    return loopkit.Agent(
        name="memo",
        inputs=INPUTS,
        produce=prompt(PROMPTS / "write.md", system=PROMPTS / "editor.md"),
        evaluate=prompt(PROMPTS / "judge.md", temperature=0),
        revise=prompt(PROMPTS / "revise.md", system=PROMPTS / "editor.md"),
        max_attempts=4,
        pass_threshold=0.9,
    )


def main(topic: str) -> int:
    """Write a memo about ``topic`` and print it with its score."""
    named = os.environ.get("MEMO_BASE_URL")
    with nullcontext(named) if named else serve() as base_url:
        result = loopkit.run_sync(make_agent(base_url), {"topic": topic})
    print(result.output or result.run.error_message)
    score = "no score" if result.run.final_score is None else f"{result.run.final_score:.2f}"
    print(f"\n{result.status} at attempt {result.run.current_attempt}: {score}", file=sys.stderr)
    return 0 if result.status == "passed" else 1


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "moving the weekly review to Tuesday"))
