"""Runs as people name them: a whole id, the unique beginning of one, or ``last``.

An id that exists always wins, whatever it looks like: other programs choose ids of their own.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from loopkit.core.run import Run
from loopkit.errors import RunNotFound
from loopkit.stores.text_cuts import MAX_ID_CHARS, is_cut_id
from loopkit_cli.exits import Refused

if TYPE_CHECKING:
    from loopkit.storage import Storage

__all__ = ["find_run", "find_run_to_change", "run_argument"]

LAST: Final = "last"
"""Name of the run that was made last."""

MIN_CHARS_TO_CHANGE: Final = 8
"""Fewest characters after ``run_`` by which a run may be named that a command changes: fewer are soon a guess."""

MAX_CANDIDATES: Final = 5
"""Most candidates that the error for an ambiguous beginning names."""

_PREFIX: Final = "run_"


def run_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument RUN to a command, as the parameter ``run_id``."""
    return click.argument("run_id", metavar="RUN")(function)


async def find_run(store: "Storage", name: str) -> Run:
    """Return the run of an id, of the unique beginning of one (with or without ``run_``), or of ``last``.

    Raises:
        RunNotFound: no run is named so.
        Refused: several runs are; the error names some of them. Or only the beginning of the run's id was read.
    """
    return await _find(store, name, min_chars=1)


async def find_run_to_change(store: "Storage", name: str) -> Run:
    """Return a run that a command is going to change, as :func:`find_run` does.

    Raises:
        RunNotFound: no run is named so.
        Refused: several runs are, or the beginning has less than :data:`MIN_CHARS_TO_CHANGE` characters.
    """
    return await _find(store, name, min_chars=MIN_CHARS_TO_CHANGE)


async def _find(store: "Storage", name: str, *, min_chars: int) -> Run:
    try:
        return await store.get_run(name)
    except RunNotFound:
        candidates = await _newest(store) if name == LAST else await _beginning_with(store, name)
        if not candidates:
            raise
    if len(candidates) > 1:
        ids = [run.id for run in candidates]
        more = ["..."] if len(ids) > MAX_CANDIDATES else []
        raise Refused("\n  ".join([f"{name!r} is the beginning of several runs:", *ids[:MAX_CANDIDATES], *more]))
    if is_cut_id(candidates[0].id):
        raise Refused(f"{name!r} names a run whose id has more than {MAX_ID_CHARS:,} characters: give the whole id")
    if name != LAST and len(name.removeprefix(_PREFIX)) < min_chars:
        raise Refused(
            f"{name!r} is too short to name a run that is changed: give at least {min_chars} characters after "
            f"{_PREFIX}, or all of {candidates[0].id}"
        )
    return candidates[0]


async def _newest(store: "Storage") -> list[Run]:
    from loopkit.storage import RunQuery

    return list((await store.list_runs(RunQuery(limit=1))).runs)


async def _beginning_with(store: "Storage", name: str) -> list[Run]:
    """Return runs whose id begins with the name, at most one more than are shown."""
    from loopkit.storage import RunQuery

    candidates: list[Run] = []
    for beginning in dict.fromkeys((name, _PREFIX + name.removeprefix(_PREFIX))):
        query: RunQuery | None = RunQuery(text=beginning, limit=200) if beginning not in ("", _PREFIX) else None
        while query is not None and len(candidates) <= MAX_CANDIDATES:
            page = await store.list_runs(query)
            known = {run.id for run in candidates}
            candidates += [run for run in page.runs if run.id.startswith(beginning) and run.id not in known]
            query = RunQuery(text=beginning, limit=200, cursor=page.next_cursor) if page.next_cursor else None
    return candidates[: MAX_CANDIDATES + 1]
