"""Numbers of a run's policy in SQL; :mod:`loopkit.core.policy` reads the same policy in Python."""

from typing import Final

from sqlalchemy import Integer
from sqlalchemy.sql.functions import FunctionElement

from loopkit.core.policy import MAX_LOSSES
from loopkit.stores.sql.schema.expressions import PG_READABLE_JSON, in_sql

__all__ = ["Drafts", "MaxLosses"]

_SQLITE: Final = (
    "(CASE WHEN json_valid({{0}}) AND json_type({{0}}, '$.{key}') = 'integer' "
    "THEN json_extract({{0}}, '$.{key}') ELSE {default} END)"
)


def _in_postgresql(key: str, default: int) -> str:
    return (
        f"(CASE WHEN NOT ({PG_READABLE_JSON}) THEN {default} "
        f"WHEN json_typeof({{0}}) = 'object' AND json_typeof({{0}} -> '{key}') = 'number' "
        f"AND {{0}} ->> '{key}' ~ '^[0-9]{{{{1,9}}}}$' THEN CAST({{0}} ->> '{key}' AS INTEGER) ELSE {default} END)"
    )


@in_sql(
    sqlite=_SQLITE.format(key="drafts", default=1),
    postgresql=_in_postgresql("drafts", 1),
)
class Drafts(FunctionElement[int]):
    """The ``drafts`` of a policy; 1 where it has none, or none that can be read."""

    type = Integer()
    inherit_cache = True
    name = "policy_drafts"


@in_sql(
    sqlite=_SQLITE.format(key="maxLosses", default=MAX_LOSSES),
    postgresql=_in_postgresql("maxLosses", MAX_LOSSES),
)
class MaxLosses(FunctionElement[int]):
    """The ``maxLosses`` of a policy; the default where it has none, or none that can be read."""

    type = Integer()
    inherit_cache = True
    name = "policy_max_losses"
