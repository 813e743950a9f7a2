"""Evaluation by a panel, called by a runner: whoever has not given its verdict is asked, and each verdict is stored.

A verdict is committed as soon as it is there. After a crash nobody is asked again for the same output, as long as the
check or judge is what it was. The checks are asked one after the other, all of them; the judges at the same time, when
every check holds. All judges are waited for, so that a call which was paid gives its verdict.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import anyio
import attrs

from loopkit.agents.evaluators.panel_spec import Judge, Panel
from loopkit.core.outcome import Errored, Evaluated, Outcome
from loopkit.core.panel.panel_evaluation import evaluate_panel
from loopkit.core.panel.panel_feedback import BaseCriteria
from loopkit.core.panel.panel_results import CheckResult, JudgeResult, failing_judge, judge_result
from loopkit.core.panel.panel_rules import is_close
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.errors import LeaseLost, RunNotFound, StorageUnavailable
from loopkit.runner.run_writer import RETRY_SECONDS
from loopkit.runner.task_groups import open_tasks
from loopkit.runner.verdicts.part_call import AskedPart, PartCall
from loopkit.storage import Ledger

__all__ = ["PanelCall"]

logger = logging.getLogger("loopkit.runner")

T = TypeVar("T")


Answer = tuple[AskedPart, Verdict | Errored]


@attrs.define(kw_only=True, eq=False)
class PanelCall:
    """Evaluation of one output by a panel."""

    panel: Panel
    calls: PartCall
    base: BaseCriteria | None
    """Criteria of the attempt that was revised, with ``revise_from: best``."""
    _stored: dict[tuple[object, ...], Verdict] = attrs.field(factory=dict, init=False)
    """Verdicts on this output that were there before, by what names them."""
    _writing: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)

    async def evaluate(self) -> Outcome:
        """Ask the checks, then the judges; return the evaluation, or the error of the check or judge that fails it.

        Raises:
            LeaseLost: another runner may hold the run.
        """
        self._stored = {_key(verdict): verdict for verdict in await self._read_verdicts()}
        run = self.calls.writer.run
        answers = [await self._ask(part) for part in self._checks()]
        if failures := _failures(answers):
            self._note_failures(failures[1:])
            return failures[0][1]
        checks = [CheckResult(verdict.name, verdict.score == 1.0, verdict.feedback) for verdict in _verdicts(answers)]
        judges: list[JudgeResult] = []
        if all(check.ok for check in checks):
            judges, error = await self._judge()
            if error is not None:
                return error
        evaluation = evaluate_panel(self.panel.rules, checks, judges, pass_threshold=run.pass_threshold, base=self.base)
        return Evaluated(evaluation)

    async def _judge(self) -> tuple[list[JudgeResult], Errored | None]:
        """Return the results of all judges, and the error of the stage where fewer than needed have answered."""
        answers = await _at_once([partial(self._ask_judge, judge) for judge in self.panel.judges])
        results = [
            judge_result(judge.rule, _verdicts(own), next((error.message for _, error in _failures(own)), None))
            for judge, own in zip(self.panel.judges, answers, strict=True)
        ]
        failures = [failure for own in answers for failure in _failures(own)]
        failing = failing_judge(self.panel.rules, results)
        if failing is None:
            self._note_failures(failures)
            return results, None
        fatal = next(failure for failure in failures if failure[0].name == failing.rule.name)
        self._note_failures([failure for failure in failures if failure is not fatal])
        return results, fatal[1]

    async def _ask_judge(self, judge: Judge) -> list[Answer]:
        """Return the answers of the samples of a judge: of the first, and where it asks for them of the others."""
        first, *others = self._samples(judge)
        if self.panel.close is None:
            return await _at_once([partial(self._ask, part) for part in (first, *others)])
        answer = await self._ask(first)
        threshold = self.calls.writer.run.pass_threshold
        if isinstance(answer[1], Errored) or not is_close(answer[1].score, threshold, self.panel.close):
            return [answer]
        return [answer, *await _at_once([partial(self._ask, part) for part in others])]

    def _checks(self) -> Iterable[AskedPart]:
        for check in self.panel.checks:
            yield AskedPart(kind=VerdictKind.CHECK, name=str(check.name), spec=check.stage)

    def _samples(self, judge: Judge) -> list[AskedPart]:
        name, is_lone = str(judge.name), self.panel.is_lone
        return [
            AskedPart(kind=VerdictKind.JUDGE, name=name, sample=sample, spec=judge.stage, is_lone=is_lone)
            for sample in range(1, judge.samples + 1)
        ]

    async def _ask(self, part: AskedPart) -> Answer:
        """Return the verdict of a check or sample, which is stored then, or its error."""
        stored = self._stored.get(part.key(self.calls.writer.run.current_attempt))
        if stored is not None:
            return part, stored
        answer = await self.calls.ask(part)
        if isinstance(answer, Verdict):
            async with self._writing:
                await self.calls.writer.record_verdict(answer)
        return part, answer

    def _note_failures(self, failures: Iterable[tuple[AskedPart, Errored]]) -> None:
        for part, error in failures:
            self.calls.note_failure(part, error)

    async def _read_verdicts(self) -> Sequence[Verdict]:
        """Return the verdicts that are stored for the current output; none where the store keeps none.

        Raises:
            LeaseLost: the run is not stored any more.
        """
        storage, run = self.calls.context.storage, self.calls.writer.run
        while isinstance(storage, Ledger):
            try:
                return await storage.list_verdicts(run.id, run.current_attempt)
            except StorageUnavailable as error:
                logger.warning("run %s: %s; trying again", run.id, error)
                await anyio.sleep(RETRY_SECONDS)
            except RunNotFound as error:
                raise LeaseLost(run.id) from error
        return ()


def _key(verdict: Verdict) -> tuple[object, ...]:
    return verdict.attempt, verdict.kind, verdict.name, verdict.sample, verdict.made_by


def _verdicts(answers: Iterable[Answer]) -> list[Verdict]:
    return [answer for _, answer in answers if isinstance(answer, Verdict)]


def _failures(answers: Iterable[Answer]) -> list[tuple[AskedPart, Errored]]:
    return [(part, answer) for part, answer in answers if isinstance(answer, Errored)]


async def _at_once(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Call all at the same time and return what they returned, in order."""
    results: dict[int, T] = {}

    async def keep(index: int, call: Callable[[], Awaitable[T]]) -> None:
        results[index] = await call()

    if len(calls) == 1:
        return [await calls[0]()]
    async with open_tasks() as tasks:
        for index, call in enumerate(calls):
            tasks.start_soon(keep, index, call)
    return [results[index] for index in range(len(calls))]
