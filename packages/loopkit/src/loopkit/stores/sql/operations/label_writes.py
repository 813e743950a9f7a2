"""Changes of titles and tags. The run's row is locked and read, and what the change makes of it is written in the same
transaction; a repeated call after an unknown outcome therefore changes nothing more.
"""

from typing import Final

from sqlalchemy import BindParameter, Connection, bindparam, delete, insert, select, update

from loopkit.core.labels.label_change import LabelChange
from loopkit.core.run import Run
from loopkit.errors import RunNotFound
from loopkit.stores.sql.operations import run_queries
from loopkit.stores.sql.schema.tables import runs, tags
from loopkit.stores.sql.schema.timestamps import ClockParameters

__all__ = ["label"]

_LOCKED: Final = select(runs.c.id).where(runs.c.id == bindparam("run_id")).with_for_update(key_share=True)
_SET_TITLE: Final = update(runs).where(runs.c.id == bindparam("run_id")).values(title=bindparam("new_title"))
_gone: Final[BindParameter[list[str]]] = bindparam("gone", expanding=True)
_REMOVE_TAGS: Final = delete(tags).where(tags.c.run_id == bindparam("of_run"), tags.c.tag.in_(_gone))


def label(connection: Connection, run_id: str, change: LabelChange, clock: ClockParameters) -> Run:
    """Update the labels of a run, in the transaction of ``connection``, and return the run as it is then.

    Raises:
        RunNotFound: no run has this id.
        UnusableOption: the run would have too many tags; nothing is written.
    """
    if connection.execute(_LOCKED, {"run_id": run_id}).first() is None:
        raise RunNotFound(run_id)
    run = run_queries.get_run(connection, run_id, clock)
    labels = change.applied(run)
    if labels.title != run.title:
        connection.execute(_SET_TITLE, {"run_id": run_id, "new_title": labels.title})
    if gone := sorted({*run.tags} - {*labels.tags}):
        connection.execute(_REMOVE_TAGS, {"of_run": run_id, "gone": gone})
    if new := sorted({*labels.tags} - {*run.tags}):
        connection.execute(insert(tags), [{"run_id": run_id, "tag": tag} for tag in new])
    return run_queries.get_run(connection, run_id, clock)
