"""Cuts of long texts: what a read with ``max_chars`` returns (see :mod:`loopkit.storage`), from whole values."""

from typing import Any, Final

import attrs

from loopkit.core import cut_json, strict_json
from loopkit.core.journal import Artifact, RunEvent
from loopkit.core.labels.label_text import MAX_TAG_CHARS, MAX_TAGS
from loopkit.core.run import Run

__all__ = [
    "MAX_ID_CHARS",
    "MAX_NAME_CHARS",
    "RUN_DOCUMENTS",
    "RUN_TEXTS",
    "cut_artifact",
    "cut_event",
    "cut_json_text",
    "cut_run",
    "cut_tags",
    "is_cut_id",
    "listed_id",
    "listed_run",
]

RUN_TEXTS: Final = (
    *("agent_name", "cycle_id", "error_message", "claimed_by", "retry_of", "definition", "title"),
    "end_reason",
)
"""Fields of a run that are text of any length, but for its id; its tags are a list."""
MAX_NAME_CHARS: Final = 1_000
"""Most characters of an agent's name in figures and searches; another program's agents with longer names have none."""
MAX_ID_CHARS: Final = 1_000
"""Most characters of a run's id that a list reads; loopkit's own ids have 30, other programs write any."""
RUN_DOCUMENTS: Final = ("inputs", "policy")
"""Fields of a run that are JSON of any length."""


def cut_run(run: Run, max_chars: int | None) -> Run:
    """Return a run with at most ``max_chars`` characters of each text."""
    if max_chars is None:
        return run
    texts = {name: getattr(run, name) for name in RUN_TEXTS}
    changes: dict[str, Any] = {
        name: text[:max_chars] for name, text in texts.items() if text is not None and len(text) > max_chars
    }
    for name in RUN_DOCUMENTS:
        document = strict_json.dumps(getattr(run, name))
        if len(document) > max_chars:
            changes[name] = cut_json_text(document, max_chars)
    tags = cut_tags(run.tags, max_chars)
    if tags != run.tags:
        changes["tags"] = tags
    return attrs.evolve(run, **changes, is_cut=True) if changes else run


def listed_run(run: Run, max_chars: int | None = None) -> Run:
    """Return a run as a list has it: cut as by :func:`cut_run`, and with its id as :func:`listed_id` returns it."""
    cut = cut_run(run, max_chars)
    return attrs.evolve(cut, id=listed_id(run.id), is_cut=True) if is_cut_id(run.id) else cut


def listed_id(run_id: str) -> str:
    """Return the id of a run, or its first :data:`MAX_ID_CHARS` characters with an ellipsis if it has more."""
    return run_id[:MAX_ID_CHARS] + "…" if is_cut_id(run_id) else run_id


def is_cut_id(run_id: str) -> bool:
    """Return whether an id from a list is the beginning of a longer one, by which no run can be read or changed."""
    return len(run_id) > MAX_ID_CHARS


def cut_tags(tags: tuple[str, ...], max_chars: int) -> tuple[str, ...]:
    """Return the tags of a run as far as loopkit could have written them; another program may write more, or longer."""
    return tuple(tag[: min(max_chars, MAX_TAG_CHARS)] for tag in tags[:MAX_TAGS])


def cut_event(event: RunEvent, max_chars: int | None) -> RunEvent:
    """Return an event with at most ``max_chars`` characters of its message, and of its metadata."""
    if max_chars is None:
        return event
    changes: dict[str, Any] = {}
    if event.message is not None and len(event.message) > max_chars:
        changes["message"] = event.message[:max_chars]
    if event.metadata is not None and len(text := strict_json.dumps(event.metadata)) > max_chars:
        changes["metadata"] = strict_json.mapping(cut_json_text(text, max_chars))
    return attrs.evolve(event, **changes, is_cut=True) if changes else event


def cut_artifact(artifact: Artifact, start: int, max_chars: int | None) -> Artifact:
    """Return an artifact with the ``max_chars`` characters of its content from ``start`` on."""
    if max_chars is None:
        return artifact
    content = artifact.content[start : start + max_chars]
    length = len(artifact.content)
    return artifact if len(content) == length else attrs.evolve(artifact, content=content, length=length)


def cut_json_text(text: str, max_chars: int) -> Any:
    """Return the value of a JSON text's first ``max_chars`` characters."""
    return cut_json.loads_beginning(text[:max_chars])
