"""StorageSuite: the specification of a store as tests. One subclass runs it for a store of your own::

    class TestMyStore(StorageSuite):
        @pytest.fixture
        async def storage(self, clock):
            async with MyStore(now=clock) as store:
                yield store

The fixture returns an empty store for each case. ``clock`` is a :class:`~loopkit.testing.HandClock`; a call of it
returns the time. A store whose clock cannot be replaced overrides the fixture ``clock`` with a
:class:`~loopkit.testing.WaitingClock` and has a ``stalled_after`` of some tenths of a second.

The cases use pytest with anyio's plugin and run on asyncio and trio. Optional protocols have suites of their own in
:mod:`loopkit.testing.optional_suites` and :mod:`loopkit.testing.label_suite`.
"""

from loopkit.testing.cases.cancel_cases import CancelCases, RetryCases
from loopkit.testing.cases.claim_cases import ClaimCases
from loopkit.testing.cases.fence_cases import FencingCases
from loopkit.testing.cases.label_cases import LabelCases
from loopkit.testing.cases.policy_cases import PolicyCases
from loopkit.testing.cases.read_cases import ReadCases
from loopkit.testing.cases.record_cases import RecordCases
from loopkit.testing.cases.submit_cases import SubmitCases


class StorageSuite(
    SubmitCases,
    ClaimCases,
    FencingCases,
    RecordCases,
    CancelCases,
    RetryCases,
    ReadCases,
    PolicyCases,
    LabelCases,
):
    """All cases for :class:`loopkit.storage.Storage`."""
