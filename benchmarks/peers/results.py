"""Table of results for systems that have none, and the rows that a loop writes there."""

import json
from collections.abc import Iterator

from benchmarks import standard

TABLE = "CREATE TABLE results (run int, step int, content text NOT NULL, PRIMARY KEY (run, step))"


def steps(number: int) -> Iterator[tuple[int, str]]:
    """Yield the number and the output of each stage of one loop."""
    for attempt in (1, 2):
        yield 2 * attempt - 1, standard.output(number)
        yield 2 * attempt, json.dumps(standard.evaluation(attempt))
