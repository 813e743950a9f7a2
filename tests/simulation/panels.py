"""Worlds whose runs are judged by a panel: a judge is asked once for a verdict that is stored, and scores add up.

What a check or a judge says of an output depends on the seed, the output, its name and the sample alone, so whoever
asks again hears the same. Whether it answers at all, and how long it takes, is the chance of its process.
"""

import json
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs

from loopkit import Agent, Check, Judge, Panel, StageContext
from loopkit.core.run import NewRun
from tests.simulation.process import HERE, make_output
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.process import Process

THRESHOLD = 0.6
NEARLY = 2e-9
"""Most that two ways of rounding at each step may differ."""
POLICIES: tuple[Mapping[str, Any], ...] = (
    *({}, {"drafts": 2}, {"reviseFrom": "best"}, {"stop": {"patience": 1}}),
    *({"drafts": 2, "reviseFrom": "best", "stop": {"patience": 2, "minDelta": 0.1}}, {"maxLosses": 1}),
)


@attrs.frozen
class Given:
    """A verdict as it is stored."""

    attempt: int
    name: str
    sample: int
    score: float


class PanelWorld(World):
    """One schedule of runs with checks and judges, some of them with samples, one of them a shadow."""

    def __init__(self, seed: int, ground: str) -> None:
        super().__init__(seed, ground)
        drawn = random.Random(f"{seed} panel")
        self.close = drawn.choice([None, 0.1, 0.3])
        self.quorum = drawn.choice([None, 1, 2])
        self.checks = ["long", "clean"][: drawn.randint(0, 2)]
        self.weights = {"facts": 2.0, "style": 0.5, "tone": 1.0, "other": 0.0}
        self.samples = {name: drawn.randint(1, 3) for name in self.weights}
        self.spared = 0
        """Verdicts that were stored before their run's holder began to evaluate."""
        self.agent = Agent(
            name="worker",
            produce=make_output,
            pass_threshold=THRESHOLD,
            evaluate=Panel(
                checks=[Check(_asker(name), name=name) for name in self.checks],
                judges=[
                    Judge(_asker(name), name=name, weight=weight, samples=self.samples[name])
                    for name, weight in self.weights.items()
                ],
                close=self.close,
                quorum=self.quorum,
            ),
        )

    def drawn_run(self, key: str, attempts: int) -> NewRun:
        drawn = random.Random(f"{self.seed} {key} policy")
        new = super().drawn_run(key, attempts + 1)
        return attrs.evolve(new, pass_threshold=THRESHOLD, policy=drawn.choice(POLICIES))

    def said(self, output: str, name: str, sample: int) -> float:
        """Return what a check or judge says of an output."""
        said = random.Random(f"{self.seed} {output} {name} {sample}")
        return float(said.random() < 0.85) if name in self.checks else said.choice([0.1, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])

    async def ask(self, process: "Process", context: StageContext, name: str) -> float:
        """Answer for a check or a judge, or fail."""
        sample, token = context.sample or 1, context.book._writer._kept_lease.lease.fencing_token  # type: ignore[union-attr]
        row = self.rows[context.run_id]
        stored = {(given.attempt, given.name, given.sample) for given in self._given(context.run_id)}
        if (row.status, row.token) == ("running", token):
            asked_again = (context.attempt, name, sample) in stored
            self.insist(not asked_again, f"{name} {sample} was asked though its verdict is stored")
            self.spared += len(stored)
        self.tell(process.name, f"asks {name} {sample} of attempt {context.attempt}")
        if process.chance.random() < self.size.freezing / 4 and not process.is_lucky:
            process.freeze()
        await process.nap(process.chance.choice([0.1, 1.0, 3.0]))
        if process.chance.random() > 0.93:
            raise RuntimeError("no answer")
        return self.said(str(context.output), name, sample)

    def check_artifact(self, run_id: str, content: str) -> None:
        if content.startswith("call "):
            super().check_artifact(run_id, content)

    async def check(self) -> None:
        for run_id in self.rows:
            self._check_verdicts(run_id)
        await super().check()

    def _given(self, run_id: str) -> list[Given]:
        names = {*self.checks, *self.weights}
        return [Given(*row) for row in self.ground.scores_given(run_id) if row[1] in names]

    def _check_verdicts(self, run_id: str) -> None:
        """Check that every stored verdict is what was said, and every evaluation what the verdicts lead to."""
        artifacts = self.ground.artifacts(run_id)
        outputs = {attempt: content for attempt, kind, content in artifacts if kind == "output"}
        given = self._given(run_id)
        for one in given:
            said = self.said(outputs[one.attempt], one.name, one.sample)
            self.insist(one.score == said, f"{one} is stored, and {said} was said")
        for attempt, kind, content in artifacts:
            if kind == "evaluation":
                document = json.loads(content)
                scores = {(one.name, one.sample): one.score for one in given if one.attempt == attempt}
                expected = float(self._recount(scores))
                is_equal = abs(document["score"] - expected) <= NEARLY
                self.insist(is_equal, f"attempt {attempt} has {content}; its verdicts make {expected}")

    def _recount(self, scores: Mapping[tuple[str, int], float]) -> Fraction:
        """Return the score that verdicts make, by plain counting."""
        missing = [name for name in self.checks if (name, 1) not in scores]
        self.insist(not missing, f"an evaluation was stored without the verdict of {missing}")
        holding = sum(scores[name, 1] == 1 for name in self.checks)
        if holding < len(self.checks):
            judged = [name for name, _ in scores if name in self.weights]
            self.insist(not judged, f"{judged} were asked though a check does not hold")
            return _exact(THRESHOLD) / 2 * Fraction(holding, len(self.checks))
        counted = [name for name, weight in self.weights.items() if weight]
        means = {name: mean for name in counted if (mean := self._mean_of(name, scores)) is not None}
        self.insist(len(means) >= (self.quorum or len(counted)), f"only {list(means)} answered, and were enough")
        weights = {name: _exact(self.weights[name]) for name in means}
        return sum((means[name] * weights[name] for name in means), Fraction(0)) / sum(weights.values())

    def _mean_of(self, name: str, scores: Mapping[tuple[str, int], float]) -> Fraction | None:
        """Return the mean of a judge's samples; None when one that was needed is missing."""
        first = scores.get((name, 1))
        if first is None:
            return None
        is_near = self.close is None or abs(_exact(first) - _exact(THRESHOLD)) <= _exact(self.close)
        needed = range(1, self.samples[name] + 1 if is_near else 2)
        self.insist(is_near or (name, 2) not in scores, f"{name} was asked for more samples though it is far")
        if any((name, sample) not in scores for sample in needed):
            return None
        return sum((_exact(scores[name, sample]) for sample in needed), Fraction(0)) / len(needed)


def _asker(name: str) -> Callable[[StageContext], Any]:
    async def ask(context: StageContext) -> bool | float:
        process = HERE.get()
        world = process.world
        assert isinstance(world, PanelWorld)
        score = await world.ask(process, context, name)
        return score == 1 if name in world.checks else score

    return ask


def _exact(number: float) -> Fraction:
    """Return a number as it is meant, without the error of its binary form."""
    return Fraction(str(number))
