"""Record of one run: all that is stored of it, as an audit reads it."""

from collections.abc import Sequence

from loopkit.core.attempts import PastAttempt
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.run import Run, Stage
from loopkit.core.values import value

__all__ = ["RecordedRun"]


@value(kw_only=True)
class RecordedRun:
    """Row, attempts, calls and begun stages of one run."""

    run: Run
    attempts: Sequence[PastAttempt] = ()
    """Stored attempts by number; where the policy compares no outputs, without these."""
    own_evaluations: frozenset[int] = frozenset()
    """Attempts whose evaluation loopkit stored; another program may go on after any score."""
    own_outputs: frozenset[int] = frozenset()
    """Attempts whose output loopkit stored."""
    calls: Sequence[ModelCall] = ()
    """Model calls of the run; needed where the policy has a budget."""
    stages: Sequence[tuple[Stage, int]] = ()
    """Stages and attempts that its last holder began, in order.

    A run of another program or of an older loopkit gets its policy with a claim, so what earlier holders did may have
    been decided without it.
    """

    @property
    def first_known(self) -> int:
        """First attempt that the last holder worked on: from there on every decision was made by the policy."""
        return self.stages[0][1] if self.stages else self.run.current_attempt + 1
