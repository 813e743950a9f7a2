"""The table of results for systems that have none, and what a loop writes there."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks import standard

TABLE = "CREATE TABLE results (run int, step int, content text NOT NULL, PRIMARY KEY (run, step))"


def steps(number: int) -> Iterator[tuple[int, str]]:
    """Go through one loop: the number of each stage and what it made."""
    for attempt in (1, 2):
        yield 2 * attempt - 1, standard.output(number)
        yield 2 * attempt, json.dumps(standard.evaluation(attempt))
