"""Test of the suite itself: each store with one flaw fails the case named with it."""

import functools
import inspect
from typing import Any

import anyio
import pytest

from loopkit.stores.memory import MemoryStore
from loopkit.testing import HandClock, LedgerSuite, MaintenanceSuite, StorageSuite
from loopkit.testing.cases import fence_cases
from tests.stores import broken_ledger_helpers
from tests.stores.broken_store_helpers import FLAWS


class Everything(StorageSuite, MaintenanceSuite, LedgerSuite):
    """Every case that the broken stores are held to."""


LOSSES = {loss.__name__[1:]: loss for loss in fence_cases.LOSSES}


def run_case(store: type[MemoryStore], case: str, arguments: tuple[Any, ...]) -> None:
    """Run one case of the suite on a fresh store."""
    clock = HandClock()
    method = getattr(Everything(), case)
    fixtures = {"storage": store(now=clock), "clock": clock}
    names = [name for name in inspect.signature(method).parameters if name not in fixtures]
    given = dict(zip(names, arguments, strict=True))
    if "loss" in given:
        given["loss"] = LOSSES[given["loss"]]
    wanted = {name: fixtures[name] for name in inspect.signature(method).parameters if name in fixtures}
    anyio.run(functools.partial(method, **wanted, **given))


@pytest.mark.parametrize("store", FLAWS, ids=lambda store: store.__name__)
def test_the_suite_finds_the_flaw(store: type[MemoryStore]) -> None:
    """The case named fails on the broken store, and passes on the one without the flaw."""
    case, arguments = FLAWS[store]
    run_case(MemoryStore, case, arguments)
    with pytest.raises((Exception, pytest.fail.Exception)):
        run_case(store, case, arguments)


def test_there_are_enough_flaws() -> None:
    """Every verb that writes is broken in more than one way."""
    assert len(FLAWS) >= 40
    assert broken_ledger_helpers.ReplacesVerdicts in FLAWS
