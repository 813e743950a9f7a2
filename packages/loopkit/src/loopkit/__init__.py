"""loopkit runs produce, evaluate, revise loops of agents durably, and lets people watch and control them.

The names below are public. They are loaded when they are first used, so that ``import loopkit`` costs little and
loads neither a database driver nor a YAML or JSON Schema library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loopkit import sync
    from loopkit.agents import Agent, StageContext, StageSpec, load_agents
    from loopkit.agents.evaluators.criterion import Criterion
    from loopkit.agents.evaluators.panel_spec import Check, Judge, Panel
    from loopkit.agents.stage_factories import command, prompt, stage
    from loopkit.api import Attempt, Result, label, new_run, run, submit, wait
    from loopkit.core.journal import Artifact, ArtifactType, EventType, RunEvent
    from loopkit.core.ledger.budget import Budget
    from loopkit.core.outcome import Evaluation
    from loopkit.core.policy import Stop
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
        RunCancelled,
        RunEnded,
        RunFailed,
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
    from loopkit.journal_reader import follow
    from loopkit.runner import Runner, Stopping
    from loopkit.stores import open_store
    from loopkit.stores.memory import MemoryStore
    from loopkit.sync import run_sync

    __version__: str

__all__ = [
    "Agent",
    "Artifact",
    "ArtifactType",
    "Attempt",
    "BadOutput",
    "BadScore",
    "Budget",
    "Check",
    "ConflictError",
    "Criterion",
    "DatabaseDamaged",
    "Evaluation",
    "EventType",
    "Fault",
    "InvalidConfig",
    "InvalidDatabase",
    "InvalidInputs",
    "Judge",
    "KeyReused",
    "LeaseLost",
    "LoopkitError",
    "MemoryStore",
    "NewRun",
    "NotFoundError",
    "Panel",
    "Result",
    "Run",
    "RunCancelled",
    "RunEnded",
    "RunEvent",
    "RunFailed",
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
    "StageSpec",
    "StageTimedOut",
    "Stop",
    "Stopping",
    "StorageError",
    "StorageUnavailable",
    "UnknownAgent",
    "UnusableOption",
    "UsageError",
    "command",
    "follow",
    "label",
    "load_agents",
    "new_run",
    "open_store",
    "prompt",
    "run",
    "run_sync",
    "stage",
    "submit",
    "sync",
    "wait",
]

_HOMES: Final = (
    "loopkit.errors",
    "loopkit.core.run",
    "loopkit.core.outcome",
    "loopkit.core.policy",
    "loopkit.core.ledger.budget",
    "loopkit.core.journal",
    "loopkit.journal_reader",
    "loopkit.stores",
    "loopkit.stores.memory",
    "loopkit.agents.stage_factories",
    "loopkit.agents.evaluators.criterion",
    "loopkit.agents.evaluators.panel_spec",
    "loopkit.agents",
    "loopkit.api",
    "loopkit.sync",
    "loopkit.runner",
)
"""Modules that define the public names; those that load least come first."""

if not TYPE_CHECKING:  # a type checker that saw this function would accept every misspelt name

    def __getattr__(name: str) -> object:
        """Return a public name, loaded from the first of its modules that has it."""
        if name == "__version__":
            return import_module("loopkit.version").installed_version()
        if name == "sync":
            return import_module("loopkit.sync")
        for home in _HOMES if name in __all__ else ():
            module = import_module(home)
            if hasattr(module, name):
                value = globals()[name] = getattr(module, name)
                return value
        raise AttributeError(f"module 'loopkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
