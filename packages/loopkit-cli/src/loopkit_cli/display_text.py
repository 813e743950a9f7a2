"""Short text for people: runs, events and durations. Pure; nothing is written here."""

import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from loopkit.core.journal import EventType, RunEvent
from loopkit.core.ledger.sums import NANOS_PER_USD
from loopkit.core.run import Run, RunStatus
from loopkit_cli.output import clean_line, shorten

if TYPE_CHECKING:
    from loopkit.runner import RunnerStatus

MAX_FEEDBACK: Final = 160


def moment(value: datetime | None) -> str:
    """Return a time in the local time zone (``TZ``) to the second, with its offset from UTC, or a dash."""
    if value is None:
        return "-"
    local = value.astimezone()
    offset = local.strftime("%z")
    zone = "Z" if local.utcoffset() == timedelta() else f"{offset[:3]}:{offset[3:5]}"
    return local.strftime("%Y-%m-%d %H:%M:%S") + zone


def span(value: timedelta) -> str:
    """Return a duration in its two largest units: ``7.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    seconds = max(value.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def duration(run: Run, now: datetime) -> str:
    """Return the time since a run started, or from start to end; a dash while it is queued, also again."""
    if run.started_at is None or run.status is RunStatus.QUEUED:
        return "-"
    return span((run.completed_at or now) - run.started_at)


def event(value: RunEvent) -> str:
    """Return an event as one line: time, attempt, message and, with a score, the feedback."""
    attempt = "" if value.attempt is None else f"attempt {value.attempt}"
    line = f"{moment(value.created_at)[11:]}  {attempt:<10}  {message(value)}"
    return clean_line(line).rstrip()


def message(value: RunEvent) -> str:
    """Return the message of an event, with the feedback after a score."""
    text = value.message or value.event_type.value
    if value.event_type is EventType.SCORE_UPDATE and (comment := feedback(value)):
        return f"{text}: {shorten(comment, MAX_FEEDBACK)}"
    return f"Error: {text}" if value.event_type is EventType.ERROR else text


def traceback_lines(value: RunEvent | None) -> Iterator[str]:
    """Yield the traceback in the metadata of an error's event, indented, line by line; none where there is none."""
    text = ((value.metadata or {}) if value is not None else {}).get("traceback")
    if isinstance(text, str):
        yield from indented_traceback(text)


def indented_traceback(text: str) -> Iterator[str]:
    """Yield the lines of a traceback, indented, without the heading that programs print when they crash."""
    for line in text.splitlines():
        if not line.endswith("Traceback (most recent call last):"):
            yield f"    {clean_line(line)}"


def feedback(value: RunEvent) -> str:
    """Return the feedback of a score event as one line; empty when there is none."""
    text = (value.metadata or {}).get("feedback")
    return clean_line(text).strip() if isinstance(text, str) else ""


def facts(run: Run, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the facts of a run as name and value; those that it does not have are left out."""
    yield "run", run.id
    yield "agent", run.agent_name
    if run.title is not None:
        yield "title", run.title
    if run.tags:
        yield "tags", ", ".join(run.tags)
    yield "cycle", run.cycle_id
    yield "status", run.headline
    if run.current_stage is not None:
        yield "stage", run.current_stage.value
    yield "attempt", f"{run.current_attempt} of {run.max_attempts}"
    yield "score", _score(run)
    if run.end_reason is not None:
        yield "reason", run.end_reason
    if run.error_message is not None:
        yield "error", run.error_message
    if line := usage(run):
        yield "usage", line
    if run.retry_of is not None:
        yield "retry of", run.retry_of
    if run.claimed_by is not None:
        yield "claimed by", run.claimed_by
    yield from _times(run)
    yield "worked for", duration(run, now)


def _times(run: Run) -> Iterator[tuple[str, str]]:
    yield "created", moment(run.created_at)
    if run.started_at is not None:
        yield "started", moment(run.started_at)
    if run.completed_at is not None:
        yield "ended", moment(run.completed_at)


def usd(nanos: int) -> str:
    """Return an amount of nano-dollars in usd, with at least two decimals and as many as it has."""
    whole, _, decimals = f"{Decimal(nanos) / NANOS_PER_USD:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def usage(run: Run) -> str:
    """Return the model calls of a run as one line; empty when there were none."""
    spending = run.spending
    if spending.cost_nanos is None and not spending.tokens and not spending.unpriced_calls:
        return ""
    parts = [f"{spending.input_tokens} tokens in, {spending.output_tokens} out"]
    if spending.cost_nanos is not None:
        parts.append(f"{usd(spending.cost_nanos)} usd")
    if spending.unpriced_calls:
        parts.append(f"{spending.unpriced_calls} call{'s' if spending.unpriced_calls > 1 else ''} without a price")
    return ", ".join(parts)


def _score(run: Run) -> str:
    if run.final_score is None:
        return f"none yet (passes at {run.pass_threshold:g})"
    best = "" if run.best_attempt is None else f" by attempt {run.best_attempt}"
    return f"{run.final_score:.2f}{best} (passes at {run.pass_threshold:g})"


def ending(run: Run) -> str:
    """Return a sentence about how a run ended, or that it was released."""
    if not run.ended:
        return "Released: the run is queued again and goes on after its last finished stage."
    spent = "" if run.started_at is None or run.completed_at is None else span(run.completed_at - run.started_at)
    error = "" if run.error_message is None else f": {run.error_message}"
    return f"{run.headline} at attempt {run.current_attempt} of {run.max_attempts}{spent and f' after {spent}'}{error}"


def next_commands(run: Run) -> list[str]:
    """Return the commands that are useful after a run was worked, without the name of the program.

    Names and ids are words of a shell, whatever another program has written into the row.
    """
    id = shlex.quote(run.id)
    if not run.ended:
        return [f"run {shlex.quote(run.agent_name)} --workflow-id {id}", "worker --drain"]
    looking = [f"events {id}", f"artifacts {id} --save DIR"]
    return looking if run.status is RunStatus.PASSED else [*looking, f"retry {id}"]


def tally(status: "RunnerStatus") -> str:
    """Return the counts of a runner as one line; rare ones that are 0 are left out."""
    parts = [f"busy {status.busy}/{status.slots}", f"claimed {status.claimed}"]
    names = ("passed", "failed", "cancelled", "released", "lost")
    parts += [f"{name} {count}" for name in names if (count := getattr(status, name))]
    return " · ".join(parts)
