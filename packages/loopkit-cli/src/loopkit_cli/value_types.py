"""Kinds of option values: bounded numbers and ages such as ``30d``."""

import math
import os
import re
from datetime import timedelta
from typing import Any, Final

import click

from loopkit.core.ledger.budget import BUDGET_KEYS, Budget
from loopkit.core.run import MAX_ATTEMPTS
from loopkit.errors import InvalidConfig


class Number(click.ParamType[float]):
    """Finite number from ``low`` to ``high``, both included."""

    def __init__(self, name: str, low: float, high: float) -> None:
        self.name = name
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not (math.isfinite(number) and self.low <= number <= self.high):
            self.fail(f"{value} is not in the range {self.low:g} to {self.high:g}", param, ctx)
        return number


SCORE: Final = Number("score", 0.0, 1.0)
SECONDS: Final = Number("seconds", 0.001, 1e8)
MAX_PROCESSES: Final = 1024
MAX_PORT: Final = 65535
ATTEMPTS: Final = click.IntRange(1, MAX_ATTEMPTS)


class Address(click.ParamType[tuple[str, int]]):
    """Address to listen on: ``HOST:PORT``, ``[::1]:9100``, or ``:9100`` for every address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, separator, port = value.rpartition(":")
        if not separator or not port.isascii() or not port.isdigit():
            self.fail(f"{value!r} is not HOST:PORT, e.g. 127.0.0.1:9100", param, ctx)
        if len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:  # Python does not convert thousands of digits
            self.fail(f"the port of {value!r} is not in the range 0 to {MAX_PORT}", param, ctx)
        return host.strip("[]"), int(port)


class Processes(click.ParamType[int]):
    """Number of processes, or ``auto``: one for each core that this program may use."""

    name = "processes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "auto":
            return usable_cores()
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of processes, or auto", param, ctx)
        if not 1 <= number <= MAX_PROCESSES:
            self.fail(f"{number} is not in the range 1 to {MAX_PROCESSES}", param, ctx)
        return number


def usable_cores() -> int:
    """Return the number of cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class BudgetLimits(click.ParamType[Budget]):
    """Limits of a budget: ``usd=0.5,tokens=80000,seconds=900``, any of them."""

    name = "budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Budget:
        if isinstance(value, Budget):
            return value
        limits: dict[str, Any] = {}
        for part in value.split(","):
            key, separator, text = (piece.strip() for piece in part.partition("="))
            if not separator or key not in BUDGET_KEYS:
                self.fail(f"{part!r} is not one of usd=X, tokens=N and seconds=S", param, ctx)
            if key in limits:
                self.fail(f"{key} is given twice", param, ctx)
            try:
                limits[key] = int(text) if key == "tokens" else float(text)
            except ValueError:
                self.fail(f"{key} must be a {'whole ' if key == 'tokens' else ''}number, not {text!r}", param, ctx)
        try:
            return Budget(**limits)
        except InvalidConfig as error:
            self.fail(str(error), param, ctx)


BUDGET: Final = BudgetLimits()


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST: Final = timedelta(days=36500)


class Age(click.ParamType[timedelta]):
    """Duration such as ``30d``: a whole number followed by s, m, h, d or w."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        match = re.fullmatch(r"([0-9]{1,12})([smhdw])", value)
        if not match:
            self.fail(f"{value!r} is not a number followed by s, m, h, d or w, e.g. 30d", param, ctx)
        seconds = int(match[1]) * _UNITS[match[2]]
        if seconds > _LONGEST.total_seconds():
            self.fail(f"{value} is more than a hundred years", param, ctx)
        return timedelta(seconds=seconds)
