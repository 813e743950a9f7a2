"""Operations beside the write path, each a function of one connection.

Reads: ``run_queries`` (one run, its journal, artifacts and ledger), ``run_list`` with its ``label_filters``,
``scores``, ``runners``, ``figures``, and ``verify`` with its ``checks``.
Rare writes: ``cancel_retry``, ``label_writes``, ``prune``.
Moving to another database: ``export``, ``move_marks``.
Imports ``databases`` and ``schema``.

The modules that :class:`loopkit.stores.sql.store.SqlStore` calls are loaded when they are first used, since a command
uses one of them.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loopkit.stores.sql.operations import (
        cancel_retry,
        export,
        figures,
        label_writes,
        prune,
        run_queries,
        runners,
        scores,
        verify,
    )

__all__ = ["cancel_retry", "export", "figures", "label_writes", "prune", "run_queries", "runners", "scores", "verify"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
