"""Live through schedules: ``python -m tests.simulation FIRST END``; the range can be resumed anywhere.

Prints a line of figures, or the first broken schedule and exits 1.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter

from tests.simulation.world import Broken, simulate


def main(first: int, end: int) -> int:
    logging.disable(logging.CRITICAL)
    began, steps, faults, traces = time.monotonic(), 0, Counter[str](), set[str]()
    for seed in range(first, end):
        try:
            report = simulate(seed)
        except BaseException as error:
            broken = _leaf(error)
            print(f"seed {seed} (number {seed - first + 1}): {type(broken).__name__}: {broken}")
            print("\n".join(getattr(error, "__notes__", ())))
            return 1 if isinstance(broken, Broken) else 2
        steps += report.steps
        faults.update(report.faults)
        traces.add(report.trace)
    seconds, count = time.monotonic() - began, end - first
    print(
        f"{count} schedules, {len(traces)} distinct, {steps / count:.0f} steps each, {count / seconds:.1f}/s; "
        f"faults {dict(sorted(faults.items()))}; last trace {report.trace}"
    )
    return 0


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
