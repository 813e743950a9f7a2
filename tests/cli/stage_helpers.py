"""Stages of the agents that the tests of the command line run."""

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

AGENTS = """
agents:
  writer: # passes at attempt 2
    description: Writes on a topic.
    inputs:
      type: object
      required: [topic]
      additionalProperties: false
      properties:
        topic: {type: string, minLength: 1}
        length: {type: integer, default: 100}
    produce: {python: "tests.cli.stage_helpers:produce"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
  loser: # fails with the score 0.5
    max_attempts: 1
    produce: {python: "tests.cli.stage_helpers:produce"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
  spender: # reports calls of models, and passes at attempt 2
    produce: {python: "tests.cli.stage_helpers:spends"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
  broken: # fails with an error
    produce: {python: "tests.cli.stage_helpers:breaks"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
  noisy: # writes to stdout by itself and by a child
    pass_threshold: 0.5
    produce: {python: "tests.cli.stage_helpers:noisy"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
  cancelled: # asks for its own cancellation
    produce: {python: "tests.cli.stage_helpers:cancels_itself"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
  lost: # is claimed by another program while it produces
    produce: {python: "tests.cli.stage_helpers:is_lost"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
  interrupted: # is sent SIGINT while it produces
    produce: {python: "tests.cli.stage_helpers:interrupts"}
    evaluate: {python: "tests.cli.stage_helpers:better_each_time"}
"""


def produce(ctx: Any) -> str:
    return f"{ctx.stage}: {ctx.inputs.get('topic', 'nothing')}, {ctx.inputs.get('length', '?')} words"


def better_each_time(ctx: Any) -> dict[str, Any]:
    ctx.log("a \x1b[31mhostile\x1b[0m line")
    return {"score": min(1.0, 0.5 * ctx.attempt), "feedback": "go\x1b[2J on"}


def spends(ctx: Any) -> str:
    ctx.report_usage(input_tokens=100, output_tokens=20, cached_tokens=40, usd=0.0125, model="local:m")
    ctx.report_usage(input_tokens=1, output_tokens=0, model="local:\x1b[31mfree")
    return "text"


def breaks(ctx: Any) -> str:
    raise RuntimeError("the stage \x1b[31mbroke")


def noisy(ctx: Any) -> str:
    print("printed by the stage")
    subprocess.run(["echo", "echoed by a child"], check=True)
    return "quiet"


def cancels_itself(ctx: Any) -> str:
    from loopkit_cli.main import main

    assert main(["cancel", ctx.run_id]) == 0
    return "too late"


def is_lost(ctx: Any) -> str:
    with closing(sqlite3.connect("loopkit.db")) as database, database:
        database.execute("update workflow_runs set claimed_by = 'other:1', claimed_at = datetime('now')")
    return "too late"


def interrupts(ctx: Any) -> str:
    """Send this process SIGINT the first time it is called in this folder."""
    if not Path("interrupted").exists():
        Path("interrupted").touch()
        os.kill(os.getpid(), signal.SIGINT)
    return "done"
