"""StorageSuite: what every store must do, as tests. A store of your own runs it by one subclass::

    class TestMyStore(StorageSuite):
        @pytest.fixture
        async def storage(self, clock):
            async with MyStore(now=clock) as store:
                yield store

The fixture gives an empty store for each case. ``clock`` is a :class:`~loopkit.testing.HandClock`, which is called
for the time. A store whose clock cannot be replaced overrides the fixture ``clock`` with a
:class:`~loopkit.testing.WaitingClock` and takes a ``stalled_after`` of some tenths of a second.

The cases use pytest with anyio's plugin and run on asyncio and trio. Optional protocols have suites of their own in
:mod:`loopkit.testing.optional`.
"""

from loopkit.testing.cases.cancelling import CancelCases, RetryCases
from loopkit.testing.cases.claiming import ClaimCases
from loopkit.testing.cases.fencing import FencingCases
from loopkit.testing.cases.reading import ReadCases
from loopkit.testing.cases.recording import RecordCases
from loopkit.testing.cases.submitting import SubmitCases


class StorageSuite(SubmitCases, ClaimCases, FencingCases, RecordCases, CancelCases, RetryCases, ReadCases):
    """Every case about the verbs of :class:`loopkit.storage.Storage`."""
