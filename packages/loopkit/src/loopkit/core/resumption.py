"""Resumption of a claimed run: the next stage, computed from the stored artifacts and what the run has spent.

A runner that takes over a run needs nothing else, so a crash at any point loses at most the stage in progress.
"""

from collections.abc import Iterable

import attrs

from loopkit.core import machine
from loopkit.core.attempts import PastAttempt, attempts_of
from loopkit.core.journal import Artifact, Change
from loopkit.core.ledger.spent import Spent
from loopkit.core.ledger.unknowns import NO_UNKNOWNS, Unknowns
from loopkit.core.policy import policy_of
from loopkit.core.run import Run, Stage
from loopkit.core.values import value

__all__ = ["Resumption", "decide_resumption"]


@value(kw_only=True)
class Resumption:
    """Point at which a claimed run continues, computed from its artifacts alone."""

    run: Run
    """The run in the stage to call next, with the best score that the artifacts hold."""
    attempts: tuple[PastAttempt, ...] = ()
    """Stored parts of the run's attempts, by number."""
    change: Change | None = None
    """Set when no stage is left to call: the change that ends the run as its stored evaluation says."""


def decide_resumption(run: Run, artifacts: Iterable[Artifact], unknowns: Unknowns = NO_UNKNOWNS) -> Resumption:
    """Decide the stage with which a claimed run continues; a finished stage is never called again.

    ``unknowns``: what the ledger of the run does not tell; a policy with a budget needs it.
    """
    stored = list(artifacts)
    attempts = attempts_of(stored)
    best: machine.Best = (None, None)
    for past in attempts:
        if past.evaluation is not None:
            best = machine.better_score(*best, past.evaluation.score, past.number)
    signal, number = machine.stored_signal(stored, run.max_attempts, policy_of(run.policy).drafts)
    stage = machine.next_state(machine.state_of(run), signal)
    assert isinstance(stage, Stage)
    if attempts and attempts[-1].evaluation is not None:
        evaluated = _run_at(run, Stage.EVALUATING, attempts[-1].number, best)
        change = machine.judgement_change(evaluated, attempts, Spent(unknowns=unknowns))
        if change.then.status.ended:
            return Resumption(run=evaluated, attempts=attempts, change=change)
    return Resumption(run=_run_at(run, stage, number, best), attempts=attempts)


def _run_at(run: Run, stage: Stage, attempt: int, best: machine.Best) -> Run:
    if (run.current_stage, run.current_attempt, run.final_score, run.best_attempt) == (stage, attempt, *best):
        return run
    final_score, best_attempt = best
    return attrs.evolve(
        run, current_stage=stage, current_attempt=attempt, final_score=final_score, best_attempt=best_attempt
    )
