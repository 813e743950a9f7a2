"""Stages as the rest of loopkit sees them: the context that each call gets, and the protocol of a stage."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

import attrs

from loopkit.agents.stages.cancellation import Callback, Cancellation
from loopkit.agents.usage.call_book import CallBook
from loopkit.agents.usage.prices import list_price_nanos
from loopkit.agents.usage.reported_usage import ReportedUsage, nanos_of, read_usage
from loopkit.core.ledger.budget import NO_LIMITS, BudgetLeft
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.outcome import Evaluation
from loopkit.core.run import Stage
from loopkit.core.values import Fields, maker, value
from loopkit.errors import StageError, UnusableOption

__all__ = [
    "BestAttempt",
    "HistoryEntry",
    "Sink",
    "StageBody",
    "StageContext",
    "StagePlace",
    "StageRole",
]

Sink = Callable[[str, Mapping[str, Any]], None]
"""Function that takes a log line and its metadata, from any thread; it may drop them."""


def _drop(message: str, metadata: Mapping[str, Any]) -> None:
    """Drop a log line."""


@value
class HistoryEntry(Fields):
    """Score and feedback of one earlier attempt."""

    attempt: int
    score: float
    """0.0..1.0."""
    feedback: str


@value
class BestAttempt(Fields):
    """The attempt with the highest score so far, the earliest of equals."""

    attempt: int
    output: Any
    """Text, or the mapping or list that a stage returned."""
    evaluation: Evaluation


@value(kw_only=True)
class StageContext:
    """Values that one call of a stage gets."""

    run_id: str
    agent_name: str
    cycle_id: str
    inputs: Mapping[str, Any]
    stage: Stage
    attempt: int
    """Number of the attempt that is made or evaluated, from 1."""
    output: Any = None
    """Producing: None. Evaluating: the output to evaluate. Revising: that of the base attempt. Text, or the mapping
    or list that a stage returned."""
    evaluation: Evaluation | Any = None
    """Producing: None. Evaluating: that of the attempt before, or None. Revising: that of the base attempt. Typed
    so that a stage that revises need not ask."""
    base_attempt: int | None = None
    """Revising: number of the attempt whose output is revised: the attempt before, or the best; else None."""
    best: BestAttempt | None = None
    """Revising: the best attempt so far; else None."""
    history: Sequence[HistoryEntry] = attrs.field(factory=list)
    """Revising: the evaluated attempts so far, oldest first; else empty."""
    budget: BudgetLeft = NO_LIMITS
    """Rest of the run's budget when the stage began: ``tokens``, ``usd`` and ``seconds``, None without a limit."""
    idempotency_key: str
    """Key that is equal in every try of this stage of this run; pass it to services that must act once."""
    judge: str | None = None
    """Name of the judge that is asked; None elsewhere."""
    sample: int | None = None
    """Number of the sample that a judge is asked for, from 1; None elsewhere."""
    try_number: int = attrs.field(default=1, repr=False, eq=False)
    """Number of the try under way, from 1."""
    seconds_left: float | None = attrs.field(default=None, repr=False, eq=False)
    """Seconds of the run's budget within which all tries of the stage must end; None: no limit."""
    book: CallBook | None = attrs.field(default=None, repr=False, eq=False)
    """Book of the model calls of this stage; None: they are not booked."""
    sink: Sink = attrs.field(default=_drop, repr=False, eq=False)
    retrying: Callable[[str, Mapping[str, Any] | None], None] | None = attrs.field(default=None, repr=False, eq=False)
    """Called before the next try with why the last one failed, and where; None: that is logged."""
    failed_try: StageError | None = attrs.field(default=None, repr=False, eq=False)
    """Error of the try before, within this call of the stage; None in the first try."""
    deps: Any = attrs.field(default=None, repr=False, eq=False)
    """Value that the lifespan of the runner or the agent yielded; None without one."""
    cancellation: Cancellation = attrs.field(factory=Cancellation, repr=False, eq=False)
    """State of the try under way, behind :attr:`cancelled`, :attr:`deadline` and :meth:`on_cancel`."""

    @property
    def cancelled(self) -> bool:
        """True when the result is not wanted any more: timeout, cancel, a lost lease, or the runner's end."""
        return self.cancellation.cancelled

    @property
    def deadline(self) -> float | None:
        """Seconds that are left of this try, at least 0; None: it has no timeout."""
        return self.cancellation.seconds_left

    def on_cancel(self, callback: Callback) -> None:
        """Call ``callback`` once, in a thread of loopkit's, when the result is not wanted any more.

        It is called at once when it is too late, and never when the try returns before. May be called from any thread.

        Args:
            callback: function without arguments, such as ``client.close`` or ``agent.interrupt``.
        """
        self.cancellation.on_cancel(callback)

    def log(self, message: str, **metadata: Any) -> None:
        """Add a line to the run's journal. May be called from any thread."""
        self.sink(message, metadata)

    def report_usage(
        self, usage: object = None, *, model: str | None = None, usd: float | None = None, **keys: object
    ) -> None:
        """Book the usage of a model by this stage. May be called from any thread; after the stage's end it is dropped.

        Args:
            usage: mapping or object with token counts, by the names of loopkit, OpenAI or Anthropic, such as the usage
                of an answer of their clients, of pydantic-ai or LangChain.
            model: name of the model, such as ``openai:gpt-5-mini``; without ``usd`` its list price is taken. Without
                usage it is a call that reported no tokens.
            usd: price of the call in US dollars.
            keys: counts by name: ``input_tokens``, ``output_tokens``, ``cached_tokens``.

        Raises:
            UnusableOption: it holds no usage, or a value that cannot be used.
        """
        try:
            reported = read_usage(usage, model=model, usd=usd, keys=keys)
        except ValueError as error:
            raise UnusableOption(f"report_usage: the usage {error}") from None
        self.book_usage(reported)

    def book_usage(self, reported: ReportedUsage) -> None:
        """Book usage that was read already, as :meth:`report_usage` does."""
        if self.book is None:
            return
        nanos = nanos_of(reported.usd)
        call = self.new_call(
            model=reported.model,
            input_tokens=reported.input_tokens,
            output_tokens=reported.output_tokens,
            cached_tokens=reported.cached_tokens,
            cost_nanos=list_price_nanos(reported) if nanos is None else nanos,
        )
        self.book.complete(call)

    def new_call(self, **values: Any) -> ModelCall:
        """Return a call of this stage with an id of its own."""
        assert self.book is not None
        return ModelCall(
            id=self.book.new_id(),
            stage=self.stage,
            attempt=self.attempt,
            judge=self.judge,
            sample=self.sample,
            try_number=self.try_number,
            **values,
        )

    def document(self) -> dict[str, Any]:
        """Return the JSON document that programs get, in camelCase."""
        return {
            "runId": self.run_id,
            "agentName": self.agent_name,
            "cycleId": self.cycle_id,
            "inputs": self.inputs,
            "stage": self.stage.value,
            "attempt": self.attempt,
            "output": self.output,
            "evaluation": None if self.evaluation is None else dict(self.evaluation),
            "baseAttempt": self.base_attempt,
            "best": None
            if self.best is None
            else {
                "attempt": self.best.attempt,
                "output": self.best.output,
                "evaluation": dict(self.best.evaluation),
            },
            "history": [
                {"attempt": entry.attempt, "score": entry.score, "feedback": entry.feedback} for entry in self.history
            ],
            "budget": self.budget.document(),
            "idempotencyKey": self.idempotency_key,
        }


