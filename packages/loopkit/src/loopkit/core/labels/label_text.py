"""Rules for titles and tags: what may be stored, and what is wrong with a value that may not."""

from collections.abc import Sequence
from typing import Any, Final

from loopkit.errors import Fault, UnusableOption

__all__ = [
    "MAX_TAGS",
    "MAX_TAG_CHARS",
    "MAX_TITLE_CHARS",
    "checked_tags",
    "checked_title",
    "computed_title",
    "tag_faults",
    "title_faults",
]

MAX_TITLE_CHARS: Final = 200
MAX_TAGS: Final = 20
"""Most tags of a run, each counted once."""
MAX_TAG_CHARS: Final = 50


def title_faults(title: object) -> list[Fault]:
    """Return what is wrong with a title, at the pointer ``/title``; an empty list when it can be stored."""
    return _text_faults(title, "/title", MAX_TITLE_CHARS)


def tag_faults(tags: object) -> list[Fault]:
    """Return what is wrong with a list of tags, with pointers such as ``/tags/3``; an empty list when it can be stored.

    A tag that stands in the list twice counts once.
    """
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        return [Fault("/tags", "must be a list of texts")]
    faults = [fault for place, tag in enumerate(tags) for fault in _text_faults(tag, f"/tags/{place}", MAX_TAG_CHARS)]
    if not faults and len(_distinct(tags)) > MAX_TAGS:
        faults.append(Fault("/tags", f"must be at most {MAX_TAGS} tags"))
    return faults


def checked_title(title: object) -> str:
    """Return a title as it is stored: trimmed.

    Raises:
        UnusableOption: it is not text of 1 to 200 printable characters.
    """
    for fault in title_faults(title):
        raise UnusableOption(f"the title {fault.detail}")
    return str(title).strip()


def checked_tags(tags: Any) -> tuple[str, ...]:
    """Return tags as they are stored: trimmed, each once, sorted.

    Raises:
        UnusableOption: they are not at most 20 texts of 1 to 50 printable characters.
    """
    for fault in tag_faults(tags):
        place = fault.pointer.removeprefix("/tags").removeprefix("/")
        raise UnusableOption(f"tag {int(place) + 1} {fault.detail}" if place else f"the tags {fault.detail}")
    return tuple(sorted(_distinct(tags)))


def computed_title(text: object) -> str | None:
    """Return the title that a template or a callable gave, on one line, cut to 200 characters; None for none."""
    if not isinstance(text, str):
        return None
    line = " ".join(text.split())
    return "".join(filter(str.isprintable, line))[:MAX_TITLE_CHARS].strip() or None


def _distinct(tags: Sequence[str]) -> set[str]:
    return {tag.strip() for tag in tags}


def _text_faults(value: object, pointer: str, max_chars: int) -> list[Fault]:
    if not isinstance(value, str):
        return [Fault(pointer, "must be text")]
    text = value.strip()
    if not 1 <= len(text) <= max_chars:
        return [Fault(pointer, f"must have 1 to {max_chars} characters")]
    if not text.isprintable():
        return [Fault(pointer, "must be on one line, of printable characters")]
    return []
