"""Rules about rows: each a condition that is true for a row that breaks it, and a text that describes the violation."""

from functools import cached_property

import attrs
from sqlalchemy import ColumnElement, FromClause, Text, case, cast, func, literal_column, or_, select
from sqlalchemy.sql.functions import FunctionElement

from loopkit.stores.sql.schema.expressions import PG_READABLE_JSON, AnyColumn, AnySelect, in_sql, literal

__all__ = ["JsonField", "Rule", "RuleGroup", "differ", "rule"]


@attrs.frozen
class Rule:
    """One invariant."""

    name: str
    broken: ColumnElement[bool]
    """Condition that is true for a row that breaks the rule."""
    detail: AnyColumn
    """Description of the violation, for people."""


@attrs.frozen(slots=False)
class RuleGroup:
    """Rules that one statement evaluates over the same rows."""

    source: FromClause
    run_id: ColumnElement[str]
    rules: tuple[Rule, ...]

    @cached_property
    def statement(self) -> AnySelect:
        """Statement that selects the run ids of rows that break a rule, and for each rule its detail or NULL."""
        details = (case((rule.broken, rule.detail)) for rule in self.rules)
        return select(self.run_id, *details).select_from(self.source).where(or_(*(rule.broken for rule in self.rules)))


@in_sql(
    sqlite="CASE WHEN json_valid({0}) THEN json_extract({0}, '$.' || {1}) END",
    postgresql=f"CASE WHEN {PG_READABLE_JSON} THEN {{0}} ->> {{1}} END",
)
class JsonField(FunctionElement[str]):
    """One field of a JSON object, as text; NULL when the object lacks it or cannot be read."""

    type = Text()
    inherit_cache = True
    name = "json_field"


def _text(*parts: str | AnyColumn) -> AnyColumn:
    """Concatenate words and columns to one text."""
    text = literal("")
    for part in parts:
        text = text.concat(literal(part) if isinstance(part, str) else func.coalesce(cast(part, Text), literal("NULL")))
    return text


def rule(name: str, broken: ColumnElement[bool], *detail: str | AnyColumn) -> Rule:
    """Build a rule; the parts of its detail are words and columns."""
    return Rule(name, broken, _text(*detail))


def differ(column: AnyColumn, other: AnyColumn) -> ColumnElement[bool]:
    """Build the condition that two columns of positive numbers differ; NULL equals NULL only."""
    return func.coalesce(column, literal_column("-1")) != func.coalesce(other, literal_column("-1"))
