"""Evaluations by panels for two stores in lockstep: whoever has no stored verdict is asked, and each verdict is stored.

A sitting is what one holder does with one output: it may be broken off after any verdict, as by a crash, and a later
one takes over what is stored. Who is asked therefore depends on what the store returns.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

import attrs

from loopkit.core import machine
from loopkit.core.attempts import attempts_of
from loopkit.core.journal import Change
from loopkit.core.outcome import Errored, Evaluated, Outcome
from loopkit.core.panel.panel_evaluation import evaluate_panel
from loopkit.core.panel.panel_results import CheckResult, JudgeResult, failing_judge, judge_result
from loopkit.core.panel.panel_rules import JudgeRule, PanelRules, is_close
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.core.panel.verdict_event import verdict_event
from loopkit.storage import Held, Ledger, Storage

__all__ = ["MADE_BY", "Sitting"]

MADE_BY: Final = "panel"
"""Digest of the checks and judges of a sitting, which tells their verdicts from others."""
Part = tuple[VerdictKind, str, int]
"""Kind, name and sample of a check or judge."""


@attrs.frozen(kw_only=True)
class _Panel:
    rules: PanelRules
    samples: Mapping[str, int]
    """Samples of each judge."""
    close: float | None = None


_FACTS, _STYLE = JudgeRule(name="facts", weight=2.0), JudgeRule(name="zwölf", weight=0.5)
_SHADOW: Final = JudgeRule(name="other", weight=0.0)
PANELS: Final[Sequence[_Panel]] = (
    _Panel(rules=PanelRules(checks=["long", "clean"], judges=[_FACTS]), samples={"facts": 3}, close=0.1),
    _Panel(rules=PanelRules(judges=[_FACTS, _STYLE, _SHADOW], quorum=1), samples={"facts": 2, "zwölf": 1, "other": 2}),
    _Panel(rules=PanelRules(checks=["long"], judges=[_SHADOW]), samples={"other": 1}),
)
"""Panels of the runs, by the number in their inputs."""


class _BrokenOff(Exception):
    """End of a sitting before its evaluation."""


@attrs.define(kw_only=True)
class Sitting:
    """Evaluation of the current output of a held run by the panel that the run's inputs name."""

    store: Storage
    held: Held
    """The run as its holder knows it; renewed by each write."""
    random: Random
    asked: list[Part] = attrs.field(factory=list)
    """Checks and judges that were asked, in order."""
    _stored: dict[Part, Verdict] = attrs.field(factory=dict, init=False)
    _left: int = attrs.field(default=0, init=False)
    """Verdicts that may still be given before it is broken off."""

    async def hold(self) -> None:
        """Ask for verdicts until the evaluation is stored, or until the sitting is broken off.

        Raises:
            LeaseLost: another holder has the run.
        """
        run = self.held.run
        self._left = self.random.choice([1, 2, 3, 9])
        if isinstance(self.store, Ledger):
            verdicts = await self.store.list_verdicts(run.id, run.current_attempt)
            self._stored = {_part(verdict): verdict for verdict in verdicts if verdict.made_by == MADE_BY}
        try:
            outcome = await self._evaluate(PANELS[run.inputs["n"] % len(PANELS)])
        except _BrokenOff:
            return
        attempts = attempts_of(await self.store.list_artifacts(run.id))
        await self._record(machine.advance(self.held.run, outcome, attempts=attempts))

    async def _evaluate(self, panel: _Panel) -> Outcome:
        checks: list[CheckResult] = []
        for name in panel.rules.checks:
            verdict = await self._ask((VerdictKind.CHECK, name, 1))
            if verdict is None:
                return Errored(f"{name} broke")
            checks.append(CheckResult(name, verdict.score == 1.0, verdict.feedback))
        judges: list[JudgeResult] = []
        if all(check.ok for check in checks):
            judges = [await self._judge(rule, panel) for rule in panel.rules.judges]
            if (failing := failing_judge(panel.rules, judges)) is not None:
                return Errored(f"{failing.rule.name} broke")
        threshold = self.held.run.pass_threshold
        return Evaluated(evaluate_panel(panel.rules, checks, judges, pass_threshold=threshold))

    async def _judge(self, rule: JudgeRule, panel: _Panel) -> JudgeResult:
        verdicts: list[Verdict] = []
        for sample in range(1, panel.samples[rule.name] + 1):
            verdict = await self._ask((VerdictKind.JUDGE, rule.name, sample))
            if verdict is None:
                return judge_result(rule, verdicts, "it broke")
            verdicts.append(verdict)
            if not is_close(verdicts[0].score, self.held.run.pass_threshold, panel.close):
                break
        return judge_result(rule, verdicts)

    async def _ask(self, part: Part) -> Verdict | None:
        """Return a verdict that is stored, or a drawn one, which is stored then; None where it gives none."""
        if part in self._stored:
            return self._stored[part]
        if self._left == 0:
            raise _BrokenOff
        self._left -= 1
        self.asked.append(part)
        if self.random.random() < 0.03:
            return None
        verdict = self._drawn(part)
        await self._record(machine.log_change(self.held.run, [verdict_event(verdict)], verdicts=[verdict]))
        return verdict

    def _drawn(self, part: Part) -> Verdict:
        kind, name, sample = part
        scores = [0.0, 1.0, 1.0, 1.0] if kind is VerdictKind.CHECK else [0.1, 0.3, 0.5, 0.7, 0.8]
        return Verdict(
            attempt=self.held.run.current_attempt,
            kind=kind,
            name=name,
            sample=sample,
            made_by=MADE_BY,
            score=self.random.choice(scores),
            feedback=self.random.choice(["", "zwölf \u2028"]),
        )

    async def _record(self, change: Change) -> None:
        run = await self.store.record(self.held.lease, change)
        self.held = attrs.evolve(self.held, run=run)


def _part(verdict: Verdict) -> Part:
    return verdict.kind, verdict.name, verdict.sample
