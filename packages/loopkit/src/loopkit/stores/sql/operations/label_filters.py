"""Filters of lists by tags and reason, and the search for words of titles and tags, each at a bounded cost.

A list that is filtered by a tag or a reason that few runs have begins with those runs; one by what many runs have goes
through the runs in the order of the list, and leaves out those without it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select

from loopkit.core.labels.words import Words
from loopkit.core.run import EndReason
from loopkit.storage import RunQuery
from loopkit.stores import text_cuts
from loopkit.stores.cursors import NEWEST
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyColumn, AnySelect, literal
from loopkit.stores.sql.schema.tables import has_notable_reason, runs, tags
from loopkit.stores.sql.schema.timestamps import Instant

__all__ = ["LAST_CHARACTER", "MOST_TITLES", "Found", "LabelFilters", "find_labels", "label_filters"]

MOST_TITLES: Final = 5_000
"""Newest runs with a title whose titles are searched."""
MOST_TAGS: Final = 1_000
"""Tags that are searched, in their order; and those that begin with the searched text."""
LAST_CHARACTER: Final = "\U0010ffff"
"""Sorts after every other character; behind a prefix it bounds all texts that begin with it."""

_ONE: Final[ColumnElement[int]] = literal_column("1")


@attrs.frozen
class LabelFilters:
    """Filters by tags and reason, as far as the text of a list's statement depends on them."""

    tags: int = 0
    """Number of tags that a run must have: the parameters ``tag_0`` and so on."""
    reason: EndReason | None = None
    first: str | None = None
    """The filter that few runs pass, and that a list begins with: ``tag_0`` and so on, or ``reason``; None: none."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions for a run, in a form that makes no database begin with an index on them."""
        conditions: list[ColumnElement[bool]] = [
            select(_ONE)
            .where(tags.c.run_id == runs.c.id, tags.c.tag == bindparam(f"tag_{number}"))
            .correlate(runs)
            .scalar_subquery()
            .isnot(None)
            for number in range(self.tags)
        ]
        if self.reason is not None:
            conditions.append(func.coalesce(runs.c.end_reason, literal("")) == literal(self.reason))
        return conditions

    def candidates(self) -> AnySelect:
        """Select the ids of all runs that pass the filter :attr:`first`."""
        if self.first == "reason":
            assert self.reason is not None
            return select(runs.c.id.label("id")).where(*_has_reason(self.reason))
        assert self.first is not None
        return select(tags.c.run_id.label("id")).where(tags.c.tag == bindparam(self.first))


@attrs.frozen
class Found:
    """Result of a search."""

    run_ids: Sequence[str] = ()
    """Runs by their titles; none with an id of more than 1,000 characters, which only others write."""
    tags: Sequence[str] = ()


def label_filters(connection: Connection, query: RunQuery) -> tuple[LabelFilters, Mapping[str, str]]:
    """Return the filters of a query, and the values of their parameters."""
    wanted = list(dict.fromkeys(query.tags))
    values = {f"tag_{number}": tag for number, tag in enumerate(wanted)}
    counts = {name: connection.execute(_COUNT_TAG, {"tag": tag}).scalar() or 0 for name, tag in values.items()}
    if query.reason is not None and query.reason is not EndReason.SCORE_PASSED:
        counts["reason"] = connection.execute(_count(_REASONS[query.reason])).scalar() or 0
    rarest = min(counts, key=lambda name: counts[name], default=None)
    first = rarest if rarest is not None and counts[rarest] <= NEWEST else None
    return LabelFilters(tags=len(wanted), reason=query.reason, first=first), values


def find_labels(connection: Connection, text: str) -> Found:
    """Search for a text: tags that begin with it or have its words, and the newest titles that have its words."""
    words = Words(text)
    beginning = connection.execute(_TAGS_BETWEEN, {"low": text, "high": text + LAST_CHARACTER}).scalars()
    found_tags = list(beginning)
    if not words:
        return Found(tags=found_tags)
    every = connection.execute(_TAGS_BETWEEN, {"low": "", "high": LAST_CHARACTER}).scalars()
    found_tags += [tag for tag in every if tag is not None and words.is_in(tag)]
    titled = connection.execute(_TITLES)
    named = ((run_id, title) for run_id, title in titled if not text_cuts.is_cut_id(run_id))
    run_ids = [run_id for run_id, title in named if isinstance(title, str) and words.is_in(title)]
    return Found(run_ids=run_ids[:NEWEST], tags=sorted(set(found_tags))[:MOST_TAGS])


def _has_reason(reason: EndReason) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return runs.c.end_reason == literal(reason), has_notable_reason


def _count(some: AnySelect) -> AnySelect:
    """Count rows, at most one more than a list may begin with."""
    return select(func.count()).select_from(some.limit(NEWEST + 1).subquery("some"))


def _tags_between(low: AnyColumn, high: AnyColumn) -> AnySelect:
    """Select different tags; each costs one step in an index."""
    first = select(func.min(tags.c.tag).label("tag")).where(tags.c.tag >= low, tags.c.tag < high)
    different = first.cte("different", recursive=True)
    following = select(func.min(tags.c.tag)).where(tags.c.tag > different.c.tag, tags.c.tag < high).scalar_subquery()
    different = different.union_all(select(following).where(different.c.tag.isnot(None)))
    return select(different.c.tag).where(different.c.tag.isnot(None)).limit(MOST_TAGS)


_COUNT_TAG: Final = _count(select(_ONE).where(tags.c.tag == bindparam("tag")))
_REASONS: Final = {
    reason: select(_ONE).where(*_has_reason(reason)) for reason in EndReason if reason is not EndReason.SCORE_PASSED
}
_TAGS_BETWEEN: Final = _tags_between(bindparam("low"), bindparam("high"))
_TITLES: Final = (
    select(rows.id_beginning(text_cuts.MAX_ID_CHARS + 1), runs.c.title)
    .where(runs.c.title.isnot(None))
    .order_by(Instant(runs.c.created_at).desc(), runs.c.id.desc())
    .limit(MOST_TITLES)
)
