"""Run schedules: ``python -m tests.simulation [--store sqlite|memory] [--panels] FIRST END``.

A range can be split anywhere and continued later, since a schedule depends on its seed alone. A line with the number of
schedules is printed now and then and at the end; each broken seed is printed with its last lines and the command that
repeats it. The exit status is 1 if there is one.
"""

import argparse
import logging
import sys
import time
from collections import Counter

from tests.simulation.ground import Broken
from tests.simulation.panels import PanelWorld
from tests.simulation.world import GROUNDS, Report, World, simulate

PROGRESS_SECONDS = 60
MOST_BROKEN = 1
"""Broken seeds after which a range ends; the next range may begin behind them."""


class Tally:
    """Results of the schedules so far."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.lived = 0
        self.steps = 0
        self.traces: set[int] = set()
        self.faults: Counter[str] = Counter()
        self.broken: list[int] = []

    def add(self, report: Report) -> None:
        self.lived += 1
        self.steps += report.steps
        self.traces.add(int(report.trace[:16], 16))
        self.faults.update(report.faults)

    def __str__(self) -> str:
        seconds, lived = time.monotonic() - self.began, max(self.lived, 1)
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.lived} schedules, {len(self.traces)} distinct traces, {self.steps / lived:.0f} steps a schedule, "
            f"{self.lived / seconds:.1f} schedules/s, broken seeds: {self.broken or 'none'}; faults: {faults}"
        )


def main(store: str, first: int, end: int, *, panels: bool = False) -> int:
    logging.disable(logging.CRITICAL)
    tally, told = Tally(), time.monotonic()
    for seed in range(first, end):
        try:
            tally.add(simulate(seed, store, world_of=PanelWorld if panels else World))
        except BaseException as error:
            broken = _leaf(error)
            if not isinstance(broken, Broken):
                raise
            tally.broken.append(seed)
            print(f"seed {seed} (number {seed - first + 1}): {type(broken).__name__}: {broken}")
            print("\n".join(getattr(error, "__notes__", ())))
            options = f"--store {store}{' --panels' if panels else ''}"
            print(f"again: python -m tests.simulation {options} {seed} {seed + 1}", flush=True)
            if len(tally.broken) == MOST_BROKEN:
                break
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            print(f"{store} {first}..{seed}: {tally}", flush=True)
    print(f"{store} {first}..{end - 1}: {tally}")
    return 1 if tally.broken else 0


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Live through schedules by seed.")
    parser.add_argument("--store", choices=GROUNDS, default="sqlite")
    parser.add_argument("--panels", action="store_true", help="runs that checks and judges evaluate")
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("end", type=int, help="the seed after the last one")
    arguments = parser.parse_args()
    sys.exit(main(arguments.store, arguments.first, arguments.end, panels=arguments.panels))
