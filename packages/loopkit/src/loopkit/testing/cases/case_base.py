"""Base of all suites: the fixtures that a subclass overrides or keeps."""

from datetime import timedelta
from typing import Final

import pytest

from loopkit.storage import Storage
from loopkit.testing.hand_clock import HandClock, StoreClock

TICK: Final = timedelta(milliseconds=1)
"""Resolution of a store's times."""


class Cases:
    """Cases for a store. A subclass overrides the fixture ``storage``; each case gets an empty store of its own."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def clock(self) -> StoreClock:
        """Return the store's clock: set by hand, unless a subclass overrides it."""
        return HandClock()

    @pytest.fixture
    async def storage(self, clock: StoreClock) -> Storage:
        """Return an empty store that takes its time from ``clock``."""
        raise NotImplementedError("a subclass of the suite must override the fixture `storage`")

    def needs_hand(self, clock: StoreClock) -> None:
        """Skip the case if the store's clock cannot be set."""
        if not isinstance(clock, HandClock):
            pytest.skip("the store's clock cannot be set")


def fall_silent(storage: Storage, clock: StoreClock) -> None:
    """Advance the clock until every run that is held has just stalled."""
    clock.advance(storage.stalled_after + TICK)