make_context: Final = maker(StageContext)


class StageRole(StrEnum):
    """Part that a stage has in its agent."""

    PRODUCE = "produce"
    EVALUATE = "evaluate"
    REVISE = "revise"
    CHECK = "check"
    JUDGE = "judge"

    @property
    def judges(self) -> bool:
        """True when an output is scored or checked."""
        return self in (StageRole.EVALUATE, StageRole.CHECK, StageRole.JUDGE)


@attrs.frozen(kw_only=True)
class StagePlace:
    """Place of a stage in its agent, and what the agent says about it."""

    key: str
    """Dotted key in agents.yaml, such as ``evaluate.judges.0``."""
    role: StageRole
    inputs: Mapping[str, Any]
    """JSON Schema of the agent's inputs."""
    drafts: int = 1
    output_suffix: str = ".md"


class StageBody(Protocol):
    """Work of a stage, without its timeout and retries."""

    @property
    def kind(self) -> str:
        """``python``, ``command`` or ``prompt``."""
        ...

    @property
    def target(self) -> str:
        """Name of what is called, for people."""
        ...

    @property
    def definition(self) -> str:
        """Everything that decides what the stage does, as text: equal in every process, different once it changes."""
        ...

    def problem(self) -> str | None:
        """Return why the stage cannot be called here, or None; do not call it."""
        ...

    async def __call__(self, context: StageContext) -> object:
        """Do the work once. Everything raised is an error of the stage; a cancellation stops it."""
        ...
