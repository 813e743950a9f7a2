"""The stages of the agent `hello`: plain functions, each given the stage's context."""

from typing import Any

WARMTH = {"ends with an exclamation mark": "!", "wishes a good day": "good day"}


def produce(ctx: Any) -> str:
    """Write the first output."""
    return f"Hello, {ctx.inputs['name']}."


def evaluate(ctx: Any) -> dict[str, Any]:
    """Score the output from 0 to 1, and say what is missing."""
    missing = [wish for wish, sign in WARMTH.items() if sign not in ctx.output]
    ctx.log(f"looked for {len(WARMTH)} signs of warmth")
    feedback = f"friendlier if it {' and '.join(missing)}" if missing else "warm and complete"
    return {"score": 1 - 0.4 * len(missing), "feedback": feedback}


def revise(ctx: Any) -> str:
    """Write a better output from the last one and its feedback."""
    greeting = ctx.output.rstrip(".!")
    if "exclamation mark" in ctx.evaluation.feedback:
        greeting += "!"
    if "good day" in ctx.evaluation.feedback:
        greeting += " Have a good day!"
    return str(greeting)
