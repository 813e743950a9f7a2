"""loopkit runs produce, evaluate, revise loops of agents durably, and lets people watch and control them.

The names below are public. They are loaded when they are first used, so that ``import loopkit`` costs little and
loads neither a database driver nor a YAML or JSON Schema library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopkit.agents import Agent, StageContext, load_agents
    from loopkit.calls import Result, new_run, run, run_sync, submit, wait
    from loopkit.core.journal import Artifact, ArtifactType, EventType, RunEvent
    from loopkit.core.outcome import Evaluation
    from loopkit.core.run import NewRun, Run, RunStatus, Stage
    from loopkit.errors import (
        BadOutput,
        BadScore,
        ConflictError,
        DatabaseDamaged,
        Fault,
        InvalidConfig,
        InvalidDatabase,
        InvalidInputs,
        KeyReused,
        LeaseLost,
        LoopkitError,
        NotFoundError,
        RunEnded,
        RunNotClaimable,
        RunNotEnded,
        RunNotFound,
        SchemaTooNew,
        StageError,
        StageFailed,
        StageTimedOut,
        StorageError,
        StorageUnavailable,
        UnknownAgent,
        UnusableOption,
        UsageError,
    )
    from loopkit.runner import Runner, Stopping
    from loopkit.stores import open_store
    from loopkit.stores.memory import MemoryStore

_HOMES = {
    "loopkit.agents": ("Agent", "StageContext", "load_agents"),
    "loopkit.calls": ("Result", "new_run", "run", "run_sync", "submit", "wait"),
    "loopkit.core.journal": ("Artifact", "ArtifactType", "EventType", "RunEvent"),
    "loopkit.core.outcome": ("Evaluation",),
    "loopkit.core.run": ("NewRun", "Run", "RunStatus", "Stage"),
    "loopkit.errors": (
        "BadOutput",
        "BadScore",
        "ConflictError",
        "DatabaseDamaged",
        "Fault",
        "InvalidConfig",
        "InvalidDatabase",
        "InvalidInputs",
        "KeyReused",
        "LeaseLost",
        "LoopkitError",
        "NotFoundError",
        "RunEnded",
        "RunNotClaimable",
        "RunNotEnded",
        "RunNotFound",
        "SchemaTooNew",
        "StageError",
        "StageFailed",
        "StageTimedOut",
        "StorageError",
        "StorageUnavailable",
        "UnknownAgent",
        "UnusableOption",
        "UsageError",
    ),
    "loopkit.runner": ("Runner", "Stopping"),
    "loopkit.stores": ("open_store",),
    "loopkit.stores.memory": ("MemoryStore",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "Artifact",
    "ArtifactType",
    "BadOutput",
    "BadScore",
    "ConflictError",
    "DatabaseDamaged",
    "Evaluation",
    "EventType",
    "Fault",
    "InvalidConfig",
    "InvalidDatabase",
    "InvalidInputs",
    "KeyReused",
    "LeaseLost",
    "LoopkitError",
    "MemoryStore",
    "NewRun",
    "NotFoundError",
    "Result",
    "Run",
    "RunEnded",
    "RunEvent",
    "RunNotClaimable",
    "RunNotEnded",
    "RunNotFound",
    "RunStatus",
    "Runner",
    "SchemaTooNew",
    "Stage",
    "StageContext",
    "StageError",
    "StageFailed",
    "StageTimedOut",
    "Stopping",
    "StorageError",
    "StorageUnavailable",
    "UnknownAgent",
    "UnusableOption",
    "UsageError",
    "load_agents",
    "new_run",
    "open_store",
    "run",
    "run_sync",
    "submit",
    "wait",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'loopkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
