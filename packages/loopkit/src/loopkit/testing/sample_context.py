"""Context for a test of one stage: ``loopkit.testing.context(inputs={"topic": "owls"})``."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from loopkit.agents.context import BestAttempt, HistoryEntry, StageContext
from loopkit.agents.json_values import fields_of
from loopkit.agents.stages.cancellation import Cancellation
from loopkit.agents.usage.reported_usage import read_usage
from loopkit.core.ledger.budget import BudgetLeft
from loopkit.core.outcome import Evaluation
from loopkit.core.run import Stage

__all__ = ["SampleContext", "context"]


@attrs.frozen(kw_only=True)
class SampleContext(StageContext):
    """Stage context that keeps what the stage logs and reports."""

    logs: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    """Log lines with their metadata, in order."""
    usage: list[dict[str, Any]] = attrs.field(factory=list)
    """Usage that was reported, one mapping a call."""

    def log(self, message: str, **metadata: Any) -> None:
        """Add a log line to ``logs``. May be called from any thread."""
        self.logs.append((message, metadata))

    def report_usage(
        self, usage: Any = None, *, model: str | None = None, usd: float | None = None, **keys: Any
    ) -> None:
        """Add what is reported to ``usage``, as it is. May be called from any thread.

        Raises:
            UnusableOption: it holds no usage, or a value that cannot be used.
        """
        super().report_usage(usage, model=model, usd=usd, **keys)
        fields = {} if usage is None else _usage_fields(usage)
        named = {"model": model, "usd": usd}
        self.usage.append({**fields, **{name: value for name, value in named.items() if value is not None}, **keys})


def context(*, cancelled: bool = False, deadline: float | None = None, **fields: Any) -> SampleContext:
    """Return a stage context for a test of one stage; without fields it is that of a first draft without inputs.

    Args:
        cancelled: value of ``ctx.cancelled``; callbacks of ``ctx.on_cancel`` are then called at once.
        deadline: seconds that are left of the try, which go by; None: no timeout.
        fields: attributes of the context, such as ``inputs``, ``stage``, ``attempt``, ``output`` or ``deps``. An
            ``evaluation``, ``best``, ``budget`` and entries of ``history`` may be mappings.

    Raises:
        TypeError: the context has no such field.
    """
    cancellation = Cancellation()
    cancellation.limit(deadline)
    if cancelled:
        cancellation.cancel()
    defaults: dict[str, Any] = {
        "run_id": "run_test",
        "agent_name": "test",
        "cycle_id": "2026-01-01-001",
        "inputs": {},
        "stage": Stage.PRODUCING,
        "attempt": 1,
        "cancellation": cancellation,
    }
    values = {**defaults, **fields}
    values["stage"] = Stage(values["stage"])
    values.setdefault("idempotency_key", f"{values['run_id']}:{values['attempt']}:{values['stage'].value}")
    for name, read in _READ.items():
        if isinstance(values.get(name), Mapping):
            values[name] = read(values[name])
    values["history"] = [_past(entry) if isinstance(entry, Mapping) else entry for entry in values.get("history", ())]
    return SampleContext(**values)


def _usage_fields(usage: Any) -> dict[str, Any]:
    """Return what an object of usage holds: its fields, or of one without fields what the runner would book."""
    if isinstance(usage, Mapping):
        return dict(usage)
    fields = getattr(usage, "__dict__", None) or fields_of(usage) or {}
    return dict(fields) or attrs.asdict(read_usage(usage), filter=lambda _, value: value is not None)


def _evaluation(given: Mapping[str, Any]) -> Evaluation:
    rest = {key: value for key, value in given.items() if key not in ("score", "feedback")}
    return Evaluation(given["score"], given.get("feedback", ""), rest=rest)


def _past(given: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(**{"feedback": "", **given})


def _best(given: Mapping[str, Any]) -> BestAttempt:
    return BestAttempt(**{**given, "evaluation": _evaluation(given["evaluation"])})


_READ: Final[Mapping[str, Callable[[Mapping[str, Any]], object]]] = {
    "evaluation": _evaluation,
    "best": _best,
    "budget": lambda given: BudgetLeft(**given),
}
"""Fields that may be given as a mapping, in the form in which programs get them."""
