"""Changes of the labels of a run, which a store applies to those that the run has."""

from enum import Enum
from typing import Final, Literal, TypeAlias

from loopkit.core.labels.label_text import MAX_TAGS, checked_tags, checked_title
from loopkit.core.run import Run
from loopkit.core.values import value
from loopkit.errors import UnusableOption

__all__ = ["KEEP", "Keep", "LabelChange", "Labels", "label_change"]


class _Unchanged(Enum):
    """Type of :data:`KEEP`."""

    KEEP = "keep"


KEEP: Final = _Unchanged.KEEP
"""Stands for a label that a change leaves as it is."""
Keep: TypeAlias = Literal[_Unchanged.KEEP]


@value(kw_only=True)
class Labels:
    """Title and tags of a run."""

    title: str | None
    tags: tuple[str, ...]
    """Sorted."""


@value(kw_only=True)
class LabelChange:
    """Change of the labels of a run, of checked values; without any it changes nothing."""

    title: str | Keep | None = KEEP
    """The new title; None: no title."""
    tags: tuple[str, ...] | Keep = KEEP
    """Tags in place of all that the run has."""
    added: tuple[str, ...] = ()
    """Tags that the run has afterwards."""
    removed: tuple[str, ...] = ()
    """Tags that the run does not have afterwards, unless they are added too."""

    def applied(self, run: Run) -> Labels:
        """Return the labels that the run has after the change.

        Raises:
            UnusableOption: it would have too many tags.
        """
        tags = {*(run.tags if self.tags is KEEP else self.tags)} - {*self.removed} | {*self.added}
        if len(tags) > MAX_TAGS and not tags <= {*run.tags}:
            raise UnusableOption(f"run {run.id} would have {len(tags)} tags, at most {MAX_TAGS} are allowed")
        return Labels(title=run.title if self.title is KEEP else self.title, tags=tuple(sorted(tags)))


def label_change(
    *,
    title: object = KEEP,
    tags: object = KEEP,
    added: object = (),
    removed: object = (),
) -> LabelChange:
    """Build a change from values as they were given.

    Raises:
        UnusableOption: a value is not a title or not tags.
    """
    return LabelChange(
        title=KEEP if title is KEEP else None if title is None else checked_title(title),
        tags=KEEP if tags is KEEP else checked_tags(tags),
        added=checked_tags(added),
        removed=checked_tags(removed),
    )
