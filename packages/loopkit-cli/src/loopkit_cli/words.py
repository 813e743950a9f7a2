"""Words for people: runs, events and spans of time as short text. Pure; nothing is written here."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from loopkit.core.journal import EventType, RunEvent
from loopkit.core.run import Run, RunStatus
from loopkit_cli.output import clean_line, shorten

if TYPE_CHECKING:
    from loopkit.runner import RunnerStatus

MAX_FEEDBACK: Final = 160


def moment(value: datetime | None) -> str:
    """Give a time in UTC to the second, or a dash."""
    return "-" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(value: timedelta) -> str:
    """Give a span of time with the two units that matter: ``7.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    seconds = max(value.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def duration(run: Run, now: datetime) -> str:
    """Give how long a run has been, or was, at work; a dash where it never started."""
    return "-" if run.started_at is None else span((run.completed_at or now) - run.started_at)


def event(value: RunEvent) -> str:
    """Give an event on one line: when, which attempt, what happened and, with a score, the feedback."""
    attempt = "" if value.attempt is None else f"attempt {value.attempt}"
    line = f"{moment(value.created_at)[11:]}  {attempt:<10}  {message(value)}"
    return clean_line(line).rstrip()


def message(value: RunEvent) -> str:
    """Give an event's own words."""
    text = value.message or value.event_type.value
    if value.event_type is EventType.SCORE_UPDATE and (said := feedback(value)):
        return f"{text}: {shorten(said, MAX_FEEDBACK)}"
    return f"Error: {text}" if value.event_type is EventType.ERROR else text


def feedback(value: RunEvent) -> str:
    """Give the feedback that came with a score, on one line; empty where there is none."""
    given = (value.metadata or {}).get("feedback")
    return clean_line(given).strip() if isinstance(given, str) else ""


def facts(run: Run, now: datetime) -> Iterator[tuple[str, str]]:
    """Give what is worth knowing of a run, name by name; what is not there is left out."""
    yield "run", run.id
    yield "agent", run.agent_name
    yield "cycle", run.cycle_id
    yield "status", run.headline
    if run.current_stage is not None:
        yield "stage", run.current_stage.value
    yield "attempt", f"{run.current_attempt} of {run.max_attempts}"
    yield "score", _score(run)
    if run.error_message is not None:
        yield "error", run.error_message
    if run.retry_of is not None:
        yield "retry of", run.retry_of
    if run.claimed_by is not None:
        yield "claimed by", run.claimed_by
    yield "created", moment(run.created_at)
    if run.started_at is not None:
        yield "started", moment(run.started_at)
    if run.completed_at is not None:
        yield "ended", moment(run.completed_at)
    yield "worked for", duration(run, now)


def _score(run: Run) -> str:
    if run.final_score is None:
        return f"none yet (passes at {run.pass_threshold:g})"
    best = "" if run.best_attempt is None else f" by attempt {run.best_attempt}"
    return f"{run.final_score:.2f}{best} (passes at {run.pass_threshold:g})"


def ending(run: Run) -> str:
    """Say in a sentence how a run was left."""
    if not run.ended:
        return "Released: the run is queued again and goes on after its last finished stage."
    spent = "" if run.started_at is None or run.completed_at is None else span(run.completed_at - run.started_at)
    error = "" if run.error_message is None else f": {run.error_message}"
    return f"{run.headline} at attempt {run.current_attempt} of {run.max_attempts}{spent and f' after {spent}'}{error}"


def next_commands(run: Run) -> list[str]:
    """Give the commands that make sense after a run was left, without the program's name."""
    if not run.ended:
        return [f"run {run.agent_name} --workflow-id {run.id}", "worker --drain"]
    looking = [f"events {run.id}", f"artifacts {run.id} --save DIR"]
    return looking if run.status is RunStatus.PASSED else [*looking, f"retry {run.id}"]


def tally(status: "RunnerStatus") -> str:
    """Give a runner's figures on one line; what is 0 and rare is left out."""
    parts = [f"busy {status.busy}/{status.slots}", f"claimed {status.claimed}"]
    names = ("passed", "failed", "cancelled", "released", "lost")
    parts += [f"{name} {count}" for name in names if (count := getattr(status, name))]
    return " · ".join(parts)
