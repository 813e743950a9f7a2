"""Figures: several values of one measurement, taken in turns with its reference."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Spread:
    """The median of several values, between the lowest and the highest."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.lowest == self.highest:
            return short(self.median)
        return f"{short(self.median)} [{short(self.lowest)}-{short(self.highest)}]"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    section: str
    database: str
    what: str
    figure: Spread
    unit: str
    against: str = ""
    """Reference of the ratio."""
    ratio: Spread | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def budget(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    @property
    def verdict(self) -> str:
        """Verdict on the budget, by the median: of the ratio if there is one."""
        judged = (self.ratio or self.figure).median
        if not self.budget:
            return ""
        met = judged >= self.at_least if self.at_least is not None else judged <= (self.at_most or 0)
        return "met" if met else "missed"

    def plain(self) -> dict[str, Any]:
        return asdict(self) | {"budget": self.budget, "verdict": self.verdict}


def ratios(values: Sequence[float], references: Sequence[float]) -> Spread:
    """Return the ratios of what was measured in the same repetitions."""
    return Spread.of([value / reference for value, reference in zip(values, references, strict=True)])


def percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def short(value: float) -> str:
    """Write a number with three digits, whatever its size."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
