"""Rows of random shapes for :mod:`benchmarks.page_bounds`, with values up to the limits of what may be stored.

What loopkit writes by itself is written by its store. Titles, tags, policies, model calls, verdicts and runners are
plain SQL, since another program may have put anything there.
"""

import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.machine import advance, log_change
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun
from loopkit.storage import Storage

__all__ = ["TEXTS", "make_runs", "write_foreign_rows"]

Text = Callable[[random.Random, int], str]


def _repeated(unit: str) -> Text:
    return lambda _, size: (unit * (size // len(unit) + 1))[:size]


def _words(draw: random.Random, size: int) -> str:
    words = " ".join(f"w{draw.randrange(3000)}" for _ in range(min(size // 5, 40_000)))
    return _repeated(words + ".\n\n")(draw, size)


def _array(draw: random.Random, size: int) -> str:
    return json.dumps([draw.randrange(1000) for _ in range(min(size // 5, 300_000))], separators=(",", ":"))


def _nested(draw: random.Random, size: int) -> str:
    value: Any = "x"
    for level in range(60):
        value = {f"k{level}": value, "l": [value] if level % 9 == 0 else []}
    return json.dumps([value] * max(1, min(size // 3_000, 40)))


TEXTS: Final[dict[str, Text]] = {
    "quotes": _repeated("'"),
    "lines of quotes": _repeated("'\"&<>\n"),
    "emoji": _repeated("\U0001f600 "),
    "words": _words,
    "blank lines": _repeated("a\n\n"),
    "list items": _repeated("- a\n"),
    "nested quotes": _repeated("> " * 40 + "a\n"),
    "brackets": _repeated("![a]("),
    "emphasis": _repeated("*a _b "),
    "references": lambda draw, size: "[a]: http://x/" + "b" * (size // 3) + "\n\n" + _repeated("[a] ")(draw, size // 2),
    "table": lambda draw, size: "|a" * 200 + "\n" + "|-" * 200 + "\n" + _repeated("|x\n")(draw, size),
    "other line ends": _repeated("a\x0b\u2028"),
    "other directions": _repeated("\u202e\u0627\u2066a "),
    "JSON array": _array,
    "nested JSON": _nested,
    "objects": lambda draw, size: json.dumps({f"key {n}": n for n in range(min(size // 15, 60_000))}),
    "JSON in text": lambda draw, size: json.dumps({"a": json.dumps([1] * min(size // 8, 50_000))}),
}
"""Generators of texts, each of about a given number of characters."""
_SIZES: Final = (50, 5_000, 60_000, 300_000)
_OUTPUT_SIZES: Final = (*_SIZES, *_SIZES, *_SIZES, 1_000_000, 1_000_000, 4_000_000, 16_000_000)
_MAX_ATTEMPTS_BY_SIZE: Final = 24_000_000
"""Characters of all outputs of a run: the largest ones are made once or twice."""
_MAX_OUTPUT_BYTES: Final = 16 << 20


async def make_runs(store: Storage, draw: random.Random) -> tuple[list[str], str]:
    """Store two runs of a random shape, and return their ids and a description."""
    texts = {part: draw.choice(sorted(TEXTS)) for part in ("output", "feedback", "message", "input")}
    sizes = {part: draw.choice(_SIZES if part != "output" else _OUTPUT_SIZES) for part in texts}
    attempts = min(draw.choice((1, 2, 3, 12)), max(1, _MAX_ATTEMPTS_BY_SIZE // sizes["output"]))
    criteria = {f"criterion {n}": {"score": 0.5, "feedback": "f" * 50} for n in range(draw.choice((0, 3, 16_000)))}

    contents = {part: TEXTS[name](draw, sizes[part]) for part, name in texts.items()}
    while len(contents["output"].encode()) > _MAX_OUTPUT_BYTES - 10:
        contents["output"] = contents["output"][: len(contents["output"]) // 2]
    suffix = ".json" if "JSON" in texts["output"] or texts["output"] == "objects" else ".md"
    ids = []
    for _ in range(2):
        inputs = {"text": contents["input"][:200_000], "more": list(range(draw.choice((0, 10, 20_000))))}
        new = NewRun(agent_name="namer", inputs=inputs, max_attempts=attempts)
        held = await store.start(new, Claimant(name="a:1"))
        lines = [NewEvent(event_type=EventType.LOG, message=contents["message"][:8_192]) for _ in range(250)]
        await store.record(held.lease, log_change(held.run, lines))
        run = held.run
        for attempt in range(1, attempts + 1):
            output = Produced(contents["output"] + str(attempt))
            run = await store.record(held.lease, advance(run, output, output_suffix=suffix))
            verdict = Evaluation(0.1 * attempt / attempts, contents["feedback"][:300_000], rest={"criteria": criteria})
            run = await store.record(held.lease, advance(run, Evaluated(verdict)))
        ids.append(run.id)
    shape = ", ".join(f"{part}: {sizes[part]:,} of {texts[part]}" for part in texts)
    return ids, f"{shape}; {attempts} attempts, {len(criteria)} criteria"


def write_foreign_rows(database: Path, ids: Sequence[str], draw: random.Random) -> str:
    """Write odd titles, tags, policies, model calls, verdicts and runners by plain SQL, and return a description."""
    kind = draw.choice(sorted(TEXTS))
    text = TEXTS[kind](draw, draw.choice((20, 200, 100_000)))
    counts = ((0, 3, 2_000), (0, 20, 5_000), (0, 3, 3, 3, 3_000))
    tags, calls, runners = (draw.choice(numbers) for numbers in counts)
    large_inputs = draw.choice((False, False, True))
    id_size = draw.choice((0, 900, 1_001, 100_000, 4_000_000))
    with sqlite3.connect(database) as connection:
        for run_id in ids:
            _write_columns_of_run(connection, run_id, text, draw)
            tag_rows = [(run_id, f"{n} {text[:200]}") for n in range(tags)]
            _insert(connection, "loopkit_tags", ("run_id", "tag"), tag_rows)
            _write_calls(connection, run_id, text, calls)
            _write_verdicts(connection, run_id, text, min(calls, 500))
        _write_runners(connection, text, runners)
        if id_size:
            _write_long_ids(connection, text, id_size)
        if large_inputs:
            inputs = json.dumps({"text": text[:100] + "x" * 3_000_000, "list": [1] * 500_000})
            connection.execute("UPDATE workflow_runs SET inputs = ? WHERE id = ?", (inputs, ids[1]))
    connection.close()
    large = f", ids of {id_size:,}" + (", inputs of 4 MB" if large_inputs else "")
    return f"{len(text):,} of {kind} as title, tag and judge, {tags} tags, {calls} calls, {runners} runners{large}"


def _insert(connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def _write_columns_of_run(connection: sqlite3.Connection, run_id: str, text: str, draw: random.Random) -> None:
    policies = ("{}", json.dumps({"reviseFrom": text}), "[" * 50_000, json.dumps({"stop": {"patience": 1e99}}))
    values = {
        "title": text,
        "policy": draw.choice(policies),
        "end_reason": draw.choice((None, "plateau", text)),
        "cost_nanos": draw.choice((None, 0, 2**62)),
        "unpriced_calls": draw.choice((0, 5)),
    }
    changes = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(f"UPDATE workflow_runs SET {changes} WHERE id = :id", values | {"id": run_id})


def _write_calls(connection: sqlite3.Connection, run_id: str, text: str, count: int) -> None:
    columns = ("run_id", "stage", "attempt", "judge", "sample", "try_number", "model", "input_tokens", "state")
    calls = ((run_id, "evaluating", n % 12, text[:2_000], n, 1, text[:2_000], 2**40, "answered") for n in range(count))
    _insert(connection, "loopkit_usage", columns, calls)


def _write_verdicts(connection: sqlite3.Connection, run_id: str, text: str, count: int) -> None:
    columns = ("run_id", "attempt", "kind", "name", "sample", "made_by", "score", "feedback", "detail")
    verdicts = (
        (
            run_id,
            n % 12,
            "judge",
            f"{n} {text[:2_000]}",
            n,
            "x",
            0.5,
            text[:20_000],
            json.dumps({"error": text[:2_000]}),
        )
        for n in range(count)
    )
    _insert(connection, "loopkit_verdicts", columns, verdicts)


def _write_long_ids(connection: sqlite3.Connection, text: str, size: int) -> None:
    """Write 12 runs, half of them held by a runner, with ids that begin alike."""
    names = ("id", "agent_name", "cycle_id", "status", "claimed_by", "max_attempts", "pass_threshold", "inputs")
    beginning = (text * (size // len(text) + 1))[:size]
    held = (("running", f"{text[:190]}0:1:x"), ("queued", None))
    runs = ((f"{beginning}{n}", "namer", "c", *held[n % 2], 3, 0.8, "{}") for n in range(12))
    _insert(connection, "workflow_runs", names, runs)


def _write_runners(connection: sqlite3.Connection, text: str, count: int) -> None:
    columns = ("id", "name", "version", "agents", "slots", "busy", "draining", "heartbeat_seconds", "gone")
    runners = (
        (f"r{n}", f"{text[:190]}{n}:1", "1", json.dumps([f"{text[:190]}{n}", "namer"]), 8, 3, 0, 30.0, 0)
        for n in range(count)
    )
    _insert(connection, "loopkit_runners", columns, runners)
    waiting = ((f"run_w{n}", f"{text[:190]}{n} of many", "c", "queued", 3, 0.8, "{}") for n in range(count))
    names = ("id", "agent_name", "cycle_id", "status", "max_attempts", "pass_threshold", "inputs")
    _insert(connection, "workflow_runs", names, waiting)
