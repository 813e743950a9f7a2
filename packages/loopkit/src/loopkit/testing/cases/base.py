"""What every suite of cases stands on: the fixtures that a subclass gives or keeps."""

from datetime import timedelta
from typing import Final

import pytest

from loopkit.storage import Storage
from loopkit.testing.clock import HandClock, StoreClock

TICK: Final = timedelta(milliseconds=1)
"""The shortest span that a store can tell."""


class Cases:
    """Cases for a store. A subclass overrides the fixture ``storage``; each case gets an empty store of its own."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def clock(self) -> StoreClock:
        """The clock that the store goes by: moved by hand, unless a subclass says otherwise."""
        return HandClock()

    @pytest.fixture
    async def storage(self, clock: StoreClock) -> Storage:
        """An empty store that takes its time from ``clock``."""
        raise NotImplementedError("a subclass of the suite gives the fixture `storage`")

    def needs_hand(self, clock: StoreClock) -> None:
        """Skip a case whose clock must jump where the store's own clock cannot."""
        if not isinstance(clock, HandClock):
            pytest.skip("the store's clock cannot be set")


def fall_silent(storage: Storage, clock: StoreClock) -> None:
    """Let just enough time pass that every holder of a run counts as lost."""
    clock.advance(storage.stalled_after + TICK)
