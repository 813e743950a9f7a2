"""The invariants of titles and tags, as :mod:`loopkit.stores.sql.operations.checks.invariants` has those of runs."""

from typing import Final

from sqlalchemy import ColumnElement, case, func, or_, select

from loopkit.core.labels.label_text import MAX_TAG_CHARS, MAX_TAGS, MAX_TITLE_CHARS
from loopkit.stores.sql.operations.checks.rules import RuleGroup, rule
from loopkit.stores.sql.schema.expressions import literal
from loopkit.stores.sql.schema.tables import runs, tags

__all__ = ["LABEL_RULES", "TITLE_RULE"]


def _is_odd(text: ColumnElement[str], max_chars: int) -> ColumnElement[bool]:
    return or_(
        func.length(text) < 1,
        func.length(text) > max_chars,
        func.trim(text) != text,
        func.replace(text, literal("\n"), literal("")) != text,
    )


_odd_tag: Final = case((_is_odd(tags.c.tag, MAX_TAG_CHARS), tags.c.tag))
_of_run: Final = (
    select(tags.c.run_id, func.count().label("number"), func.min(_odd_tag).label("odd"))
    .group_by(tags.c.run_id)
    .subquery("tags_of_run")
)

TITLE_RULE: Final = rule("title-valid", _is_odd(runs.c.title, MAX_TITLE_CHARS), "its title is ", runs.c.title)

LABEL_RULES: Final = RuleGroup(
    _of_run,
    _of_run.c.run_id,
    (
        rule("tags-bounded", _of_run.c.number > MAX_TAGS, "it has ", _of_run.c.number, " tags"),
        rule("tag-valid", _of_run.c.odd.isnot(None), "its tag ", _of_run.c.odd, " is none that loopkit writes"),
    ),
)
