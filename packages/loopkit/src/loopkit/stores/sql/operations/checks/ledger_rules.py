"""Invariants of the ledger of a run: its sums are those of its model calls, and its verdicts are on stored outputs."""

from typing import Final

from sqlalchemy import and_, func, not_, select

from loopkit.core.journal import ArtifactType
from loopkit.stores.sql.operations.checks.rules import RuleGroup, differ, rule
from loopkit.stores.sql.schema.expressions import literal
from loopkit.stores.sql.schema.tables import artifacts, runs, usage, verdicts

__all__ = ["CALL_RULES", "VERDICT_RULES"]

_by_loopkit: Final = runs.c.event_seq > 0

_totals: Final = (
    select(
        usage.c.run_id,
        func.sum(func.coalesce(usage.c.input_tokens, 0)).label("input_tokens"),
        func.sum(func.coalesce(usage.c.output_tokens, 0)).label("output_tokens"),
        func.sum(usage.c.cost_nanos).label("cost_nanos"),
        (func.count() - func.count(usage.c.cost_nanos)).label("unpriced_calls"),
    )
    .group_by(usage.c.run_id)
    .subquery("totals")
)
_SUMS_MATCH: Final = (
    *(
        rule(
            f"sums-match-calls:{name}",
            and_(_by_loopkit, runs.c[name] != func.coalesce(_totals.c[name], 0)),
            *(f"its {name} are ", runs.c[name], ", those of its calls ", func.coalesce(_totals.c[name], 0)),
        )
        for name in ("input_tokens", "output_tokens", "unpriced_calls")
    ),
    rule(
        "sums-match-calls:cost_nanos",
        and_(_by_loopkit, differ(runs.c.cost_nanos, _totals.c.cost_nanos)),
        *("its cost_nanos are ", runs.c.cost_nanos, ", those of its calls ", _totals.c.cost_nanos),
    ),
)

CALL_RULES: Final = RuleGroup(runs.outerjoin(_totals, _totals.c.run_id == runs.c.id), runs.c.id, _SUMS_MATCH)

_judged: Final = select(verdicts.c.run_id, verdicts.c.attempt).distinct().subquery("judged")
_output: Final = select(artifacts.c.id).where(
    artifacts.c.run_id == _judged.c.run_id,
    artifacts.c.attempt == _judged.c.attempt,
    artifacts.c.artifact_type == literal(ArtifactType.OUTPUT),
)
_HAS_OUTPUT: Final = rule(
    "verdict-has-its-output",
    not_(_output.correlate(_judged).exists()),
    *("it has verdicts on attempt ", _judged.c.attempt, ", which has no output"),
)

VERDICT_RULES: Final = RuleGroup(_judged, _judged.c.run_id, (_HAS_OUTPUT,))
