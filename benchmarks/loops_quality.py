"""Quality of loops: what samples, drafts and stop rules do to the result, with a judge of known noise and bias.

The loops are real ones, worked by a runner on a store in memory; what they make is a number, the true quality of the
output, and the judge sees it through noise that is drawn from a seed. The model: a first draft is N(0.62, 0.12), a
revision adds N(0.02, 0.12) to what it was made from, and a verdict is the quality plus bias plus N(0, 0.08) in tenths.
"""

import random
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

import anyio
import attrs
from rich.console import Console
from rich.table import Table

import loopkit
from loopkit import Agent, Judge, MemoryStore, Panel, StageContext, Stop

__all__ = ["SETTINGS", "Measured", "measure", "print_table"]

THRESHOLD: Final = 0.85
GOOD: Final = 0.80
"""True quality from which a passed run has passed rightly."""
ATTEMPTS: Final = 5
RUNS: Final = 1_000
BATCH: Final = 50

SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "from last": {},
    "from best": {"revise_from": "best"},
    "from best, 2 drafts": {"revise_from": "best", "drafts": 2},
    "from best, 3 samples within 0.1": {"revise_from": "best", "samples": 3, "close": 0.1},
    "from best, 3 samples always": {"revise_from": "best", "samples": 3},
    "from best, patience 2": {"revise_from": "best", "stop": Stop(patience=2)},
    "from best, 2 drafts, 3 samples within 0.1": {"revise_from": "best", "drafts": 2, "samples": 3, "close": 0.1},
}
"""Policies and panels that are compared, by what the table calls them."""


@attrs.frozen(kw_only=True)
class Measured:
    """Means over the runs of one setting."""

    quality: float
    """True quality of the results."""
    passed: float
    """Share of runs that passed."""
    right: float | None
    """Share of the passed runs whose result is really good; None when none passed."""
    attempts: float
    calls: float
    """Verdicts of the judge."""


def measure(runs: int, *, bias: float = 0.0, **settings: Any) -> Measured:
    """Return what came of a number of runs with the given settings; equal in every process."""
    return anyio.run(_measure, runs, bias, settings)


def print_table(runs: int = RUNS) -> None:
    """Measure every setting with a fair judge and with one that gives 0.05 too much, and print the tables."""
    console = Console()
    for bias in (0.0, 0.05):
        table = Table(
            title=f"{runs} loops a row, {ATTEMPTS} attempts, threshold {THRESHOLD}, bias of the judge {bias:+}"
        )
        for heading in ("setting", "true quality", "passed", f"of those >= {GOOD:.2f}", "attempts", "judge calls"):
            table.add_column(heading, justify="left" if heading == "setting" else "right")
        for name, settings in SETTINGS.items():
            row = measure(runs, bias=bias, **settings)
            right = "-" if row.right is None else f"{row.right:.2f}"
            table.add_row(
                name, f"{row.quality:.3f}", f"{row.passed:.2f}", right, f"{row.attempts:.1f}", f"{row.calls:.1f}"
            )
        console.print(table)


async def _measure(runs: int, bias: float, settings: Mapping[str, Any]) -> Measured:
    agent, results = _agent(bias, **settings), list[loopkit.Result]()
    for first in range(0, runs, BATCH):  # a claim looks at every run of a store in memory
        store = MemoryStore()
        inputs = [{"seed": seed} for seed in range(first, min(first + BATCH, runs))]
        queued = await loopkit.submit(store, agent, inputs)
        await loopkit.Runner(store, [agent], concurrency=BATCH).drain()
        results += [await loopkit.wait(store, run.id) for run in queued]
    return _summary(results)


def _agent(bias: float, *, samples: int = 1, close: float | None = None, **policy: Any) -> Agent:
    async def make(ctx: StageContext) -> str:
        drawn = _drawn(ctx, "make")
        quality = drawn.gauss(0.62, 0.12) if ctx.output is None else float(ctx.output) + drawn.gauss(0.02, 0.12)
        return f"{min(max(quality, 0.0), 1.0):.9f}"

    async def judge(ctx: StageContext) -> float:
        seen = float(ctx.output) + bias + _drawn(ctx, f"judge {ctx.sample}").gauss(0, 0.08)
        return min(max(round(seen, 1), 0.0), 1.0)

    panel = Panel(judges=[Judge(judge, samples=samples)], close=close)
    return Agent(
        name="modelled",
        produce=make,
        revise=make,
        evaluate=panel,
        max_attempts=ATTEMPTS,
        pass_threshold=THRESHOLD,
        **policy,
    )


def _drawn(ctx: StageContext, part: str) -> random.Random:
    return random.Random(f"{ctx.inputs['seed']} {ctx.attempt} {part}")


def _summary(results: Sequence[loopkit.Result]) -> Measured:
    qualities = [float(result.output) for result in results]
    passed = [quality for quality, result in zip(qualities, results, strict=True) if result.run.status == "passed"]
    calls = [
        sum(len(attempt.evaluation["judges"]["judge"]["samples"]) for attempt in result.attempts if attempt.evaluation)
        for result in results
    ]
    return Measured(
        quality=fmean(qualities),
        passed=len(passed) / len(results),
        right=fmean(quality >= GOOD for quality in passed) if passed else None,
        attempts=fmean(len(result.attempts) for result in results),
        calls=fmean(calls),
    )
